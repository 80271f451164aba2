"""Our requests to servers as the SDKs make them, in every era that each of them speaks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import orjson
import pytest
from yarl import URL

from proxy.core.elicitation import AnswerKind
from proxy.mcp.ask import Answered, CannotBeAsked, FormQuestion, UrlQuestion
from proxy.mcp.calling import OnAsk, Outgoing, ServerAsk
from proxy.mcp.revisions import Era, Mode
from proxy.upstream.mcp_client import HttpMcpUpstream
from proxy.upstream.session import open_bridge_session
from proxy.wiring.clock import LoopClock
from tests.support.peers import Room, peer_room
from tests.support.scripted_mcp import Answering, never_asked, replying, unheard

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("mcp.upstream.peers")]

NEW, OLD = Era.ENVELOPE, Era.HANDSHAKE
PEERS = [
    ("mcp-1.22", OLD),
    ("mcp-1.30", OLD),
    ("mcp-2.3", OLD),
    ("mcp-2.3", NEW),
    ("fastmcp-3", OLD),
    ("fastmcp-4", OLD),
    ("fastmcp-4", NEW),
]
"""Each server in each era that it speaks."""
ALL = pytest.mark.parametrize(("peer", "era"), PEERS)
ALL_WITH_PROGRESS = pytest.mark.parametrize(("peer", "era"), PEERS[1:])
"""mcp 1.22 puts progress on the stream that belongs to no request, which nobody here opens."""
BOTH_ERAS = pytest.mark.parametrize("era", [OLD, NEW])


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    with peer_room() as opened:
        yield opened


@asynccontextmanager
async def client_of(room: Room, peer: str) -> AsyncIterator[HttpMcpUpstream]:
    server = await asyncio.to_thread(room.server, peer)
    async with (
        asyncio.timeout(60),
        open_bridge_session(connect_timeout_s=2) as session,
        asyncio.TaskGroup() as group,
    ):
        upstream = HttpMcpUpstream(
            session,
            URL(server.url),
            clock=LoopClock(),
            spawn=lambda work, name: group.create_task(work, name=name),
            request_timeout_s=10,
        )
        yield upstream
        await upstream.close()


def call(tool: str, *, progress: bool = False, **arguments: object) -> Outgoing:
    meta = {"_meta": {"progressToken": 1}} if progress else {}
    params = orjson.dumps({"name": tool, "arguments": arguments, **meta})
    return Outgoing(method="tools/call", params=params, principal="p", modes=frozenset(Mode), client_name="tester")


async def said(upstream: HttpMcpUpstream, era: Era, outgoing: Outgoing, on_ask: OnAsk = never_asked) -> str:
    response = await upstream.request(era, outgoing, on_ask=on_ask, on_note=unheard)
    assert response.result is not None, response.raw
    return str(orjson.loads(response.result)["content"][0]["text"])


@pytest.mark.parametrize("peer", dict(PEERS))
async def test_the_eras_that_a_server_speaks_are_found(room: Room, peer: str) -> None:
    async with client_of(room, peer) as upstream:
        assert {era for era in Era if await upstream.speaks(era, {})} == {era for name, era in PEERS if name == peer}


@ALL
async def test_a_tool_is_called_and_a_server_described(room: Room, peer: str, era: Era) -> None:
    async with client_of(room, peer) as upstream:
        assert await said(upstream, era, call("echo", text="hé")) == "hé"
        assert "tools" in orjson.loads(await upstream.describe(era, call("echo")))["capabilities"]


@ALL
@pytest.mark.parametrize("kind", AnswerKind)
async def test_a_question_is_answered_in_every_way(room: Room, peer: str, era: Era, kind: AnswerKind) -> None:
    asked: list[ServerAsk] = []
    is_accept = kind is AnswerKind.ACCEPT
    reply = Answered(kind, {"name": "zed"} if is_accept else None)
    async with client_of(room, peer) as upstream:
        told = await said(upstream, era, call("ask", question="Who?"), replying(reply, asked))
    assert told == f"{kind.value}:{'zed' if is_accept else ''}"
    (ask,) = asked
    assert isinstance(ask.question, FormQuestion)
    assert (ask.question.message, list(ask.question.schema["properties"])) == ("Who?", ["name"])  # type: ignore[call-overload] # an object


@ALL
async def test_a_question_that_cannot_be_asked_does_not_hang(room: Room, peer: str, era: Era) -> None:
    async with client_of(room, peer) as upstream:
        on_ask = replying(CannotBeAsked(-32602, "no way"))
        response = await upstream.request(era, call("ask"), on_ask=on_ask, on_note=unheard)
    assert (b"cancel" if era is NEW else b"no way") in response.raw


@BOTH_ERAS
async def test_questions_may_follow_one_another(room: Room, era: Era) -> None:
    asked: list[ServerAsk] = []
    async with client_of(room, "mcp-2.3") as upstream:
        reply = Answered(AnswerKind.ACCEPT, {"name": "x"})
        assert await said(upstream, era, call("ask_twice"), replying(reply, asked)) == "accept,accept"
    assert [ask.question.message for ask in asked] == ["First?", "Second?"]


@BOTH_ERAS
async def test_a_link_is_a_question_too(room: Room, era: Era) -> None:
    asked: list[ServerAsk] = []
    async with client_of(room, "mcp-2.3") as upstream:
        outgoing = call("ask_url", message="Go", url="https://a.example/x")
        assert await said(upstream, era, outgoing, replying(Answered(AnswerKind.ACCEPT), asked)) == "accept:"
    question = asked[0].question
    assert isinstance(question, UrlQuestion)
    assert question.url == "https://a.example/x"
    assert (question.elicitation_id == "page-1") is (era is OLD)
    assert question.elicitation_id


@ALL_WITH_PROGRESS
async def test_progress_is_heard(room: Room, peer: str, era: Era) -> None:
    heard: list[float] = []

    async def note(raw: bytes) -> None:
        heard.append(orjson.loads(raw)["params"]["progress"])

    async with client_of(room, peer) as upstream:
        outgoing = call("slow", progress=True, seconds=0.05, steps=3)
        await upstream.request(era, outgoing, on_ask=never_asked, on_note=note)
    assert heard == [1, 2, 3]


@ALL_WITH_PROGRESS
async def test_a_request_that_is_given_up_ends_at_the_server(room: Room, peer: str, era: Era) -> None:
    begun = asyncio.Event()

    async def note(_: bytes) -> None:
        begun.set()

    async with client_of(room, peer) as upstream:
        process = room.server(peer).process
        before = len(process.said(kind="cancelled", tool="slow"))
        outgoing = call("slow", progress=True, seconds=20, steps=200)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(upstream.request(era, outgoing, on_ask=never_asked, on_note=note))
            await begun.wait()
            running.cancel()
        await asyncio.to_thread(process.hear, 10, count=before + 1, kind="cancelled", tool="slow")


@pytest.mark.parametrize("peer", ["mcp-1.30", "mcp-2.3"])
async def test_a_question_dies_with_the_request_that_asked_it(room: Room, peer: str) -> None:
    answering = Answering()
    async with client_of(room, peer) as upstream:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(upstream.request(OLD, call("ask"), on_ask=answering, on_note=unheard))
            await answering.until(1)
            running.cancel()
        assert await said(upstream, OLD, call("echo", text="still here")) == "still here"
    assert len(answering.cancelled) == 1
