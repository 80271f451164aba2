"""The part of the corpus in which agent and upstream take turns: streams, upgrades, 100-continue, breaks.

Turns are held apart by barriers, never by time, so a relay that buffers makes them time out.
"""

from tests.support.corpus import OK, Case, get, post, reply, sized
from tests.support.raw_http import Reply, Wire, read_chunk
from tests.support.raw_upstream import Peer, Script, Stage

SSE = (
    b": a comment\n\n",
    b"retry: 3000\n\n",
    b'id: 7\nevent: message\ndata: {"a":\ndata: 1}\n\n',
    b"data: caf\xc3\xa9\r\n\r\n",
    b"data: unfinished",
)
NDJSON = (b'{"n":1}\n', b'{"n":2}\n', b'{"n"', b":3}\n")

HANDSHAKE = (
    b"GET /ws/alice?x=%2F HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: one, two\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
ACCEPT = reply(
    b"101 Switching Protocols",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    b"Sec-WebSocket-Protocol: two",
)
AGENT_FRAMES = (
    b"\x81\x85abcd\x09\x07\x0f\x08\x0e",  # text, masked
    b"\x82\x83abcd\x61\x63\x65",  # binary, masked
    b"\x89\x84abcd\x11\x0b\x0d\x03",  # ping, masked
    b"\x01\x81abcd\x00" + b"\x80\x81abcd\x00",  # a text in two fragments
    b"\xc1\x81abcd\x00",  # a reserved bit: a compressed frame
)
UPSTREAM_FRAMES = (b"\x81\x05hello", b"\x82\x03\x00\x01\x02", b"\x8a\x04ping", b"\x89\x00", b"\x81\x00")


def streaming(name: str, content_type: bytes, pieces: tuple[bytes, ...]) -> Case:
    """A reply in pieces; each is sent only after the agent got the one before."""

    async def upstream(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(b"200 OK", b"Content-Type: " + content_type, b"Transfer-Encoding: chunked"))
        for number, piece in enumerate(pieces):
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await peer.stage.until(f"got {number}")
        await peer.send(b"0\r\n\r\n")

    async def agent(wire: Wire, stage: Stage) -> list[Reply]:
        await wire.send(get(b"/stream", b"Accept: " + content_type))
        head, _ = await wire.reply_head()
        seen = []
        for number in range(len(pieces)):
            seen.append(await read_chunk(wire.reader))
            stage.reached(f"got {number}")
        last = await read_chunk(wire.reader)
        # One chunk per piece, each arrived alone: the barriers would not have opened otherwise.
        body = b"|".join([*seen, last])
        return [Reply(status=200, reason=b"OK", headers=head.headers, body=body, complete=True)]

    return Case(name=name, upstream=upstream, agent=agent)


def _upload_in_pieces() -> Case:
    async def upstream(peer: Peer) -> None:
        head = await peer.head()
        first = await read_chunk(peer.wire.reader)
        peer.stage.reached("first piece")
        second = await read_chunk(peer.wire.reader)
        peer.stage.reached("second piece")
        await peer.request(head)
        await peer.send(sized(b"200 OK", body=first + b"|" + second))

    async def agent(wire: Wire, stage: Stage) -> list[Reply]:
        await wire.send(get(b"/up", b"Transfer-Encoding: chunked", method=b"POST") + b"1\r\na\r\n")
        await stage.until("first piece")
        await wire.send(b"2\r\nbc\r\n")
        await stage.until("second piece")
        await wire.send(b"3\r\ndef\r\n0\r\n\r\n")
        return [await wire.reply()]

    return Case(name="upload in pieces", upstream=upstream, agent=agent)


def _both_ways_at_once() -> Case:
    async def upstream(peer: Peer) -> None:
        head = await peer.head()
        await peer.send(reply(b"200 OK", b"Transfer-Encoding: chunked") + b"5\r\nearly\r\n")
        await peer.request(head)
        await peer.send(b"4\r\nlate\r\n0\r\n\r\n")

    async def agent(wire: Wire, stage: Stage) -> list[Reply]:
        del stage
        await wire.send(get(b"/duplex", b"Content-Length: 4", method=b"POST") + b"ab")
        head, _ = await wire.reply_head()
        early = await read_chunk(wire.reader)
        await wire.send(b"cd")
        late = await read_chunk(wire.reader)
        await read_chunk(wire.reader)
        return [Reply(status=200, reason=b"OK", headers=head.headers, body=early + late, complete=True)]

    return Case(name="reply begins before the request ended", upstream=upstream, agent=agent)


def _continue(name: str, upstream: Script, *, waits: bool) -> Case:
    async def agent(wire: Wire, stage: Stage) -> list[Reply]:
        body = b"x" * 1000
        await wire.send(post(body, b"Expect: 100-Continue").removesuffix(body))
        if waits:
            line = await wire.reader.readline()
            assert line.startswith(b"HTTP/1.1 100 ")
            assert await wire.reader.readline() == b"\r\n"
            await wire.send(body)
        else:
            await stage.until("send unasked")
            await wire.send(body)
        return [await wire.reply()]

    return Case(name=name, upstream=upstream, agent=agent)


async def _asks_for_the_body(peer: Peer) -> None:
    head = await peer.head()
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await peer.request(head)
    await peer.send(OK)


async def _ignores_expect(peer: Peer) -> None:
    head = await peer.head()
    peer.stage.reached("send unasked")
    await peer.request(head)
    await peer.send(OK)


def _refused_without_body() -> Case:
    async def upstream(peer: Peer) -> None:
        await peer.head()
        await peer.send(sized(b"417 Expectation Failed", b"Connection: close", body=b"no"))

    async def agent(wire: Wire, stage: Stage) -> list[Reply]:
        del stage
        await wire.send(get(b"/big", b"Content-Length: 9", b"Expect: 100-continue", method=b"PUT"))
        return [await wire.reply()]

    return Case(name="100-continue: refused, the body is never sent", upstream=upstream, agent=agent)


def _websocket(name: str, last_words: bytes, *, agent_ends: bool) -> Case:
    async def upstream(peer: Peer) -> None:
        await peer.request()
        await peer.send(ACCEPT + b"\x81\x02hi")
        heard = b""
        for frame in AGENT_FRAMES:
            heard += await peer.wire.reader.readexactly(len(frame))
        peer.stage.reached("heard")
        for frame in UPSTREAM_FRAMES:
            await peer.send(frame)
        await peer.send(heard)
        if agent_ends:
            assert await peer.wire.reader.readexactly(len(last_words)) == last_words
            await peer.gone()
        else:
            await peer.send(last_words)

    async def agent(wire: Wire, stage: Stage) -> list[Reply]:
        await wire.send(HANDSHAKE + AGENT_FRAMES[0])
        head, _ = await wire.reply_head()
        for frame in AGENT_FRAMES[1:]:
            await wire.send(frame)
        await stage.until("heard")
        expected = b"\x81\x02hi" + b"".join((*UPSTREAM_FRAMES, *AGENT_FRAMES))
        seen = await wire.reader.readexactly(len(expected))
        if agent_ends:
            await wire.send(last_words)
        else:
            seen += await wire.reader.read()
        return [Reply(status=101, reason=head.start, headers=head.headers, body=seen, complete=True)]

    return Case(name=name, upstream=upstream, agent=agent)


def _websocket_refused() -> Case:
    async def upstream(peer: Peer) -> None:
        await peer.request()
        await peer.send(sized(b"403 Forbidden", b"Connection: close", body=b"no token"))

    async def agent(wire: Wire, stage: Stage) -> list[Reply]:
        del stage
        await wire.send(HANDSHAKE)
        return [await wire.reply()]

    return Case(name="WebSocket refused", upstream=upstream, agent=agent)


def _early_disconnect(name: str, sends: bytes) -> Case:
    async def upstream(peer: Peer) -> None:
        if sends:
            await peer.request()
            await peer.send(reply(b"200 OK", b"Transfer-Encoding: chunked") + sends)
        else:
            await peer.request()
            peer.stage.reached("asked")
        await peer.gone()
        peer.stage.reached("upstream let go")

    async def agent(wire: Wire, stage: Stage) -> list[Reply]:
        await wire.send(get(b"/event/wait?agent_id=a&timeout_seconds=300"))
        seen = b""
        if sends:
            await wire.reply_head()
            seen = await read_chunk(wire.reader)
        else:
            await stage.until("asked")
        await wire.close()
        await stage.until("upstream let go")
        return [Reply(status=0, reason=b"", headers=(), body=seen, complete=False)]

    return Case(name=name, upstream=upstream, agent=agent)


def _breaks(name: str, answer: bytes) -> Case:
    async def upstream(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.stage.until("partly read")

    async def agent(wire: Wire, stage: Stage) -> list[Reply]:
        await wire.send(get(b"/breaks"))
        # The upstream breaks only after the head went down: the break must show, not the error.
        await wire.reader.readuntil(b"HTTP/1.1 200")
        stage.reached("partly read")
        rest = await wire.reader.read()
        complete = rest.endswith(b"0\r\n\r\n")
        assert b"partial" in rest
        return [Reply(status=200, reason=b"", headers=(), body=b"partial", complete=complete)]

    return Case(name=name, upstream=upstream, agent=agent)


CONVERSATIONS = (
    streaming("SSE piece by piece", b"text/event-stream; charset=utf-8", SSE),
    streaming("ndjson piece by piece", b"application/x-ndjson", NDJSON),
    streaming("an unknown type piece by piece", b"x-own/type", (b"\x00", b"\xff\xfe", b"\r\n")),
    _upload_in_pieces(),
    _both_ways_at_once(),
    _continue("100-continue: upstream asks", _asks_for_the_body, waits=True),
    _continue("100-continue: upstream ignores it", _ignores_expect, waits=False),
    _refused_without_body(),
    _websocket("WebSocket, upstream closes with a code", b"\x88\x04\x0f\xa0ok", agent_ends=False),
    _websocket("WebSocket, agent closes and is gone", b"\x88\x82abcd\x62\x8a", agent_ends=True),
    _websocket_refused(),
    _early_disconnect("agent leaves before the reply", b""),
    _early_disconnect("agent leaves in the middle of a stream", b"5\r\nfirst\r\n"),
    _breaks("sized reply breaks off", reply(b"200 OK", b"Content-Length: 100", body=b"partial")),
    _breaks("chunked reply breaks off", reply(b"200 OK", b"Transfer-Encoding: chunked", body=b"7\r\npartial\r\n")),
)
