"""One question put over HTTP in an agent's name: what goes over the wire, and what comes back of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest
from yarl import URL

from proxy.core.bus import Ask
from proxy.core.elicitation import Elicitation
from proxy.core.errors import BadBridgeReply, BridgeRefused
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.secret import Secret
from proxy.core.send_marks import marked
from proxy.upstream.bridge_http import HttpBridge
from proxy.upstream.session import open_bridge_session
from tests.support.raw_upstream import RawUpstream, answers, raw_upstream

ALICE, BOB = AgentId("alice"), AgentId("bob")
TOKEN = Secret("Bearer very-secret-token")
ASK = Ask(from_agent=ALICE, to_agent=BOB, message="Ship it?", schema=marked({"type": "object"}, 7), timeout_s=29.5)


@contextlib.asynccontextmanager
async def _line(body: bytes, *, status: str = "200 OK") -> AsyncIterator[tuple[HttpBridge, RawUpstream]]:
    async with raw_upstream() as upstream, open_bridge_session(connect_timeout_s=10) as session:
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status.encode(), len(body))
        upstream.play(answers(head + body))
        async with asyncio.timeout(15):
            yield HttpBridge(session, URL(f"http://127.0.0.1:{upstream.port}"), request_timeout_s=10), upstream


@pytest.mark.requirement("dual.question")
async def test_a_question_is_put_with_its_mark_and_known_without() -> None:
    async with _line(b'{"elicitation_id":"e1","status":"pending","expires_at":1030.0}') as (bridge, upstream):
        question = await bridge.create(ASK, TOKEN)
        (sent,) = upstream.received
    assert (sent.method, sent.target) == (b"POST", b"/elicitation/create")
    assert sent.head.all(b"authorization") == [b"Bearer very-secret-token"]
    assert orjson.loads(sent.body) == {
        "from_agent": "alice",
        "to_agent": "bob",
        "message": "Ship it?",
        "schema": {"type": "object", "x-elicit-sidecar": {"sequence": 7}},
        "timeout_seconds": 30,
    }
    assert question == Elicitation(
        elicitation_id=ElicitationId("e1"),
        from_agent="alice",
        to_agent=BOB,
        message="Ship it?",
        schema={"type": "object"},
        created_at=1000.0,
        expires_at=1030.0,
        made_from=7,
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"elicitation_id":"e1"}', b'{"expires_at":1.0}'])
async def test_a_reply_without_id_or_end_is_a_bad_one(body: bytes) -> None:
    async with _line(body) as (bridge, _):
        with pytest.raises(BadBridgeReply, match="elicitation_id"):
            await bridge.create(ASK, TOKEN)


async def test_a_refusal_comes_back_in_the_bridges_words() -> None:
    async with _line(b'{"detail":"Rate limit exceeded"}', status="500 Internal Server Error") as (bridge, _):
        with pytest.raises(BridgeRefused) as caught:
            await bridge.create(ASK, TOKEN)
    assert caught.value.body == b'{"detail":"Rate limit exceeded"}'
