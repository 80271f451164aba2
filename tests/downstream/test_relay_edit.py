"""Replies that change on their way through the relay, byte by byte on the wire."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from proxy.downstream.relay import Relay
from proxy.downstream.relay_edit import MAX_EDITED_BYTES, Rewrite, corrected, plainly
from tests.support.corpus import chunked, post, reply, sized
from tests.support.raw_http import Reply, connect
from tests.support.raw_upstream import Peer, RawUpstream, answers, raw_upstream
from tests.support.relay_stand import Stand, relay_stand

pytestmark = pytest.mark.requirement("relay.rewrite")

JSON, EVENTS = b"Content-Type: application/json", b"content-type: text/event-stream; charset=utf-8"


def _longer(data: bytes) -> bytes:
    return data.replace(b"tool", b"deprecated tool") if b"tool" in data else data


REWRITE = Rewrite(body=_longer, frame=_longer)


async def _rewriting(relay: Relay, request: web.Request) -> web.StreamResponse:
    return await relay.relay(request, rewrite=REWRITE)


@asynccontextmanager
async def _house() -> AsyncIterator[tuple[RawUpstream, Stand]]:
    async with (
        raw_upstream() as upstream,
        relay_stand(f"http://127.0.0.1:{upstream.port}", call=_rewriting) as stand,
    ):
        yield upstream, stand


async def _ask(stand: Stand, request: bytes) -> Reply:
    async with asyncio.timeout(5), connect(stand.port) as wire:
        await wire.send(request)
        return await wire.reply(method=b"POST")


async def _through(*replies: bytes) -> tuple[Reply, Stand]:
    async with _house() as (upstream, stand):
        upstream.script = answers(*replies)
        return await _ask(stand, post(b"{}")), stand


async def test_a_json_body_changes_with_its_length_and_without_what_vouched_for_it() -> None:
    heard, stand = await _through(
        sized(b"200 OK", JSON, b'ETag: "1"', b"Content-MD5: x", b"X-Kept: 1", body=b'{"a":"tool"}')
    )
    assert (heard.status, heard.body) == (200, b'{"a":"deprecated tool"}')
    assert heard.all(b"content-length") == [b"23"]
    assert heard.all(b"etag") == heard.all(b"content-md5") == []
    assert heard.all(b"x-kept") == [b"1"]
    assert heard.complete
    assert (stand.outcomes[0].bytes_down, stand.outcomes[0].complete) == (23, True)


async def test_a_json_body_that_nothing_is_to_be_said_of_passes_as_it_came() -> None:
    heard, _ = await _through(sized(b"200 OK", JSON, b'ETag: "1"', body=b'{"a": 1 }'))
    assert (heard.body, heard.all(b"etag"), heard.all(b"content-length")) == (b'{"a": 1 }', [b'"1"'], [b"9"])


async def test_a_json_body_in_chunks_changes_as_a_whole() -> None:
    body = chunked(b'{"a":"to', b'ol"}')
    heard, _ = await _through(reply(b"200 OK", JSON, b"Transfer-Encoding: chunked", body=body))
    assert (heard.body, heard.all(b"transfer-encoding")) == (b'{"a":"deprecated tool"}', [b"chunked"])
    assert heard.complete


async def test_an_event_stream_changes_frame_by_frame_whatever_the_chunks() -> None:
    body = chunked(b": hi\n\nid: 1\ndata: a to", b"ol\n", b"\ndata: b\n\ndata: half a tool")
    heard, stand = await _through(reply(b"200 OK", EVENTS, b"Transfer-Encoding: chunked", body=body))
    assert heard.body == b": hi\n\nid: 1\ndata: a deprecated tool\n\ndata: b\n\ndata: half a tool"
    assert heard.complete
    assert stand.outcomes[0].bytes_down == len(heard.body)


async def test_an_event_stream_of_a_told_length_goes_on_without_it() -> None:
    heard, _ = await _through(sized(b"200 OK", EVENTS, body=b"data: tool\n\n"))
    assert (heard.body, heard.all(b"content-length")) == (b"data: deprecated tool\n\n", [])


async def test_a_frame_goes_on_as_soon_as_it_is_complete() -> None:
    async with _house() as (upstream, stand):

        async def script(peer: Peer) -> None:
            await peer.request()
            head = b"HTTP/1.1 200 OK\r\n" + EVENTS + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
            await peer.send(head + chunked(b"data: 1 tool\n\n").removesuffix(b"0\r\n\r\n"))
            await peer.stage.until("seen")
            await peer.send(chunked(b"data: 2\n\n"))

        upstream.script = script
        async with asyncio.timeout(5), connect(stand.port) as wire:
            await wire.send(post(b"{}"))
            seen = b""
            while b"1 deprecated tool\n\n" not in seen:
                seen += await wire.reader.read(65536)
            upstream.stage.reached("seen")
            while b"data: 2\n\n" not in seen:
                seen += await wire.reader.read(65536)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (b"404 Not Found", JSON),
        (b"200 OK", b"Content-Type: text/plain"),
        (b"202 Accepted", EVENTS),
        (b"200 OK", b"X: y"),
    ],
)
async def test_another_status_or_kind_of_reply_passes_as_it_came(status: bytes, kind: bytes) -> None:
    heard, _ = await _through(sized(status, kind, b'ETag: "1"', body=b'{"a":"tool"}'))
    assert (heard.body, heard.all(b"etag")) == (b'{"a":"tool"}', [b'"1"'])


async def test_a_compressed_reply_is_not_asked_for_and_passes_where_it_comes_nevertheless() -> None:
    packed = gzip.compress(b'{"a":"tool"}')
    async with _house() as (upstream, stand):
        upstream.script = answers(sized(b"200 OK", JSON, b"Content-Encoding: gzip", body=packed))
        heard = await _ask(stand, post(b"{}", b"Accept-Encoding: gzip, br", b"accept-encoding: zstd"))
        assert upstream.received[0].head.all(b"accept-encoding") == [b"identity"]
    assert heard.body == packed


@pytest.mark.parametrize("kind", [JSON, EVENTS])
async def test_what_is_too_long_to_be_changed_passes_as_it_came(kind: bytes) -> None:
    body = b"tool" + b"x" * MAX_EDITED_BYTES
    heard, stand = await _through(sized(b"200 OK", kind, body=body))
    assert heard.body == body
    assert stand.outcomes[0].complete


@pytest.mark.parametrize("kind", [JSON, EVENTS])
async def test_a_body_that_breaks_off_breaks_off_for_the_agent_too(kind: bytes) -> None:
    async with _house() as (upstream, stand):

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\n" + kind + b"\r\nContent-Length: 100\r\n\r\n" + b'{"a":"tool"')
            peer.abort()

        upstream.script = script
        heard = await _ask(stand, post(b"{}"))
        assert not heard.complete
        assert heard.body in {b"", b'{"a":"tool"'}
        assert not stand.outcomes[0].complete


def test_the_length_is_corrected_once_in_its_place() -> None:
    headers = [(b"A", b"1"), (b"Content-Length", b"5"), (b"content-length", b"5"), (b"etag", b"x"), (b"B", b"2")]
    assert corrected(headers, 7) == [(b"A", b"1"), (b"Content-Length", b"7"), (b"B", b"2")]
    assert corrected(headers, None) == [(b"A", b"1"), (b"B", b"2")]


def test_a_request_asks_for_no_compression_and_keeps_all_else() -> None:
    headers = ((b"Accept", b"x"), (b"ACCEPT-encoding", b"gzip"))
    assert plainly(headers) == [(b"Accept", b"x"), (b"Accept-Encoding", b"identity")]
