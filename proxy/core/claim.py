"""What becomes of an answer that may stand: the first one goes up, its repetitions are the same success."""

from enum import StrEnum


class Claim(StrEnum):
    """What to do with an answer that may stand."""

    SEND = "send"
    """Ours to send up: the question is claimed for this answer."""
    WAIT = "wait"
    """The same answer is on its way already: wait for its outcome."""
    REPEAT = "repeat"
    """The same answer was taken before: the same success, no second effect."""
