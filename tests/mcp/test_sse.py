"""Server-sent events: how a stream is cut, what a frame says, how one is written."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import BadBridgeReply, InvalidInput
from proxy.mcp.sse import Frame, Reader, Splitter, read_frame, write_comment, write_event

pytestmark = pytest.mark.requirement("mcp.sse")

BOM = b"\xef\xbb\xbf"
Event = tuple[str, bytes]

PLAYBOOK: list[tuple[str, bytes, list[Event]]] = [
    # WHATWG HTML 9.2.6: its three worked examples, then every rule of 9.2.5 and 9.2.6 by itself
    ("stock", b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", b"YHOO\n+2\n10")]),
    (
        "four blocks",
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [("message", b"first event"), ("message", b"second event"), ("message", b" third event")],
    ),
    ("empty data", b"data\n\ndata\ndata\n\ndata:", [("message", b""), ("message", b"\n")]),
    ("one blank is taken", b"data:test\n\ndata: test\n\n", [("message", b"test"), ("message", b"test")]),
    ("named", b"event: add\ndata: 7\n\n", [("add", b"7")]),
    ("an empty name", b"event: add\nevent\ndata: 7\n\n", [("message", b"7")]),
    ("a name lasts one event", b"event: add\n\ndata: 7\n\n", [("message", b"7")]),
    ("unknown fields", b"foo: 1\ndata: 7\nbar\nDATA: 8\n data: 9\n\n", [("message", b"7")]),
    ("colons in a value", b"data: a:b: c\n\n", [("message", b"a:b: c")]),
    ("a byte order mark", BOM + b"data: 7\n\n", [("message", b"7")]),
    ("a second byte order mark", BOM + BOM + b"data: 7\n\n", []),
    ("a mark before a blank line", BOM + b"\n\ndata: 7\n\n", [("message", b"7")]),
    ("a mark inside of the stream", b"data: 6\n\n" + BOM + b"data: 7\n\n", [("message", b"6")]),
    ("CR", b"data: 6\r\rdata: 7\r\r", [("message", b"6"), ("message", b"7")]),
    ("CRLF", b"data: 6\r\n\r\ndata: 7\r\n\r\n", [("message", b"6"), ("message", b"7")]),
    ("line ends of all kinds", b"data: 6\r\ndata: 7\rdata: 8\n\r\n", [("message", b"6\n7\n8")]),
    ("CR LF LF", b"data: 6\r\n\ndata: 7\n\n", [("message", b"6"), ("message", b"7")]),
    ("blank lines first", b"\n\n\r\r\r\ndata: 7\n\n", [("message", b"7")]),
    (
        "line separators of Unicode",
        "data: a\u2028b\u2029c\u0085d\v\f\n\n".encode(),
        [("message", "a\u2028b\u2029c\u0085d\v\f".encode())],
    ),
    ("the end without a blank line", b"data: 6\n\ndata: 7\n", [("message", b"6")]),
    ("the end inside of a line", b"data: 6\n\ndata: 7", [("message", b"6")]),
    ("nothing", b"", []),
]


def _events(frames: list[Frame]) -> list[Event]:
    return [(frame.event, frame.data) for frame in frames if frame.data is not None]


def _read(chunks: list[bytes]) -> list[Event]:
    reader = Reader(Splitter(1 << 20))
    return _events([frame for chunk in chunks for frame in reader.feed(chunk)])


@pytest.mark.parametrize(("stream", "expected"), [case[1:] for case in PLAYBOOK], ids=[case[0] for case in PLAYBOOK])
def test_a_stream_gives_its_events_however_it_is_cut(stream: bytes, expected: list[Event]) -> None:
    assert _read([stream]) == expected
    assert _read([stream[at : at + 1] for at in range(len(stream))]) == expected
    for at in range(len(stream)):
        assert _read([stream[:at], b"", stream[at:]]) == expected


STREAMS = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"data", b": ", b"id:", b"event:", b"a", "é\u2028".encode(), BOM, b"\0"]),
    max_size=40,
).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 120), max_size=8))
def test_cuts_change_no_event_and_lose_no_byte(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunks = [stream[begin:end] for begin, end in pairwise(edges)]
    splitter = Splitter(1 << 20)
    frames = [frame for chunk in chunks for frame in splitter.feed(chunk)]
    assert b"".join(frames) + splitter.rest() == stream.removeprefix(BOM)
    assert _events([read_frame(frame) for frame in frames]) == _read([stream])


@given(STREAMS, st.lists(st.integers(0, 120), max_size=8))
@pytest.mark.requirement("mcp.sse.insert")
def test_an_event_of_ours_between_two_frames_changes_no_other(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    splitter, ours = Splitter(1 << 20), write_event(b"ours", "ours")
    passed_on = ours
    for begin, end in pairwise(edges):
        for frame in splitter.feed(stream[begin:end]):
            passed_on += frame + ours
    seen = _read([passed_on + splitter.rest()])
    assert [event for event in seen if event[0] != "ours"] == _read([stream])
    assert len([event for event in seen if event[0] == "ours"]) == passed_on.count(ours)


def test_a_frame_keeps_the_bytes_it_came_as() -> None:
    splitter = Splitter(1000)
    assert splitter.feed(b": hi\r\n\r\nid:  7\r\nretry:5\r\nda") == [b": hi\r\n\r\n"]
    assert splitter.rest() == b"id:  7\r\nretry:5\r\nda"
    assert splitter.feed(b"ta: x\r\n\r\n") == [b"id:  7\r\nretry:5\r\ndata: x\r\n\r\n"]
    assert splitter.rest() == b""


def test_a_frame_is_given_out_at_its_last_cr_and_the_line_feed_after_it_means_nothing() -> None:
    reader = Reader(Splitter(1000))
    assert _events(reader.feed(b"data: 6\r\n\r")) == [("message", b"6")]
    assert reader.feed(b"\n") == []
    assert _events(reader.feed(b"data: 7\n\n")) == [("message", b"7")]


def test_a_frame_says_all_that_is_in_it() -> None:
    raw = b": c\nid: 7\nevent: add\nretry: 2500\ndata: x\n\n"
    assert read_frame(raw) == Frame(raw=raw, event="add", data=b"x", id="7", retry_ms=2500)


@pytest.mark.parametrize(
    ("line", "event_id"),
    [(b"id: 7", "7"), (b"id", ""), (b"id: a\0b", None), (b"id:  7 ", " 7 "), (b"id: \xff", "\ufffd"), (b"ID: 7", None)],
)
def test_an_id_counts_unless_it_has_a_nul(line: bytes, event_id: str | None) -> None:
    assert read_frame(line + b"\n\n").id == event_id


@pytest.mark.parametrize(
    ("line", "retry_ms"),
    [
        (b"retry: 10", 10),
        (b"retry:010", 10),
        (b"retry: 1s", None),
        (b"retry: -1", None),
        (b"retry", None),
        (b"retry: \xd9\xa3", None),
        (b"retry: " + b"9" * 5000, None),
    ],
)
def test_a_retry_counts_if_it_is_a_number(line: bytes, retry_ms: int | None) -> None:
    assert read_frame(line + b"\n\n").retry_ms == retry_ms


def test_an_event_type_in_bad_utf8_is_readable() -> None:
    assert read_frame(b"event: \xff\ndata\n\n").event == "\ufffd"


def test_a_priming_event_carries_nothing_and_a_comment_is_no_event() -> None:
    assert read_frame(b"id: 7\ndata:\n\n").data == b""
    assert read_frame(b": ka\n\n").data is None


def test_the_last_id_and_retry_stay_until_there_are_others() -> None:
    reader = Reader(Splitter(1000))
    assert (reader.last_event_id, reader.retry_ms) == ("", None)
    reader.feed(b"id: 7\nretry: 9\n\ndata: x\n\nid: a\0\n\n")
    assert (reader.last_event_id, reader.retry_ms) == ("7", 9)
    reader.feed(b"id\nretry: 3\n\nid: 8\n")
    assert (reader.last_event_id, reader.retry_ms) == ("", 3)


@pytest.mark.requirement("mcp.sse.bound")
def test_a_frame_beyond_the_bound_is_refused_whole_or_begun() -> None:
    assert Splitter(10).feed(b"data: 78\n\ndata: 78\n\n") == [b"data: 78\n\n"] * 2
    for stream in (b"data: 789\n\n", b"data: 789\n\ndata: 7\n\n", b"data: 7\n\ndata: 789ab"):
        splitter = Splitter(10)
        with pytest.raises(BadBridgeReply, match="at most 10 bytes"):
            splitter.feed(stream)
        assert splitter.rest() == b""


def test_an_event_is_written() -> None:
    assert write_event(b'{"a":1}') == b'event: message\ndata: {"a":1}\n\n'
    assert write_event(b"/messages", "endpoint") == b"event: endpoint\ndata: /messages\n\n"
    assert write_event(b"") == b"event: message\ndata: \n\n"
    assert write_event(b"a\r\nb\rc\n") == b"event: message\ndata: a\ndata: b\ndata: c\ndata: \n\n"


@pytest.mark.parametrize("event", ["a\nb", "a\rb"])
def test_a_type_of_two_lines_is_refused(event: str) -> None:
    with pytest.raises(InvalidInput, match="one line"):
        write_event(b"", event)


@given(st.binary().filter(lambda data: b"\r" not in data))
def test_an_event_reads_back_as_written(data: bytes) -> None:
    assert _read([write_event(data, "add")]) == [("add", data)]


def test_a_comment_is_written() -> None:
    assert write_comment("ka") == b": ka\n\n"
    assert write_comment("a\ndata: b") == b": a\n: data: b\n\n"
    assert _read([write_comment("a\r\ndata: b\n\n")]) == []
