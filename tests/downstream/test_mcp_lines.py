"""Lines on a byte stream: nothing is lost or changed, and what is too long is known by its ends."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.downstream.mcp_lines import KEPT_BYTES, Kind, LineSplitter, Oversize, lines_of

pytestmark = pytest.mark.requirement("stdio.lines")

BIG = "x" * 5_000
LIMIT = 4_096


def _fed(text: bytes, *, step: int = 1_000) -> tuple[list[bytes | Oversize], bytes]:
    splitter = LineSplitter(LIMIT)
    pieces = [piece for at in range(0, len(text), step) for piece in splitter.feed(text[at : at + step])]
    return pieces, splitter.rest()


def _oversize(text: bytes) -> Oversize:
    pieces, rest = _fed(text + b"\n")
    assert rest == b""
    (piece,) = pieces
    assert isinstance(piece, Oversize)
    assert piece.size_bytes == len(text) + 1
    return piece


@given(st.lists(st.binary(max_size=60)))
def test_what_goes_in_comes_out(chunks: list[bytes]) -> None:
    splitter = LineSplitter()
    pieces = [piece for chunk in chunks for piece in splitter.feed(chunk)]
    blocks = [piece for piece in pieces if isinstance(piece, bytes)]
    assert b"".join(blocks) + splitter.rest() == b"".join(chunks)
    assert all(block.endswith(b"\n") for block in blocks)
    assert len(blocks) == len(pieces)
    assert b"\n" not in splitter.rest()


@given(st.binary(max_size=100))
def test_the_lines_of_a_block_are_the_block(block: bytes) -> None:
    lines = lines_of(block)
    assert b"".join(lines) == block
    assert all(line.count(b"\n") <= 1 for line in lines)
    assert not block or all(lines) or not block.endswith(b"\n")


def test_a_line_ends_at_a_line_feed_and_nowhere_else() -> None:
    assert lines_of(b"a\r\nb\rc\x0b\xe2\x80\xa8\n\nd") == [b"a\r\n", b"b\rc\x0b\xe2\x80\xa8\n", b"\n", b"d"]


def test_the_longest_line_passes_and_one_byte_more_does_not() -> None:
    fits = b"y" * (LIMIT - 1) + b"\n"
    pieces, _ = _fed(b"first\n" + fits + b"z" + fits + b"last\nrest")
    assert [piece if isinstance(piece, bytes) else piece.size_bytes for piece in pieces] == [
        b"first\n",
        fits,
        LIMIT + 1,
        b"last\n",
    ]


def test_a_line_that_is_too_long_and_never_ends_is_not_kept() -> None:
    splitter = LineSplitter(LIMIT)
    for _ in range(50):
        assert splitter.feed(b"w" * 1_000) == []
    assert splitter.rest() == b""
    (piece,) = splitter.feed(b"!\n")
    assert isinstance(piece, Oversize)
    assert (len(piece.head), len(piece.tail), piece.size_bytes) == (KEPT_BYTES, KEPT_BYTES, 50_002)
    assert splitter.feed(b"next\n") == [b"next\n"]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize("named", [7, "seven", 'q"\\7', "äö"])
def test_the_id_of_a_request_is_found_first_or_last(*, named: str | int, spaced: bool, last: bool) -> None:
    big = {"params": {"text": BIG, "deep": [{"id": 8}]}}
    plain: dict[str, object] = {"jsonrpc": "2.0", "id": named, "method": "tools/call"}
    text = json.dumps({**big, **plain} if last else {**plain, **big}, separators=None if spaced else (",", ":"))
    assert _oversize(text.encode() + b"\r").told() == (Kind.REQUEST, named)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ({"jsonrpc": "2.0", "id": 3, "result": {"text": BIG}}, (Kind.RESPONSE, 3)),
        ({"result": {"text": BIG}, "jsonrpc": "2.0", "id": "x"}, (Kind.RESPONSE, "x")),
        ({"id": 3, "error": {"code": 1, "message": BIG}, "jsonrpc": "2.0"}, (Kind.RESPONSE, 3)),
        ({"method": "tools/call", "params": {"a": BIG}, "jsonrpc": "2.0", "id": 5}, (Kind.REQUEST, 5)),
        ({"id": 1, "method": "m", "params": {"a": BIG}, "extra": [2]}, (Kind.REQUEST, 1)),
        ({"jsonrpc": "2.0", "method": "notifications/message", "params": {"a": BIG}}, (Kind.OTHER, None)),
        ({"id": 4, "params": {"a": BIG}, "method": "m", "extra": [2]}, (Kind.OTHER, 4)),
        ({"id": 1.5, "method": "m", "params": {"a": BIG}}, (Kind.OTHER, None)),
        ({"id": None, "error": {"message": BIG}}, (Kind.OTHER, None)),
        ({"id": True, "method": "m", "params": BIG}, (Kind.OTHER, None)),
        ([{"id": 1, "method": "m", "params": {"a": BIG}}], (Kind.OTHER, None)),
        ({"params": {"a": BIG, "b": ',"id":3'}}, (Kind.OTHER, None)),
        ({"method": "m", "params": {"a": BIG, "b": "},"}, "id": 9}, (Kind.REQUEST, 9)),
        (BIG, (Kind.OTHER, None)),
        ({}, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_line_was_is_told_by_its_ends(text: object, told: tuple[Kind, object] | None) -> None:
    if told is None:
        assert Oversize(head=b"{", tail=b"}" * 3, size_bytes=9).told() == (Kind.OTHER, None)
        return
    assert _oversize(json.dumps(text).encode()).told() == told


@given(st.binary(max_size=3 * KEPT_BYTES))
def test_any_ends_are_read_without_a_fault(text: bytes) -> None:
    kind, request_id = Oversize(head=text[:KEPT_BYTES], tail=text[-KEPT_BYTES:], size_bytes=len(text)).told()
    assert request_id is not None or kind is Kind.OTHER


@pytest.mark.parametrize("hostile", [b',"a":1' * 500, b',"' * 500, b"\\" * 1_024, b',"a":"' + b"\\\\" * 500])
def test_hostile_ends_take_no_time(hostile: bytes) -> None:
    assert Oversize(head=b"{" + hostile, tail=hostile[-KEPT_BYTES:], size_bytes=1).told() == (Kind.OTHER, None)


@pytest.mark.parametrize("written", [b"-07", b"1e", b'"\xff"', b'"\\q"', b"--"])
def test_an_id_that_is_no_json_is_none(written: bytes) -> None:
    whole = b'{"id":%b,"method":"m","params":{}}' % written
    assert Oversize(head=whole, tail=whole[-KEPT_BYTES:], size_bytes=len(whole)).told() == (Kind.OTHER, None)
