"""Lines of JSON-RPC on a byte stream: cut where they end, kept as they came, refused where they are too long.

A line ends at a line feed and nowhere else; what stands before it, a carriage return included, belongs to the line.
Of a line that is too long only its two ends are kept: enough to tell who has to hear that it was refused.

Source: PROTOCOL.md 3.3.
"""

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import msgspec

from proxy.core.errors import InvalidInput
from proxy.mcp.jsonrpc import RequestId, read_id

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""Longest line that is passed on, its end included. Source: ours; no SDK sends or takes nearly as much."""

KEPT_BYTES: Final = 1024
"""What is kept of each end of a line that is too long. Source: ours; SDKs write the id first or last."""

_STRING: Final = rb'"(?:[^"\\]|\\.)*+"'
_PLAIN: Final = rb"(?:" + _STRING + rb"|-?[0-9][0-9.eE+-]*+|true|false|null)"
_OPENING: Final = re.compile(rb"\s*+\{")
_MEMBER: Final = re.compile(rb"\s*+(" + _STRING + rb")\s*+:\s*+(" + _PLAIN + rb")\s*+,", re.DOTALL)
_NAME: Final = re.compile(rb"\s*+(" + _STRING + rb")\s*+:", re.DOTALL)
_LAST: Final = re.compile(rb"(?:,\s*+" + _STRING + rb"\s*+:\s*+" + _PLAIN + rb"\s*+)++\}\s*+\Z", re.DOTALL)
_LAST_MEMBER: Final = re.compile(rb",\s*+(" + _STRING + rb")\s*+:\s*+(" + _PLAIN + rb")", re.DOTALL)


class Kind(Enum):
    """What a message that cannot be read as a whole seems to be."""

    REQUEST = auto()
    RESPONSE = auto()
    OTHER = auto()
    """A notification, or nothing that could be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oversize:
    """A line that was too long, as far as it was kept."""

    head: bytes
    tail: bytes
    size_bytes: int

    def told(self) -> tuple[Kind, RequestId | None]:
        """What it was, and its id; read from the plain members at its two ends."""
        members, names = _first_members(self.head)
        last = _LAST.search(self.tail)
        if last:
            members |= dict(_LAST_MEMBER.findall(last.group()))
        names |= members.keys()
        request_id = _id_of(members)
        if request_id is None:
            return Kind.OTHER, None
        if b'"method"' in names:
            return Kind.REQUEST, request_id
        is_response = b'"result"' in names or b'"error"' in names
        return (Kind.RESPONSE if is_response else Kind.OTHER), request_id


def _first_members(head: bytes) -> tuple[dict[bytes, bytes], set[bytes]]:
    """The plain members at the beginning, and the name of the one after them."""
    opening = _OPENING.match(head)
    members: dict[bytes, bytes] = {}
    at = opening.end() if opening else len(head)
    while member := _MEMBER.match(head, at):
        members[member.group(1)] = member.group(2)
        at = member.end()
    name = _NAME.match(head, at)
    return members, {name.group(1)} if name else set()


def _id_of(members: dict[bytes, bytes]) -> RequestId | None:
    try:
        return read_id(members.get(b'"id"', b"null"))
    except (InvalidInput, msgspec.DecodeError, UnicodeDecodeError):  # a part of a line may be no JSON at all
        return None


@dataclass(slots=True)
class LineSplitter:
    """Cuts one direction of a pipe into blocks of whole lines; a chunk must not be longer than a line may be."""

    limit_bytes: int = MAX_LINE_BYTES
    _held: bytearray = field(default_factory=bytearray)
    """The beginning of a line; of one that is too long its head and its tail."""
    _size: int = 0
    """Bytes of the line so far."""

    def feed(self, chunk: bytes) -> list[bytes | Oversize]:
        """The whole lines that end in this chunk, several in one piece, and what was too long, in their order."""
        pieces: list[bytes | Oversize] = []
        if self._size:
            end = chunk.find(b"\n") + 1
            self._hold(chunk[:end] if end else chunk)
            if not end:
                return pieces
            pieces.append(self._take())
            chunk = chunk[end:]
        end = chunk.rfind(b"\n") + 1
        if end:
            pieces.append(chunk[:end])
        if end < len(chunk):
            self._hold(chunk[end:])
        return pieces

    def rest(self) -> bytes:
        """The line that the end of the stream cut off; nothing where it was too long."""
        return b"" if self._size > self.limit_bytes else bytes(self._held)

    def _hold(self, part: bytes) -> None:
        self._size += len(part)
        self._held += part
        if self._size > self.limit_bytes:
            del self._held[KEPT_BYTES:-KEPT_BYTES]

    def _take(self) -> bytes | Oversize:
        held, size = bytes(self._held), self._size
        self._held.clear()
        self._size = 0
        if size <= self.limit_bytes:
            return held
        return Oversize(head=held[:KEPT_BYTES], tail=held[-KEPT_BYTES:], size_bytes=size)


def lines_of(block: bytes) -> list[bytes]:
    """The single lines of a block, each with its end."""
    lines = [line + b"\n" for line in block.split(b"\n")]
    return lines[:-1] if block.endswith(b"\n") else [*lines[:-1], lines[-1][:-1]]
