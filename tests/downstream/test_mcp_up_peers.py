"""Clients of older revisions before servers that speak only the newest: through the up bridge they are served."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest
from yarl import URL

from proxy.mcp.revisions import Era
from proxy.upstream.mcp_client import HttpMcpUpstream
from proxy.wiring.clock import LoopClock
from tests.support.house import until
from tests.support.peer_process import START_S
from tests.support.peers import Room, Server, call, command, peer_room
from tests.support.up_stand import UpStand, rpc, tool, up_stand

pytestmark = [pytest.mark.e2e]

CLIENTS = [
    ("mcp-1.22", None, "2025-06-18"),
    ("mcp-1.30", None, "2025-11-25"),
    ("mcp-2.3", "legacy", "2025-11-25"),
    ("fastmcp-3", None, "2025-11-25"),
    ("ts-1", None, "2025-11-25"),
    ("ts-2", "legacy", "2025-11-25"),
]
SERVERS = ["mcp", "ts"]


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    """Where the peers run."""
    with peer_room() as opened:
        yield opened


@pytest.fixture(scope="module")
def servers(room: Room) -> Mapping[str, Server]:
    """Servers that refuse every handshake."""
    process = room.start([*command("mcp-2.3", "server_modern.py"), "--port", "0", "--leash"])
    python = Server(process, str(process.hear(START_S, kind="ready")["url"]))
    return {"mcp": python, "ts": room.server("ts-2", "--strict")}


@asynccontextmanager
async def _bridge(url: str) -> AsyncIterator[UpStand]:
    clock = LoopClock()
    async with asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:

        def spawn(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
            return group.create_task(work, name=name)

        upstream = HttpMcpUpstream(session, URL(url), clock=clock, spawn=spawn, request_timeout_s=10)
        assert await upstream.speaks(Era.ENVELOPE, {})
        assert not await upstream.speaks(Era.HANDSHAKE, {})
        async with up_stand(upstream=upstream, time=clock) as made:
            yield made
            assert not made.recorder.defects
        await upstream.close()


@pytest.mark.requirement("eras.up.clients")
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client[0])
async def test_every_older_client_calls_and_is_asked(
    room: Room, servers: Mapping[str, Server], client: tuple[str, str | None, str], server: str
) -> None:
    name, mode, revision = client
    async with _bridge(servers[server].url) as made:
        steps = [
            {"do": "list"},
            call("echo", {"text": "hallo"}),
            call("ask"),
            call("ask_twice"),
            {"do": "answer", "answer": "decline"},
            call("ask"),
            {"do": "answer", "answer": "cancel"},
            call("ask"),
        ]
        run = room.client(name, url=made.url, answer="accept", calls=steps, **({"mode": mode} if mode else {}))
        lines = await asyncio.to_thread(run.outcome)
    (connected,) = [line for line in lines if line["kind"] == "connected"]
    assert connected["revision"] == revision, lines
    assert "lighthouse-bridge" in str(connected["server"])
    (listed,) = [line["tools"] for line in lines if line["kind"] == "tools"]
    assert "ask_twice" in str(listed)
    said = [line["text"] for line in lines if line["kind"] == "result"]
    assert said == [["hallo"], ["accept:zed-name"], ["accept,accept"], ["decline:"], ["cancel:"]], lines
    assert [line["message"] for line in lines if line["kind"] == "asked"][:3] == ["Your name?", "First?", "Second?"]
    assert lines[-1]["kind"] == "closed"


@pytest.mark.requirement("eras.up.clients")
@pytest.mark.parametrize("client", [CLIENTS[1], CLIENTS[2], CLIENTS[4]], ids=lambda client: client[0])
async def test_progress_comes_while_the_call_runs_and_a_cancelled_call_ends_at_the_server(
    room: Room, servers: Mapping[str, Server], client: tuple[str, str | None, str]
) -> None:
    name, mode, _ = client
    server = servers["mcp"]
    async with _bridge(server.url) as made:
        run = room.client(name, url=made.url, interactive=True, **({"mode": mode} if mode else {}))
        run.call("slow", {"seconds": 0.4, "steps": 2}, tag="quick", progress=True)
        await run.heard(kind="result", tag="quick")
        assert len(run.said(kind="heard", method="notifications/progress")) == 2
        if name == "mcp-1.30":  # it tells nobody that it has given up
            run.end()
        else:
            run.call("slow", {"seconds": 60, "steps": 600}, tag="long", progress=True)
            await run.heard(kind="heard", count=4, method="notifications/progress")
            cancelled = len(server.process.said(kind="cancelled"))
            run.tell(do="cancel", of="long")
            await asyncio.to_thread(server.process.hear, kind="cancelled", count=cancelled + 1)
            run.end()
        await asyncio.to_thread(run.outcome)


@pytest.mark.requirement("eras.up.clients")
async def test_a_link_is_shown_to_a_client_that_can_open_links(room: Room, servers: Mapping[str, Server]) -> None:
    async with _bridge(servers["mcp"].url) as made:
        steps = [call("ask_url", {"message": "Open", "url": "https://a.example/x"})]
        run = room.client("ts-1", url=made.url, answer="accept", calls=steps)
        lines = await asyncio.to_thread(run.outcome)
    (asked,) = [line for line in lines if line["kind"] == "asked"]
    assert (asked["mode"], asked["url"]) == ("url", "https://a.example/x")
    assert [line["text"] for line in lines if line["kind"] == "result"] == [["accept:"]]


@pytest.mark.requirement("eras.up.incapable")
async def test_the_call_of_a_client_that_cannot_be_asked_ends(room: Room, servers: Mapping[str, Server]) -> None:
    async with _bridge(servers["mcp"].url) as made:
        run = room.client("mcp-1.30", url=made.url, calls=[call("ask"), call("echo", {"text": "on"})])
        lines = await asyncio.to_thread(run.outcome)
    assert [line["text"] for line in lines if line["kind"] == "result"] == [["cancel:"], ["on"]], lines


@pytest.mark.requirement("eras.up.leave")
async def test_a_client_that_leaves_in_the_middle_of_a_question_leaves_nothing_behind(
    room: Room, servers: Mapping[str, Server]
) -> None:
    async with _bridge(servers["mcp"].url) as made:
        run = room.client("mcp-1.30", url=made.url, answer="never", interactive=True)
        run.call("ask", tag="left")
        await run.heard(kind="asked")
        run.drop()
        await asyncio.to_thread(run.outcome)
        await until(lambda: not len(made.flow.sessions) or len(made.flow._parked) == 1)
        made.errands.close()
        await until(lambda: not made.flow._parked and len(made.flow.questions.correlation) == 0)


@pytest.mark.requirement("eras.up.clients")
async def test_resources_prompts_and_log_lines_cross(servers: Mapping[str, Server]) -> None:
    async with _bridge(servers["mcp"].url) as made:
        session = await made.open()
        _, read = await made.say(rpc("resources/read", {"uri": "lighthouse://north"}, 1), session)
        assert isinstance(read["result"], dict)
        assert read["result"].keys() <= {"contents", "_meta"}
        assert "north is lit" in str(read["result"])
        _, missing = await made.say(rpc("resources/read", {"uri": "other://x"}, 2), session)
        assert isinstance(missing["error"], dict)
        assert missing["error"]["code"] == -32002
        _, prompt = await made.say(rpc("prompts/get", {"name": "greet", "arguments": {"name": "bob"}}, 3), session)
        assert "Greet bob." in str(prompt["result"])
        async with made.send(tool("chatter"), session) as talk:
            heard = await talk.rest()
        assert [message.get("method") for message in heard] == ["notifications/message", None]
        await made.say(rpc("logging/setLevel", {"level": "debug"}, 4), session)
        async with made.send(tool("chatter"), session) as talk:
            assert len(await talk.rest()) == 3
        await until(lambda: all(outcome.status == 200 for outcome in made.recorder.outcomes))
