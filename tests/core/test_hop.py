"""The header rules of a relay, as tables and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.hop import (
    HOP_BY_HOP,
    end_to_end,
    framing,
    is_chunked,
    is_websocket_upgrade,
    list_members,
    reply_headers,
    request_headers,
    upstream_target,
    values_of,
    write_head,
)

UPGRADE = ((b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"WebSocket"), (b"Sec-WebSocket-Key", b"k"))
TOKENS = st.sampled_from(
    [b"X-A", b"x-a", b"Connection", b"TE", b"Host", b"Content-Length", b"Upgrade", b"Cookie", b"Trailer"]
)
FIELDS = st.lists(st.tuples(TOKENS, st.sampled_from([b"", b"1", b"x-a", b"a, X-A ,,b", b"\xff caf\xe9"])))


def test_values_are_found_in_any_case_and_keep_their_order() -> None:
    assert values_of(((b"X-A", b"1"), (b"B", b"2"), (b"x-a", b"3")), b"x-a") == [b"1", b"3"]


def test_a_list_is_joined_over_repeated_fields_and_empty_members_are_left_out() -> None:
    headers = ((b"Connection", b" Close ,, X-A"), (b"connection", b"\tUpgrade"), (b"Connection", b""))
    assert list_members(headers, b"connection") == [b"close", b"x-a", b"upgrade"]


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_a_field_of_one_connection_is_dropped_in_any_case(name: bytes) -> None:
    headers = ((b"X-A", b"1"), (name.upper(), b"v"), (name.title(), b"v"), (b"X-B", b"2"))
    assert end_to_end(headers) == [(b"X-A", b"1"), (b"X-B", b"2")]


def test_fields_that_connection_names_are_dropped_but_never_length_or_host() -> None:
    headers = (
        (b"Connection", b"X-Mine, content-length, HOST"),
        (b"x-mine", b"1"),
        (b"Host", b"h"),
        (b"Content-Length", b"3"),
    )
    assert end_to_end(headers) == [(b"Host", b"h"), (b"Content-Length", b"3")]


@given(FIELDS)
def test_what_goes_on_is_what_came_in_the_same_order_without_additions(
    fields: list[tuple[bytes, bytes]],
) -> None:
    kept = end_to_end(fields)
    rest = iter(fields)
    assert all(field in rest for field in kept)
    assert end_to_end(kept) == kept
    assert not {name.lower() for name, _ in kept} & HOP_BY_HOP


@given(FIELDS, st.one_of(st.none(), st.integers(0, 9)))
def test_a_request_has_exactly_the_host_of_the_upstream_and_at_most_one_framing(
    fields: list[tuple[bytes, bytes]], body_bytes: int | None
) -> None:
    hosts = [field for field in fields if field[0] == b"Host"][1:]
    single = [field for field in fields if field not in hosts or field[0] != b"Host"]
    sent = request_headers(single, host=b"up:1", body_bytes=body_bytes)
    assert set(values_of(sent, b"host")) == {b"up:1"}
    if body_bytes is not None:
        assert values_of(sent, b"content-length") in ([], [b"%d" % body_bytes])


def test_the_host_is_rewritten_in_its_place_and_in_its_case() -> None:
    sent = request_headers(((b"X-A", b"1"), (b"hOST", b"agent:1"), (b"X-B", b"2")), host=b"up:2")
    assert sent == [(b"X-A", b"1"), (b"hOST", b"up:2"), (b"X-B", b"2")]


def test_a_request_without_host_gets_one() -> None:
    assert request_headers((), host=b"up:2") == [(b"Host", b"up:2")]


@pytest.mark.parametrize(
    ("headers", "body_bytes", "framed"),
    [
        ((), None, []),
        ((), 0, []),
        ((), 4, [(b"Content-Length", b"4")]),
        (((b"content-length", b"9"),), None, [(b"content-length", b"9")]),
        (((b"content-length", b"9"),), 4, [(b"Content-Length", b"4")]),
        (((b"content-length", b"0"),), 0, [(b"Content-Length", b"0")]),
        (((b"Transfer-Encoding", b"chunked"),), None, [(b"Transfer-Encoding", b"chunked")]),
        (((b"Transfer-Encoding", b"chunked"),), 0, [(b"Content-Length", b"0")]),
        (
            ((b"content-length", b"9"), (b"TRANSFER-ENCODING", b"gzip, Chunked")),
            None,
            [(b"TRANSFER-ENCODING", b"gzip, Chunked")],
        ),
    ],
)
def test_a_request_body_is_framed_once(
    headers: tuple[tuple[bytes, bytes], ...], body_bytes: int | None, framed: list[tuple[bytes, bytes]]
) -> None:
    sent = request_headers(((b"Host", b"h"), *headers), host=b"h", body_bytes=body_bytes)
    assert sent == [(b"Host", b"h"), *framed]


def test_a_websocket_upgrade_keeps_the_fields_that_carry_it() -> None:
    assert is_websocket_upgrade(UPGRADE)
    assert request_headers(UPGRADE, host=b"h") == [(b"Host", b"h"), *UPGRADE]
    assert reply_headers(UPGRADE, upgrade=True) == list(UPGRADE)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"Upgrade", b"websocket"),),
        ((b"Connection", b"upgrade"),),
        ((b"Connection", b"upgrade"), (b"Upgrade", b"h2c")),
        ((b"Connection", b"upgrade"), (b"Upgrade", b"h2c, websocket")),
    ],
)
def test_any_other_upgrade_is_none_of_ours(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    assert not is_websocket_upgrade(headers)
    assert request_headers(headers, host=b"h") == [(b"Host", b"h")]


@pytest.mark.parametrize(
    ("value", "chunked"),
    [(b"chunked", True), (b"GZIP , Chunked", True), (b"chunked, gzip", False), (b"", False)],
)
def test_only_the_last_transfer_coding_frames(value: bytes, *, chunked: bool) -> None:
    headers = ((b"Transfer-Encoding", value),)
    assert is_chunked(headers) is chunked
    assert framing(((b"X", b"1"), *headers)) == list(headers)


def test_a_reply_loses_its_length_only_when_chunks_frame_it() -> None:
    length = (b"Content-Length", b"3")
    assert reply_headers((length, (b"Server", b"s"))) == [length, (b"Server", b"s")]
    assert reply_headers((length, (b"Transfer-Encoding", b"chunked"))) == []


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        (b"/a%2F//b/../?x=1?#y", b"/a%2F//b/../?x=1?#y"),
        (b"//host/path", b"//host/path"),
        (b"*", b"*"),
        (b"http://agent:1/a?b", b"/a?b"),
        (b"HTTP://agent", b"/"),
        (b"http://agent?q", b"/?q"),
        (b"/http://x/", b"/http://x/"),
    ],
)
def test_a_target_goes_on_byte_for_byte(came: bytes, goes: bytes) -> None:
    assert upstream_target(came) == goes
    assert upstream_target(came, prefix=b"/base") == (goes if came == b"*" else b"/base" + goes)


@given(st.binary().map(lambda tail: b"/" + tail))
def test_an_origin_target_is_never_changed(target: bytes) -> None:
    assert upstream_target(target) == target


def test_a_head_is_written_as_it_is() -> None:
    head = write_head(b"GET / HTTP/1.1", [(b"x-A", b"caf\xe9"), (b"X-Empty", b"")])
    assert head == b"GET / HTTP/1.1\r\nx-A: caf\xe9\r\nX-Empty: \r\n\r\n"


@pytest.mark.parametrize("bad", [b"a\r\nInjected: 1", b"a\nb", b"a\rb", b"a\x00b"])
def test_a_head_that_would_break_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match="without CR, LF and NUL"):
        write_head(b"GET / HTTP/1.1", [(b"X", bad)])
    with pytest.raises(ValueError, match="without CR, LF and NUL"):
        write_head(bad, [])
