"""Whether a peer can be reached, by the latest call to it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from proxy.core.errors import BridgeFault, BridgeTimeout, BridgeUnavailable, BridgeUntrusted

SAY_AGAIN_S: Final = 60.0
"""How long a peer that is not trusted is not told of again in the same words. Source: ours; a line each minute."""


def _nobody(_: object) -> None:
    """Hears nothing."""


@dataclass(slots=True)
class Contact:
    """What is known of one peer; any answer, a refusal too, shows that it is there."""

    name: str
    now: Callable[[], float]
    """Monotonic seconds."""
    hear: Callable[[str], None] = _nobody
    """Told why the peer is not trusted, which needs an operator: at once, and each minute again."""
    lost: Callable[[str], None] = _nobody
    """Told why, once, when the peer can no longer be reached."""
    back: Callable[[float], None] = _nobody
    """Told after how many seconds, once, when it can be reached again."""
    _said: str = ""
    _said_at: float = 0.0
    _failing_since: float | None = None
    _why: str = ""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Learn from how a call ends in the block; what is no fault of the peer says nothing of it."""
        try:
            yield
        except (BridgeUnavailable, BridgeTimeout) as fault:
            self.failed(fault.detail)
            if isinstance(fault, BridgeUntrusted):
                self._say(fault.detail)
            raise
        except BridgeFault:
            self.answered()
            raise
        self.answered()

    def answered(self) -> None:
        """A call was answered."""
        since, self._failing_since = self._failing_since, None
        if since is not None:
            self.back(self.now() - since)

    def failed(self, why: str) -> None:
        """A call was not."""
        if self._failing_since is None:
            self._failing_since = self.now()
            self.lost(why)
        self._why = why

    def _say(self, why: str) -> None:
        if why != self._said or self.now() - self._said_at >= SAY_AGAIN_S:
            self._said, self._said_at = why, self.now()
            self.hear(why)

    def worry(self) -> str:
        """Since when and why the peer cannot be reached, for an operator; empty while it can be, as far as known."""
        if self._failing_since is None:
            return ""
        return f"{self.name} cannot be reached since {self.now() - self._failing_since:.0f} s: {self._why}"
