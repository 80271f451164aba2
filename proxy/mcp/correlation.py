"""Requests in flight between one client and whoever is behind us, and our own questions among them.

Ids belong to a direction of one MCP session, so everything here is kept by seat: principal and MCP session together.
Our questions have ids that nobody else mints. The first answer to a question counts; all later ones, and those from
another seat, end here and are never passed on.

Bounds: what does not fit is refused, and nothing open is ever pushed out. Deadlines are the caller's: a question
stays until it is answered, settled, or its call or seat ends.

Source: PROTOCOL.md 3.5 and 3.6.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeGuard

from proxy.core.errors import InvalidInput
from proxy.mcp.jsonrpc import RequestId, members, notification_message, read_id

ID_BYTES: Final = 16
"""Chance in an id of ours. Source: PROTOCOL.md 3.5, step 5."""

MAX_CALLS_PER_SEAT: Final = 1_000
"""Most calls of one client in flight. Source: ours."""

MAX_QUESTIONS_PER_SEAT: Final = 100
"""Most questions open at one client. Source: ours; nobody answers more at once."""

MAX_OVERHEARD_PER_SEAT: Final = 100
"""Most requests of another sidecar behind us that are remembered. Source: ours, as many as it may have open."""

MAX_SEATS: Final = 50_000
"""Most seats with anything in flight. Source: ours."""

MAX_ID_CHARS: Final = 1_000
"""Longest id of a peer that is kept. Source: ours; the longest seen has 36 characters."""

_OWN_ID: Final = re.compile(r"esc-[0-9a-f]{32}")
_MAX_ID_NUMBER: Final = 10**MAX_ID_CHARS


@dataclass(frozen=True, slots=True)
class Seat:
    """Whom we talk to: who it is by its credentials, and the MCP session it speaks in."""

    principal: str
    session: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question as it was put once; put again it has another id and the same `ref`."""

    own_id: str
    """Id of our request to the client."""
    ref: str
    """What the caller knows the question by."""
    call_id: RequestId | None
    """The client's call it was asked in; None when that call's connection is gone."""
    carried: RequestId | None = None
    """Id of the upstream request that this question passes on, if it does."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An answer that counts."""

    asked: Asked
    others: tuple[Asked, ...]
    """The same question under other ids: to be cancelled at the client."""


class Verdict(StrEnum):
    """What becomes of a response that is no answer to count."""

    FORWARD = "forward"
    """Not ours: it belongs upstream."""
    LATE = "late"
    """Ours, and no longer open: to be swallowed."""
    STRANGER = "stranger"
    """To a question open at another seat: to be swallowed, and a matter of security."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a call leaves behind when it ends."""

    upstream_id: RequestId | None
    """Its id upstream; None where it never went there."""
    asked: tuple[Asked, ...]
    """Its open questions, unanswered: to be cancelled at the client."""


@dataclass(slots=True)
class _Book:
    calls: dict[RequestId, RequestId | None] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    overheard: dict[str, None] = field(default_factory=dict)

    def is_empty(self) -> bool:
        return not (self.calls or self.asked or self.overheard)


def own_id(chance: bytes) -> str:
    """An id for a question of ours.

    Raises:
        InvalidInput: `chance` has not 16 bytes.
    """
    if len(chance) != ID_BYTES:
        raise InvalidInput(f"expected {ID_BYTES} bytes of chance, got {len(chance)}")
    return f"esc-{chance.hex()}"


def is_own_id(request_id: RequestId | None) -> TypeGuard[str]:
    """Whether only a sidecar can have minted this id."""
    return isinstance(request_id, str) and _OWN_ID.fullmatch(request_id) is not None


def _may_keep(request_id: RequestId | None) -> bool:
    if isinstance(request_id, str):
        return len(request_id) <= MAX_ID_CHARS
    return request_id is None or abs(request_id) < _MAX_ID_NUMBER


def write_cancelled(request_id: RequestId, reason: str) -> bytes:
    """The notification that a request is no longer wanted. Source: MCP basic, "Cancellation"."""
    return notification_message("notifications/cancelled", {"requestId": request_id, "reason": reason})


def read_cancelled(params: bytes | None) -> RequestId | None:
    """The request that a `notifications/cancelled` is about; None where it cannot be told."""
    try:
        return read_id(members(params or b"{}").get("requestId", b"null"))
    except InvalidInput:
        return None


