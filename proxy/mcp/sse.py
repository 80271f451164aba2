"""Server-sent events, read and written piece by piece.

A stream is cut into frames: everything up to and with a blank line. A frame keeps the very bytes it came as, so it
can be passed on unchanged, and between two frames is the only place where one of our own may stand.

Source: WHATWG HTML, "Server-sent events", 9.2.5 (parsing) and 9.2.6 (interpreting an event stream).
"""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from proxy.core.errors import BadBridgeReply, InvalidInput
from proxy.core.mismatch import quote

MESSAGE: Final = "message"
"""Type of an event that names none. Source: WHATWG HTML 9.2.6, dispatch the event."""

MAX_RETRY_DIGITS: Final = 12
"""Longest `retry` that is read; 12 digits of milliseconds are 31 years. Source: ours."""

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_FRAME_END: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LOOK_BACK_BYTES: Final = 3
"""A frame ends with 2 to 4 bytes, so this many of them can have come before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame, read."""

    raw: bytes
    event: str
    data: bytes | None
    """What the event carries; empty in a priming event; None where the frame dispatches nothing, as a comment."""
    id: str | None
    """The new last event id; None where the frame sets none."""
    retry_ms: int | None


@dataclass(slots=True)
class Splitter:
    """Cuts a stream into frames.

    A byte order mark in front is dropped: it means nothing, and behind a frame of our own it would be read as text.
    A frame that ends in CR is given out at once; if LF follows, that LF opens the next frame, where it means nothing.
    """

    max_bytes: int
    """Longest frame that is kept."""
    _held: bytearray = field(default_factory=bytearray)
    _is_at_start: bool = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes of the stream; gives the frames that they complete.

        Raises:
            BadBridgeReply: a frame is longer than `max_bytes`; the stream cannot be read on.
        """
        searched = max(0, len(self._held) - _LOOK_BACK_BYTES)
        self._held += chunk
        if self._is_at_start:
            searched = 0
            self._drop_mark()
        ends = [match.end() for match in _FRAME_END.finditer(self._held, searched)]
        frames = [bytes(self._held[begin:end]) for begin, end in pairwise([0, *ends])]
        if ends:
            del self._held[: ends[-1]]
        if max(map(len, (*frames, self._held))) > self.max_bytes:
            self._held.clear()
            raise BadBridgeReply(f"expected frames of at most {self.max_bytes} bytes in an event stream, got more")
        return frames

    def _drop_mark(self) -> None:
        if self._held.startswith(_BOM):
            del self._held[: len(_BOM)]
        elif _BOM.startswith(self._held):
            return
        self._is_at_start = False

    def rest(self) -> bytes:
        """Bytes of a frame that is not complete; when the stream has ended, a reader discards them."""
        return bytes(self._held)


def read_frame(raw: bytes) -> Frame:
    """Read one frame that a `Splitter` gave."""
    event, event_id, retry_ms = MESSAGE, None, None
    data: list[bytes] = []
    for line in raw.splitlines():  # of bytes: at CR, LF and CRLF, and nowhere else
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode(errors="replace") or MESSAGE
        elif name == b"id" and b"\0" not in value:
            event_id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) <= MAX_RETRY_DIGITS:
            retry_ms = int(value)
    carried = b"\n".join(data) if data else None
    return Frame(raw=raw, event=event, data=carried, id=event_id, retry_ms=retry_ms)


@dataclass(slots=True)
class Reader:
    """Reads a stream, and remembers what a client needs to take it up again."""

    splitter: Splitter
    last_event_id: str = ""
    retry_ms: int | None = None

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take the next bytes of the stream; gives the frames that they complete.

        Raises:
            BadBridgeReply: a frame is longer than the splitter allows.
        """
        frames = [read_frame(raw) for raw in self.splitter.feed(chunk)]
        for frame in frames:
            self.last_event_id = self.last_event_id if frame.id is None else frame.id
            self.retry_ms = self.retry_ms if frame.retry_ms is None else frame.retry_ms
        return frames


def write_event(data: bytes, event: str = MESSAGE) -> bytes:
    """One event; it never has an id, so that a client's `Last-Event-ID` stays one of the stream it came in.

    Line ends in `data` become LF on the other side.

    Raises:
        InvalidInput: `event` has a line end in it.
    """
    if "\n" in event or "\r" in event:
        raise InvalidInput(f"expected the type of an event to be one line, got {quote(event)}")
    lines = b"".join(b"data: %b\n" % line for line in _LINE_END.split(data))
    return b"event: %b\n%b\n" % (event.encode(), lines)


def write_comment(text: str) -> bytes:
    """One comment, which every reader skips; it keeps a silent stream alive."""
    return b"".join(b": %b\n" % line for line in _LINE_END.split(text.encode())) + b"\n"
