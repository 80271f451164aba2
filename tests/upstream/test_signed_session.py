"""Calls that the sidecar makes by itself, as they come over the wire."""

import asyncio

import aiohttp
import orjson
import pytest
from yarl import URL

from proxy.core.ids import AgentId
from proxy.core.key_ring import KeyRing
from proxy.core.secret import Secret
from proxy.core.signing import Refusal, Verdict
from proxy.upstream.bridge_http import HttpBridge
from proxy.upstream.mcp_http import HttpMcpServer
from proxy.upstream.session import open_bridge_session
from proxy.upstream.signed_session import signing
from tests.support.corpus import sized
from tests.support.raw_upstream import Peer, RawUpstream, answers, raw_upstream
from tests.support.signing import judged, key_of, signer_of

pytestmark = pytest.mark.requirement("signatures.outgoing")
RING = KeyRing([key_of("alice"), key_of("bob")])
EMPTY = sized(b"200 OK", body=orjson.dumps({"events": [], "elicitations": [], "session_token": "s:bob:1:2"}))


def _agents(upstream: RawUpstream) -> list[str]:
    origin = f"http://127.0.0.1:{upstream.port}"
    verdicts = [judged(RING, origin, each.head, each.body) for each in upstream.received]
    return [verdict.agent_id if isinstance(verdict, Verdict) else verdict.value for verdict in verdicts]


@pytest.mark.parametrize(("configured", "agents"), [("", ["bob", "bob", "bob", "absent"]), ("alice", ["alice"] * 4)])
async def test_every_call_is_signed_for_its_agent(configured: str, agents: list[str]) -> None:
    async with raw_upstream() as upstream:
        upstream.play(answers(*[EMPTY] * 4))
        url = URL(f"http://127.0.0.1:{upstream.port}")
        async with (
            asyncio.timeout(5),
            open_bridge_session(connect_timeout_s=1, signer=signer_of(RING, configured)) as s,
        ):
            bridge = HttpBridge(s, url, request_timeout_s=5)
            await bridge.wait(AgentId("bob"), Secret("Bearer s:bob:1:2"), since=0, hold_s=1)
            await bridge.pending(AgentId("bob"), Secret("Bearer s:bob:1:2"))
            await bridge.open_session(AgentId("bob"))
            await HttpMcpServer(s, url / "mcp", request_timeout_s=5).is_alive({})
        assert _agents(upstream) == agents


async def test_without_a_signer_nothing_is_signed() -> None:
    async with raw_upstream() as upstream:
        upstream.play(answers(EMPTY))
        async with asyncio.timeout(5), open_bridge_session(connect_timeout_s=1) as session:
            bridge = HttpBridge(session, URL(f"http://127.0.0.1:{upstream.port}"), request_timeout_s=5)
            await bridge.pending(AgentId("bob"), Secret("Bearer s:bob:1:2"))
        assert _agents(upstream) == [Refusal.ABSENT.value]


async def test_a_call_that_the_library_sends_again_is_signed_anew() -> None:
    async def dies(peer: Peer) -> None:
        await peer.request()
        await peer.send(EMPTY)
        await peer.request()
        peer.abort()

    async with raw_upstream() as upstream:
        upstream.play(dies)
        url = URL(f"http://127.0.0.1:{upstream.port}/x")
        # Our own session lets the library repeat nothing; whoever takes the middleware elsewhere is safe all the same.
        async with asyncio.timeout(5), aiohttp.ClientSession(middlewares=(signing(signer_of(RING, "bob")),)) as session:
            async with session.get(url) as reply:
                await reply.read()
            upstream.play(answers(EMPTY))
            async with session.get(url) as reply:
                await reply.read()
        inputs = [each.head.all(b"signature-input")[0] for each in upstream.received]
        assert len(set(inputs)) == len(inputs) == 2


async def test_a_url_goes_over_the_wire_as_it_was_signed() -> None:
    async with raw_upstream() as upstream:
        upstream.play(answers(EMPTY))
        url = URL(f"http://127.0.0.1:{upstream.port}/a%2Fb/ü").with_query(x="a b&c=ü%")
        signer = signer_of(RING, "bob")
        async with (
            asyncio.timeout(5),
            open_bridge_session(connect_timeout_s=1, signer=signer) as session,
            session.post(url, json={"a": "ü"}, timeout=aiohttp.ClientTimeout(total=5)) as reply,
        ):
            await reply.read()
        assert _agents(upstream) == ["bob"]