@dataclass(slots=True)
class Correlation:
    """All seats of one sidecar."""

    _books: dict[Seat, _Book] = field(default_factory=dict)
    _seat_of: dict[str, Seat] = field(default_factory=dict)

    def __len__(self) -> int:
        """Questions open at all seats."""
        return len(self._seat_of)

    def open_call(self, seat: Seat, call_id: RequestId, upstream_id: RequestId | None = None) -> bool:
        """Note a client's call, and its id upstream where it has another; False when it cannot be kept.

        A call id that is in flight already cannot, and neither can what is beyond a bound: such a call is to be
        passed on and never asked in. `initialize` is not to be noted, as nobody may cancel it.
        """
        book = self._book_for(seat) if _may_keep(call_id) and _may_keep(upstream_id) else None
        if book is None or call_id in book.calls or len(book.calls) >= MAX_CALLS_PER_SEAT:
            return False
        book.calls[call_id] = upstream_id
        return True

    def ask(self, seat: Seat, asked: Asked) -> bool:
        """Note a question that is about to be put; False when it cannot be kept, so must not be put."""
        is_sound = is_own_id(asked.own_id) and _may_keep(asked.call_id) and _may_keep(asked.carried)
        book = self._book_for(seat) if is_sound and asked.own_id not in self._seat_of else None
        if book is None or len(book.asked) >= MAX_QUESTIONS_PER_SEAT:
            return False
        book.asked[asked.own_id] = asked
        self._seat_of[asked.own_id] = seat
        return True

    def overhear(self, seat: Seat, request_id: RequestId | None) -> None:
        """An upstream request with this id is passed to the client; its answer must find the way back.

        Only ids in the shape of ours matter: behind us stands another sidecar. The oldest is forgotten at the bound.
        """
        if not is_own_id(request_id):
            return
        book = self._book_for(seat)
        if book is None:
            return
        if len(book.overheard) >= MAX_OVERHEARD_PER_SEAT:
            del book.overheard[next(iter(book.overheard))]
        book.overheard[request_id] = None

    def answer(self, seat: Seat, request_id: RequestId | None) -> Taken | Verdict:
        """Decide what becomes of a response from this seat."""
        if not is_own_id(request_id):
            return Verdict.FORWARD
        owner = self._seat_of.get(request_id)
        if owner == seat:
            asked = self._books[seat].asked[request_id]
            return Taken(asked, tuple(each for each in self.settle(seat, asked.ref) if each != asked))
        if owner is not None:
            return Verdict.STRANGER
        book = self._books.get(seat)
        if book is None or request_id not in book.overheard:
            return Verdict.LATE
        del book.overheard[request_id]
        self._tidy(seat)
        return Verdict.FORWARD

    def settle(self, seat: Seat, ref: str) -> tuple[Asked, ...]:
        """A question is over, however; gives what was open of it, to be cancelled at the client."""
        return self._drop(seat, [each for each in self._asked(seat) if each.ref == ref])

    def end_call(self, seat: Seat, call_id: RequestId) -> Ended:
        """A client's call is over: answered, or cancelled by the client."""
        book = self._books.get(seat)
        upstream_id = book.calls.pop(call_id, None) if book else None
        asked = self._drop(seat, [each for each in self._asked(seat) if each.call_id == call_id])
        self._tidy(seat)
        return Ended(upstream_id, asked)

    def detach_call(self, seat: Seat, call_id: RequestId) -> None:
        """The connection of a call is gone, which is no cancellation: its questions may still be answered."""
        book = self._books.get(seat)
        if book is None:
            return
        book.calls.pop(call_id, None)
        for each in [each for each in book.asked.values() if each.call_id == call_id]:
            book.asked[each.own_id] = replace(each, call_id=None)
        self._tidy(seat)

    def upstream_cancelled(self, seat: Seat, carried: RequestId) -> tuple[Asked, ...]:
        """Upstream takes back its own request; gives our questions that pass it on, to be cancelled at the client."""
        return self._drop(seat, [each for each in self._asked(seat) if each.carried == carried])

    def call_of(self, seat: Seat, upstream_id: RequestId) -> RequestId | None:
        """The client's id of a call that is in flight upstream under this id."""
        book = self._books.get(seat)
        calls = book.calls.items() if book else ()
        return next((call_id for call_id, known in calls if known == upstream_id), None)

    def close(self, seat: Seat) -> tuple[Ended, ...]:
        """The MCP session is over: every call in flight with its questions, then the questions without a call."""
        book = self._books.get(seat)
        ended = [self.end_call(seat, call_id) for call_id in tuple(book.calls)] if book else []
        rest = self._drop(seat, self._asked(seat))
        self._books.pop(seat, None)
        return (*ended, Ended(None, rest)) if rest else tuple(ended)

    def _asked(self, seat: Seat) -> list[Asked]:
        book = self._books.get(seat)
        return list(book.asked.values()) if book else []

    def _drop(self, seat: Seat, over: Iterable[Asked]) -> tuple[Asked, ...]:
        dropped = tuple(over)
        for each in dropped:
            del self._books[seat].asked[each.own_id]
            del self._seat_of[each.own_id]
        self._tidy(seat)
        return dropped

    def _book_for(self, seat: Seat) -> _Book | None:
        if seat not in self._books and len(self._books) >= MAX_SEATS:
            return None
        return self._books.setdefault(seat, _Book())

    def _tidy(self, seat: Seat) -> None:
        book = self._books.get(seat)
        if book is not None and book.is_empty():
            del self._books[seat]
