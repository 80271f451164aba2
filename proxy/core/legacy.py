"""The legacy wait on the wire: read its arguments, read and write its reply.

A call that the Bridge would refuse (a missing agent, a number it cannot read) is not ours to judge: it parses to
None and is relayed, so that the Bridge's own words reach the agent. Items stay the bytes that came.
"""

from collections.abc import Callable
from collections.abc import Sequence as Series
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import parse_qsl

import msgspec
import orjson

from proxy.core.errors import BadBridgeReply, InvalidInput
from proxy.core.ids import MAX_SEQUENCE, AgentId, Sequence, parse_agent_id

MAX_WAIT_S: Final = 300
"""Longest time a wait is held, in seconds. Source: BRIDGE.md 2.3 (cap 300)."""

ITEMS_PER_REPLY: Final = 10
"""Most messages in one reply. Source: BRIDGE.md 2.3 (limit 10 per answer)."""

_MAX_NUMBER_CHARS: Final = 4000
"""Longest text of a number that is read; beyond it the Bridge reads none either. Source: CPython's limit is 4,300."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitAsk:
    """The arguments of one legacy wait."""

    agent_id: AgentId
    since: Sequence
    """The agent's cursor; 0 means from the beginning."""
    timeout_s: int
    """What the agent asked for; it is what a time-out reply repeats, even beyond the cap."""

    @property
    def hold_s(self) -> int:
        """How long the wait is really held, 0 to 300 seconds."""
        return min(max(self.timeout_s, 0), MAX_WAIT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of the Bridge's log as a wait delivers it; `raw` is the item's JSON as it came."""

    sequence: int
    event_type: str
    source_agent: str
    raw: bytes
    data: bytes
    created_at: float | None
    """Wall clock in seconds, or None where the time stamp cannot be read."""
    timestamp: str = ""
    """The time stamp as it came."""


class _WireItem(msgspec.Struct):
    sequence: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQUENCE)]
    event_type: str = ""
    source_agent: str | None = None
    timestamp: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _WireReply(msgspec.Struct):
    events: list[msgspec.Raw]


_REPLY_DECODER: Final = msgspec.json.Decoder(_WireReply)
_ITEM_DECODER: Final = msgspec.json.Decoder(_WireItem)
_SEQUENCE_DECODER: Final = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQUENCE)])
_MEMBERS_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parse_wait_query(query: str, *, default_timeout_s: int = 60) -> WaitAsk | None:
    """Read the raw query of a legacy wait; None when only the Bridge can say what is wrong with it.

    The last of repeated parameters wins and unknown ones are ignored, whatever they hold: what the Bridge would serve
    as a wait has to be one here, too, or another spelling would lead past all that is decided here.
    Source: BRIDGE.md 2.3.
    """
    try:
        pairs = dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))
        agent_id = parse_agent_id(pairs.get("agent_id"))
    except (ValueError, InvalidInput):
        return None
    since = _whole(pairs.get("since_sequence", "0"))
    timeout = _whole(pairs.get("timeout_seconds", str(default_timeout_s)))
    if since is None or timeout is None:
        return None
    # Below 0 is from the beginning, as no message has such a number.
    return WaitAsk(agent_id=agent_id, since=Sequence(max(0, since)), timeout_s=timeout)


def _whole(text: str) -> int | None:
    """A whole number of 64 bits; like the Bridge with a sign, blanks around it, underscores between digits."""
    if len(text) > _MAX_NUMBER_CHARS:
        return None
    try:
        number = int(text)
    except ValueError:
        return None
    return number if abs(number) <= MAX_SEQUENCE else None


def parse_wait_reply(body: bytes) -> tuple[Message, ...]:
    """Read the reply of the Bridge's `GET /event/wait`, ascending by sequence.

    Raises:
        BadBridgeReply: not the promised shape, no UTF-8, or nested too deeply to be read.
    """
    try:
        reply = _REPLY_DECODER.decode(body)
        items = [_message(raw) for raw in reply.events]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBridgeReply(f"expected a wait reply with `events`: {error}") from error
    return tuple(sorted(items, key=lambda item: item.sequence))


def parse_message(raw: bytes) -> Message:
    """Read one item of such a reply by itself.

    Raises:
        BadBridgeReply: as `parse_wait_reply`.
    """
    (message,) = parse_wait_reply(b'{"events":[' + raw + b"]}")
    return message


def _message(raw: msgspec.Raw) -> Message:
    item = _ITEM_DECODER.decode(raw)
    _MEMBERS_DECODER.decode(raw)  # so that `renumbered` can read whatever is accepted here
    return Message(
        sequence=item.sequence,
        event_type=item.event_type,
        source_agent=item.source_agent or "",
        raw=bytes(raw),
        data=bytes(item.data),
        created_at=_epoch(item.timestamp),
        timestamp=item.timestamp,
    )


def _epoch(timestamp: str) -> float | None:
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    # A stamp without a zone is in UTC, as all of the Bridge's are; the machine's own zone says nothing about it.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def renumbered(message: Message, sequence: int) -> bytes:
    """The item's JSON under another sequence; every other member keeps the very bytes that came.

    Raises:
        BadBridgeReply: nested too deeply to be read from here.
    """
    if sequence == message.sequence:
        return message.raw
    try:
        members = _MEMBERS_DECODER.decode(message.raw)
    except RecursionError as error:  # the limit counts the callers too, so that `parse_wait_reply` may have got through
        raise BadBridgeReply(f"expected a message that is nested less deeply: {error}") from error
    members["sequence"] = msgspec.Raw(b"%d" % sequence)
    return msgspec.json.encode(members)


def numbered_reply(body: bytes, number: Callable[[int], int]) -> bytes:
    """The reply to a stored event under another sequence; the very same object where it holds none that can be read."""
    try:
        members = _MEMBERS_DECODER.decode(body)
        sequence = _SEQUENCE_DECODER.decode(members["sequence"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):  # the Bridge's own words
        return body
    members["sequence"] = msgspec.Raw(b"%d" % number(sequence))
    return msgspec.json.encode(members)


def write_reply(items: Series[bytes], *, waited_s: float) -> bytes:
    """A reply with new items, in the legacy shape. `waited_s` in seconds. Source: BRIDGE.md 2.3."""
    head = b'{"events":[' + b",".join(items) + b'],"count":%d' % len(items)
    return head + b',"waited_seconds":' + orjson.dumps(waited_s) + b',"status":"new_events"}'


def write_timeout_reply(timeout_s: int) -> bytes:
    """The reply of a wait that saw nothing; it repeats the time-out that was asked for. Source: BRIDGE.md 2.3."""
    return b'{"events":[],"count":0,"waited_seconds":%d,"status":"timeout"}' % timeout_s
