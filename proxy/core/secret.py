"""A secret that can be compared and sent, but is never printed."""

import hashlib
import hmac
from typing import final


@final
class Secret:
    """Text that must never reach a log line, a reply or a traceback.

    Raises:
        ValueError: the text is empty, as an empty secret would let everybody in.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value:
            raise ValueError("a secret must not be empty")
        self._value = _octets(value)

    def matches(self, candidate: str) -> bool:
        """Whether `candidate` is this secret, in a time that tells neither where they differ nor how long it is."""
        # Of texts of different lengths `compare_digest` itself would tell at once.
        return hmac.compare_digest(self.fingerprint(), hashlib.sha256(_octets(candidate)).digest())

    def reveal(self) -> str:
        """The text itself, for the one place that has to send it to the peer it belongs to."""
        return self._value.decode("utf-8", "surrogatepass")

    def fingerprint(self) -> bytes:
        """SHA-256 of the text: equal secrets have equal fingerprints, and none can be read back."""
        return hashlib.sha256(self._value).digest()

    def __repr__(self) -> str:
        return "Secret(...)"


def _octets(text: str) -> bytes:
    # HTTP header values may hold lone surrogates (undecodable bytes); they must compare unequal, not raise.
    return text.encode("utf-8", "surrogatepass")
