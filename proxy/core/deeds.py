"""What an audit trail tells of: one value for each kind of deed, with fields that cannot hold a secret.

A deed has numbers, truth values, members of closed sets, and words of a narrow alphabet: no free text, no headers, no
contents. Who did it and to whom stands beside it in the entry, as ids that were checked where they came in.
"""

import re
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import ClassVar, Final, NewType

import orjson

from proxy.core.cohort import Cohort
from proxy.core.errors import InvalidInput

Word = NewType("Word", str)
"""The name of something of ours (a flag, a limit, a key, a trigger); see `parse_word`."""

MAX_WORDS: Final = 64
"""Most words in one field. Source: ours; there are fewer flags and fewer limits."""

MAX_NUMBER: Final = 2**53
"""Largest number, and no more. Source: RFC 8259 section 6, the range in which every reader agrees."""

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


def parse_word(text: str) -> Word:
    """Check a word: 1 to 64 letters, digits and `_.:-`, the first one a letter or a digit.

    Raises:
        InvalidInput: it is not one.
    """
    if _WORD.fullmatch(text) is None:
        raise InvalidInput("expected a word of 1 to 64 letters, digits and _.:-")
    return Word(text)


class Refusal(StrEnum):
    """Why a call was refused."""

    IMPERSONATION = "impersonation"
    SIGNATURE = "signature"
    REPLAY = "replay"
    LIMIT = "limit"
    FOREIGN_ANSWER = "foreign_answer"
    OPERATOR_TOKEN = "operator_token"  # noqa: S105  # the name of a reason
    ROLE = "role"
    HOST = "host"
    HOSTILE_INPUT = "hostile_input"


class RolloutMove(StrEnum):
    """What moved the rollout."""

    STARTED = "started"
    PROMOTED = "promoted"
    PAUSED = "paused"
    RESUMED = "resumed"
    ABORTED = "aborted"
    UNDONE = "undone"


class KeyMove(StrEnum):
    """What became of a key."""

    MADE = "made"
    ROTATED = "rotated"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Started:
    """A sidecar began to serve."""

    what: ClassVar[str] = "started"
    version: Word
    """Of the sidecar."""


@dataclass(frozen=True, slots=True)
class FlagsChanged:
    """The flag set was changed; what was changed to what stands in its history, under this version."""

    what: ClassVar[str] = "flags_changed"
    version: int
    flags: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class AgentForced:
    """The subject was forced to a cohort, or is no longer (None); `until` in seconds since the epoch."""

    what: ClassVar[str] = "agent_forced"
    cohort: Cohort | None
    until: float | None


@dataclass(frozen=True, slots=True)
class RolloutMoved:
    """The rollout was moved to a percentage."""

    what: ClassVar[str] = "rollout_moved"
    move: RolloutMove
    percentage: float


@dataclass(frozen=True, slots=True)
class RolledBack:
    """Everybody was sent back to the legacy way, by a trigger or by an operator."""

    what: ClassVar[str] = "rolled_back"
    trigger: Word


@dataclass(frozen=True, slots=True)
class CallRefused:
    """Calls of the subject were refused: how many since the last entry that says so, and by which rule."""

    what: ClassVar[str] = "call_refused"
    why: Refusal
    rule: Word | None
    """The limit, or the way in which a signature was wrong, where there is more than one."""
    calls: int


@dataclass(frozen=True, slots=True)
class CallLetThrough:
    """The same for calls that were let through, as the rule is only observed."""

    what: ClassVar[str] = "call_let_through"
    why: Refusal
    rule: Word | None
    calls: int


@dataclass(frozen=True, slots=True)
class KeyMoved:
    """A key of the subject was made, rotated or revoked."""

    what: ClassVar[str] = "key_moved"
    move: KeyMove
    keyid: Word


@dataclass(frozen=True, slots=True)
class OperatorActed:
    """An operator did something else: cleared a cache, had the sidecar stopped."""

    what: ClassVar[str] = "operator_acted"
    action: Word


@dataclass(frozen=True, slots=True)
class DeedsMerged:
    """So many deeds of one kind have no entries of their own, as more waited for the store than may."""

    what: ClassVar[str] = "deeds_merged"
    of: Word
    deeds: int


@dataclass(frozen=True, slots=True)
class TrailRotated:
    """The oldest entries of the trail were taken out, the last of which had this number and this digest."""

    what: ClassVar[str] = "trail_rotated"
    upto: int
    digest: Word


@dataclass(frozen=True, slots=True)
class TrailLost:
    """All entries before this one went with a state file that was lost while the sidecar ran."""

    what: ClassVar[str] = "trail_lost"
    upto: int
    digest: Word


Deed = (
    Started
    | FlagsChanged
    | AgentForced
    | RolloutMoved
    | RolledBack
    | CallRefused
    | CallLetThrough
    | KeyMoved
    | OperatorActed
    | DeedsMerged
    | TrailRotated
    | TrailLost
)


def details_of(deed: Deed) -> str:
    """The fields of a deed as canonical JSON.

    Raises:
        InvalidInput: text that is no word, or too many words.

    Source: RFC 8785, of which this has the order of members and the absence of blanks; there are no other texts in it.
    """
    plain = {field.name: _plain(getattr(deed, field.name)) for field in fields(deed)}
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode()


def _plain(value: object) -> object:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, str):
        return parse_word(value)
    if isinstance(value, tuple):
        if len(value) > MAX_WORDS:
            raise InvalidInput(f"expected at most {MAX_WORDS} words, got {len(value)}")
        return [_plain(word) for word in value]
    if value is None or isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < MAX_NUMBER):
        return value
    raise InvalidInput(f"expected a word or a number of a usual size, got {type(value).__name__}")
