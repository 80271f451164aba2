"""Messages whose end or head two readers could see in different places: nothing of them is smuggled upstream."""

import asyncio

import pytest

from tests.support.house import OFF, ON, house
from tests.support.raw_http import Reply, connect
from tests.support.raw_upstream import Peer, RawUpstream, Received, raw_upstream

pytestmark = pytest.mark.requirement("security.one_message_end")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
LENGTH = b"%d" % len(HIDDEN)


def _post(*fields: bytes, body: bytes = b"", start: bytes = b"POST /x HTTP/1.1") -> bytes:
    return b"\r\n".join([start, b"Host: localhost", *fields, b"", body])


def _get(*fields: bytes, start: bytes = b"GET /x HTTP/1.1") -> bytes:
    return _post(*fields, start=start)


CHUNKED = b"Transfer-Encoding: chunked"

REFUSED = {
    "length and chunks": _post(b"Content-Length: 4", CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "chunks and length": _post(CHUNKED, b"Content-Length: 4", body=b"0\r\n\r\n" + HIDDEN),
    "two lengths": _post(b"Content-Length: 0", b"Content-Length: " + LENGTH, body=HIDDEN),
    "two equal lengths": _post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    "a list of lengths": _post(b"Content-Length: 5, 5", body=b"hello"),
    "a length with a sign": _post(b"Content-Length: +5", body=b"hello"),
    "a length below nothing": _post(b"Content-Length: -1", body=b"hello"),
    "a length in hex": _post(b"Content-Length: 0x5", body=b"hello"),
    "a length with an underscore": _post(b"Content-Length: 1_0", body=b"hello12345"),
    "a length beyond 64 bits": _post(b"Content-Length: 99999999999999999999999", body=b"hello"),
    "a blank before the colon": _post(b"Content-Length : 5", body=b"hello"),
    "chunked twice": _post(CHUNKED, CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "another coding last": _post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + HIDDEN),
    "an unknown coding": _post(b"Transfer-Encoding: xchunked", b"Content-Length: 3", body=b"abc"),
    "a coding behind a vertical tab": _post(b"Transfer-Encoding: \x0bchunked", b"Content-Length: 3", body=b"abc"),
    "a coding in quotes": _post(b'Transfer-Encoding: "chunked"', b"Content-Length: 3", body=b"abc"),
    "chunks in HTTP/1.0": _post(CHUNKED, body=b"0\r\n\r\n" + HIDDEN, start=b"POST /x HTTP/1.0"),
    "a folded field": _get(b"X-A: b", b" c: d"),
    "a folded coding": _post(b"Transfer-Encoding:", b" chunked", b"Content-Length: 3", body=b"abc"),
    "line feeds alone": b"GET /x HTTP/1.1\nHost: localhost\n\n",
    "a line feed within a field": _get(b"X-A: b\nX-B: c"),
    "a carriage return within a field": _get(b"X-A: b\rX-B: c"),
    "NUL in a name": _get(b"X-\0A: b"),
    "NUL in a value": _get(b"X-A: b\0c"),
    "NUL in the target": _get(start=b"GET /x\0y HTTP/1.1"),
    "a line feed in the target": _get(start=b"GET /x\ny HTTP/1.1"),
    "a blank in the target": _get(start=b"GET /x y HTTP/1.1"),
    "a blank in a name": _get(b"X A: b"),
    "a blank before the first field": b"GET /x HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "no colon": _get(b"XA"),
    "no name": _get(b": b"),
    "no host": b"GET /x HTTP/1.1\r\n\r\n",
    "two hosts": _get(b"Host: localhost"),
    "two hosts, one foreign": _get(b"Host: evil.example"),
    "another version": _get(start=b"GET /x HTTP/1.2"),
    "the begin of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method with a colon": _get(start=b"GE:T /x HTTP/1.1"),
    "a line feed in a chunk extension": _post(CHUNKED, body=b"2;\nxx\r\nhi\r\n0\r\n\r\n"),
    "a chunk below nothing": _post(CHUNKED, body=b"-1\r\nhi\r\n0\r\n\r\n"),
    "a chunk with a prefix": _post(CHUNKED, body=b"0x2\r\nhi\r\n0\r\n\r\n"),
    "a chunk beyond 64 bits": _post(CHUNKED, body=b"1ffffffffffffffff\r\nhi\r\n0\r\n\r\n"),
    "a chunk without an end": _post(CHUNKED, body=b"2\r\nhi0\r\n\r\n"),
    "a length in a trailer": _post(CHUNKED, body=b"0\r\nContent-Length: 50\r\n\r\n"),
    "a field beyond the bound": _get(b"X-A: " + b"x" * 70_000),
    "too many fields": _get(*(b"X-%d: 1" % number for number in range(1100))),
}

PASSED = {
    "a body that is a request": (_get(b"Content-Length: " + LENGTH) + HIDDEN, HIDDEN),
    "a length that is called hop-by-hop": (
        _post(b"Connection: Content-Length", b"Content-Length: " + LENGTH, body=HIDDEN),
        HIDDEN,
    ),
    "a coding that is called hop-by-hop": (
        _post(b"Connection: Transfer-Encoding", CHUNKED, body=b"2\r\nhi\r\n0\r\n\r\n"),
        b"hi",
    ),
    "chunks with a line of a request in them": (
        _post(CHUNKED, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)),
        HIDDEN,
    ),
    "encoded line ends in the target": (_get(start=b"GET /x%0d%0aHost:%20evil HTTP/1.1"), b""),
    "an upgrade with a body": (
        _post(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 5", body=b"hello"),
        b"hello",
    ),
}


async def _serve(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(OK)


async def _tried(upstream: RawUpstream, port: int, request: bytes) -> tuple[list[Reply], list[Received]]:
    """All replies to what is sent in one piece, with a call behind it, and what reached the server."""
    upstream.play(_serve)
    replies: list[Reply] = []
    async with asyncio.timeout(10), connect(port) as wire:
        await wire.send(request + _get(b"Connection: close", start=b"GET /last HTTP/1.1"))
        try:
            while True:
                replies.append(await wire.reply())
        except (EOFError, ConnectionError):
            pass  # the end
    return replies, [got for got in upstream.received if not got.target.startswith(b"/elicitation")]


@pytest.mark.parametrize("flags", [ON, OFF], ids=["on", "off"])
async def test_what_has_two_readings_is_refused_and_ends_its_connection(flags: dict[str, str]) -> None:
    passed = {}
    async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", flags) as made:
        for name, request in REFUSED.items():
            replies, reached = await _tried(upstream, made.port, request)
            complete = [got.target for got in reached if got.complete]
            if complete or [reply.status for reply in replies] not in ([400], [431]):
                passed[name] = ([reply.status for reply in replies], complete)
    assert passed == {}


@pytest.mark.parametrize("flags", [ON, OFF], ids=["on", "off"])
@pytest.mark.parametrize("name", list(PASSED))
async def test_what_looks_like_a_second_request_stays_inside_of_the_first(name: str, flags: dict[str, str]) -> None:
    request, body = PASSED[name]
    async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", flags) as made:
        replies, reached = await _tried(upstream, made.port, request)
    assert [reply.status for reply in replies] == [200, 200]
    assert [(got.target == b"/last", got.body) for got in reached] == [(False, body), (True, b"")]
    assert all(got.head.all(b"host") == [b"127.0.0.1:%d" % upstream.port] for got in reached)


HOSTILE_REPLIES = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 40\r\n\r\nok",
    "a folded field": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 2\r\n\r\nok",
    "a carriage return in a value": b"HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: c\r\nContent-Length: 2\r\n\r\nok",
    "a reason with a carriage return": b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("name", list(HOSTILE_REPLIES))
async def test_a_reply_with_two_readings_reaches_nobody(name: str) -> None:
    async def answer(peer: Peer) -> None:
        await peer.request()
        await peer.send(HOSTILE_REPLIES[name])

    async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", OFF) as made:
        upstream.play(answer)
        async with asyncio.timeout(10), connect(made.port) as wire:
            await wire.send(_get())
            reply = await wire.reply()
    injected = [key for key, value in reply.headers if b"\r" in value or b"\0" in value or key == b"Set-Cookie"]
    assert injected == []
    assert (reply.status, reply.body) in {(502, reply.body), (200, b"ok")}
