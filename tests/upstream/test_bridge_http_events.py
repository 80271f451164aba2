"""One event stored over HTTP: what goes over the wire, and what a reply must tell."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest
from yarl import URL

from proxy.core.errors import BadBridgeReply, BridgeRefused
from proxy.core.ids import AgentId
from proxy.core.secret import Secret
from proxy.upstream.bridge_http import HttpBridge
from proxy.upstream.session import open_bridge_session
from tests.support.raw_upstream import RawUpstream, answers, raw_upstream

BOB = AgentId("bob")
TOKEN = Secret("Bearer very-secret-token")


@contextlib.asynccontextmanager
async def _line(body: bytes, *, status: str = "200 OK") -> AsyncIterator[tuple[HttpBridge, RawUpstream]]:
    async with raw_upstream() as upstream, open_bridge_session(connect_timeout_s=1) as session:
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status.encode(), len(body))
        upstream.play(answers(head + body))
        async with asyncio.timeout(10):
            yield HttpBridge(session, URL(f"http://127.0.0.1:{upstream.port}"), request_timeout_s=5), upstream


@pytest.mark.requirement("bus.words")
async def test_an_event_is_stored_in_the_agents_name_under_a_type_that_the_bridge_keeps() -> None:
    async with _line(b'{"sequence":7}') as (bridge, upstream):
        assert await bridge.store_event(BOB, {"n": 1}, TOKEN) == 7
        (sent,) = upstream.received
    assert (sent.method, sent.target) == (b"POST", b"/event/store")
    assert sent.head.all(b"authorization") == [b"Bearer very-secret-token"]
    assert orjson.loads(sent.body) == {"event_type": "custom", "agent_id": "bob", "data": {"n": 1}}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"sequence":"7"}', b'{"sequence":-1}', b"null"])
async def test_a_reply_without_a_sequence_is_a_bad_one(body: bytes) -> None:
    async with _line(body) as (bridge, _):
        with pytest.raises(BadBridgeReply, match="sequence"):
            await bridge.store_event(BOB, {}, TOKEN)


async def test_a_refusal_comes_back_in_the_bridges_words() -> None:
    async with _line(b'{"detail":"no"}', status="500 Internal Server Error") as (bridge, _):
        with pytest.raises(BridgeRefused) as caught:
            await bridge.store_event(BOB, {}, TOKEN)
    assert caught.value.body == b'{"detail":"no"}'
