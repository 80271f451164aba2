"""What an agent of a chaos run writes down: one line of JSON for each thing it is about to do, and for what it saw.

A line is written before what it tells of can have an effect (a request, or a wait with a higher cursor), so a killed
agent loses nothing of it. Message ids are AGENT.LANE.NUMBER, question ids AGENT.qLANE.NUMBER.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One line of one agent."""

    agent: str


class Sending(Record, frozen=True, array_like=True, tag="send"):
    """A message is about to be stored, for the first time or again."""

    message: str


class Stored(Record, frozen=True, array_like=True, tag="stored"):
    """A message is in the log, under this number."""

    message: str
    sequence: int


class Unsent(Record, frozen=True, array_like=True, tag="unsent"):
    """The last try to store a message had no effect, as far as the agent can tell."""

    message: str
    is_certain: bool
    """It was refused; else the log was read beyond the time of the try without meeting it."""


class Received(Record, frozen=True, array_like=True, tag="received"):
    """What one wait brought, questions left out."""

    since: int
    """The cursor of the wait."""
    spans: list[tuple[int, int]]
    """First and last of each stretch of numbers, in the order they came."""
    mine: list[tuple[int, str]]
    """Number and id of each message for this agent."""


class Asking(Record, frozen=True, array_like=True, tag="asking"):
    """A question is about to be put."""

    question: str


class Asked(Record, frozen=True, array_like=True, tag="asked"):
    """A question was put, and is known by this id until `expires_at`, in seconds since the epoch."""

    question: str
    elicitation: str
    expires_at: float


class Told(Record, frozen=True, array_like=True, tag="told"):
    """A question came: as an elicitation, or (without id) as the Bridge's note under this number."""

    question: str
    elicitation: str
    sequence: int
    expires_at: float


class Answering(Record, frozen=True, array_like=True, tag="answering"):
    """An answer is about to be given to an elicitation, for the first time or again."""

    question: str
    elicitation: str


class Answered(Record, frozen=True, array_like=True, tag="answered"):
    """How the answer to an elicitation ended: 200, a refusal, or 0 for given up after the question's time."""

    question: str
    elicitation: str
    status: int


class Heard(Record, frozen=True, array_like=True, tag="heard"):
    """An answer came: under the question's id, or (without) as a note or message under this number."""

    question: str
    elicitation: str
    sequence: int
    responder: str


class Failed(Record, frozen=True, array_like=True, tag="failed"):
    """A try that came to nothing: what, and why."""

    what: str
    why: str


class Tick(Record, frozen=True, array_like=True, tag="tick"):
    """What follows was written from this second since the epoch on; of no agent."""

    at: float


class Odd(Record, frozen=True, array_like=True, tag="odd"):
    """Something that should not be."""

    text: str


AnyRecord = (
    Sending | Stored | Unsent | Received | Asking | Asked | Told | Answering | Answered | Heard | Failed | Tick | Odd
)


TICK_S: Final = 0.02


class Journal:
    """The lines of one crew, appended without a buffer of this process."""

    __slots__ = ("_encoder", "_file", "_ticked_at")

    def __init__(self, path: Path) -> None:
        self._encoder = msgspec.json.Encoder()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._ticked_at = 0.0

    def write(self, record: AnyRecord) -> None:
        """Append one line."""
        now = time.time()
        if now > self._ticked_at + TICK_S:
            self._ticked_at = now
            os.write(self._file, self._encoder.encode(Tick("", now)) + b"\n")
        os.write(self._file, self._encoder.encode(record) + b"\n")

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)


def read_records(path: Path) -> Iterator[AnyRecord]:
    """The lines of a journal; one that a kill has torn is left out."""
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(AnyRecord)
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield decoder.decode(line)


def mend(path: Path) -> None:
    """Cut a torn last line off, so that the next one stands by itself."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)


def spans_of(numbers: list[int]) -> list[tuple[int, int]]:
    """Stretches of numbers that follow each other."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] + 1 == number:
            spans[-1] = spans[-1][0], number
        else:
            spans.append((number, number))
    return spans
