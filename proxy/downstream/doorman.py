"""Turns new connections away while the process is short of file descriptors, so that what is under way can go on.

A descriptor is the lowest number that is free, so the number of a new connection tells how many are in use. The last
ones are kept for the calls to the Bridge that the connections there are will need, and the very last for operators.
Without this the system takes a connection and drops it without a word, and a call to the Bridge fails in the middle.

Source: POSIX.1-2017, "File Descriptor Allocation" (2.14); the shares are ours.
"""

from dataclasses import dataclass, field
from typing import Final

from proxy.ports import DescriptorWatch

LEAST_KEPT: Final = 16
MOST_KEPT: Final = 256
"""Descriptors that agents' connections leave free, at least and at most. Source: ours, an eighth in between."""

_BODY: Final = (
    b'{"type":"about:blank","title":"Service Unavailable","status":503,'
    b'"detail":"the sidecar takes no more connections now; try again","code":"service_unavailable","retryable":true}'
)

REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY
"""What a connection that is turned away hears. Source: RFC 9110 sections 15.6.4 and 10.2.3, RFC 9457."""


@dataclass(slots=True)
class Doorman:
    """Stands before all ports of a process."""

    limit: int
    """Most descriptors that the process may have; 0 where that is not known."""
    watch: DescriptorWatch
    is_refusing: bool = False
    """Connections are turned away, or would be."""
    refused: int = field(default=0)
    """Since that began."""

    @property
    def kept(self) -> int:
        """Descriptors that are left free for what is under way."""
        return max(LEAST_KEPT, min(MOST_KEPT, self.limit // 8))

    def admits(self, descriptor: int, *, is_operators: bool) -> bool:
        """Whether a connection with this descriptor may stay; operators may come while agents may not."""
        if not self.limit:
            return True
        if descriptor >= self.limit - (self.kept // 2 if is_operators else self.kept):
            self._refuse()
            return False
        if self.is_refusing and descriptor < self.limit - 2 * self.kept:
            self.is_refusing = False
            self.watch.descriptors_back(self.refused)
        return True

    def _refuse(self) -> None:
        if not self.is_refusing:
            self.is_refusing, self.refused = True, 0
            self.watch.short_of_descriptors(self.limit)
        self.refused += 1
        self.watch.turned_away()
