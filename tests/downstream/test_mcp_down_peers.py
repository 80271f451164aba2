"""Clients of the newest revision, pinned to it or not, before older servers: through the down bridge they are asked."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest
from yarl import URL

from proxy.upstream.mcp_client import HttpMcpUpstream
from proxy.wiring.clock import LoopClock
from tests.support.down_stand import DownStand, Said, down_stand, rpc, tool
from tests.support.peers import Room, Run, call, peer_room
from tests.support.processes import children

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("eras.down.clients")]

JULY = "2026-07-28"
CLIENTS = [("mcp-2.3", JULY), ("mcp-2.3", "auto"), ("fastmcp-4", "auto"), ("ts-2", JULY), ("ts-2", "auto")]
SERVERS = ["mcp-1.22", "mcp-1.30", "fastmcp-3"]


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    """Where the peers run."""
    with peer_room() as opened:
        yield opened


@pytest.fixture(scope="module")
def bridge() -> Iterator[str]:
    """The development Bridge; it looks ten times a second, so that no test waits for it."""
    with children() as started:
        child = started.run("bridge", "--listen", "127.0.0.1:0", "--poll-seconds", "0.1", "--set", "rate_limits=off")
        yield str(child.hear(event="ready")["url"])


async def _ask(made: DownStand, bridge: str, agent: str) -> None:
    """Another agent asks this one at the Bridge."""
    session = {"agent_id": "asker", "ip_address": "127.0.0.1", "user_agent": "test"}
    async with made.http.post(f"{bridge}/session/create", json=session) as reply:
        token = (await reply.json())["session_token"]
    schema = {"type": "object", "properties": {"build": {"type": "string"}}, "required": ["build"]}
    body = {"from_agent": "asker", "to_agent": agent, "message": "Which build?", "schema": schema}
    headers = {"Authorization": f"Bearer {token}"}
    async with made.http.post(f"{bridge}/elicitation/create", json=body, headers=headers) as reply:
        assert reply.status == 200, await reply.text()


@asynccontextmanager
async def _sidecar(room: Room, server: str, *words: str, park_s: float = 60) -> AsyncIterator[DownStand]:
    clock, url = LoopClock(), URL(room.server(server, *words).url)
    async with asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:

        def spawn(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
            return group.create_task(work, name=name)

        upstream = HttpMcpUpstream(session, url, clock=clock, spawn=spawn, request_timeout_s=10)
        async with down_stand(upstream=upstream, clock=clock, park_s=park_s, max_parked=10) as made:
            yield made
        await upstream.close()


def _begin(room: Room, made: DownStand, client: str, mode: str, **plan: object) -> Run:
    return room.client(client, url=made.url, mode=mode, **plan)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(("client", "mode"), CLIENTS)
async def test_every_client_speaks_the_newest_revision_and_is_asked(
    *, room: Room, client: str, mode: str, server: str
) -> None:
    async with _sidecar(room, server) as made:
        steps = [call("echo", {"text": "hallo"}), {"do": "list"}, call("ask")]
        run = _begin(room, made, client, mode, answer="accept", calls=steps)
        lines = await asyncio.to_thread(run.outcome)
        kinds = {line["kind"]: line for line in lines}
        assert kinds["connected"]["revision"] == JULY, lines
        assert kinds["asked"]["message"] == "Your name?"
        assert [line["text"] for line in lines if line["kind"] == "result"] == [["hallo"], ["accept:zed-name"]]
        (listed,) = [line["tools"] for line in lines if line["kind"] == "tools"]
        assert "ask" in str(listed)
        assert kinds["closed"]
        assert not made.recorder.defects


@pytest.mark.parametrize("action", ["decline", "cancel"])
@pytest.mark.parametrize("client", ["mcp-2.3", "fastmcp-4", "ts-2"])
async def test_the_server_hears_what_the_client_decided(room: Room, client: str, action: str) -> None:
    async with _sidecar(room, "mcp-1.30") as made:
        run = _begin(room, made, client, JULY, answer=action, calls=[call("ask")])
        assert (await run.heard(kind="result"))["text"] == [f"{action}:"]
        await asyncio.to_thread(run.outcome)


@pytest.mark.parametrize("client", ["mcp-2.3", "fastmcp-4", "ts-2"])
async def test_a_client_that_cannot_be_asked_is_not_asked(room: Room, client: str) -> None:
    async with _sidecar(room, "mcp-1.30") as made:
        run = _begin(room, made, client, JULY, answer=None, calls=[call("ask")])
        lines = await asyncio.to_thread(run.outcome)
        (result,) = [line for line in lines if line["kind"] == "result"]
        assert result["is_error"] is True
        assert not [line for line in lines if line["kind"] == "asked"]


@pytest.mark.parametrize("client", ["mcp-2.3", "ts-2"])
async def test_a_link_of_the_server_reaches_the_client(room: Room, client: str) -> None:
    async with _sidecar(room, "mcp-1.30") as made:
        link = {"message": "Open it.", "url": "https://example.org/a"}
        run = _begin(room, made, client, JULY, answer="accept", calls=[call("ask_url", link)])
        lines = await asyncio.to_thread(run.outcome)
        kinds = {line["kind"]: line for line in lines}
        assert (kinds["asked"]["mode"], kinds["asked"]["url"]) == ("url", "https://example.org/a")
        assert kinds["result"]["text"] == ["accept:"]


@pytest.mark.parametrize("client", ["mcp-2.3", "fastmcp-4", "ts-2"])
async def test_progress_of_the_server_reaches_the_client(room: Room, client: str) -> None:
    async with _sidecar(room, "mcp-1.30") as made:
        step = call("slow", {"seconds": 0.2, "steps": 2}, progress=True)
        run = _begin(room, made, client, JULY, calls=[step])
        lines = await asyncio.to_thread(run.outcome)
        assert [line["text"] for line in lines if line["kind"] == "result"] == [["took 0.2 s"]]
        heard = [line["params"] for line in lines if line["kind"] == "heard"]
        assert "'progress': 2" in str(heard), lines


@pytest.mark.parametrize("client", ["mcp-2.3", "fastmcp-4", "ts-2"])
async def test_a_call_that_its_client_gives_up_is_cancelled_at_the_server(room: Room, client: str) -> None:
    async with _sidecar(room, "mcp-1.30") as made:
        server = room.server("mcp-1.30").process
        before = len(server.said(kind="cancelled"))
        run = _begin(room, made, client, JULY, interactive=True)
        await run.heard(kind="connected")
        run.call("slow", {"seconds": 60, "steps": 600}, tag="s", progress=True)
        await run.heard(kind="heard")
        run.tell(do="cancel", of="s")
        await asyncio.to_thread(server.hear, kind="cancelled", count=before + 1)
        run.end()
        await asyncio.to_thread(run.outcome)


@pytest.mark.parametrize("client", ["mcp-2.3", "fastmcp-4", "ts-2"])
async def test_a_person_may_take_longer_than_the_client_waits_for_a_reply(room: Room, client: str) -> None:
    async with _sidecar(room, "mcp-1.30") as made:
        run = _begin(room, made, client, JULY, answer="accept", answer_after_s=1.5, timeout_s=1, calls=[call("ask")])
        assert (await run.heard(kind="result"))["text"] == ["accept:zed-name"]
        await asyncio.to_thread(run.outcome)


@pytest.mark.parametrize("client", ["mcp-2.3", "fastmcp-4", "ts-2"])
async def test_an_answer_that_comes_too_late_is_refused_and_the_server_goes_on(room: Room, client: str) -> None:
    async with _sidecar(room, "mcp-1.30", park_s=1) as made:
        run = _begin(room, made, client, JULY, answer="accept", answer_after_s=3, calls=[call("ask")])
        line = await run.heard(kind="error")
        assert (line["code"], line["data"]) == (-32602, {"reason": "invalid_request_state"})
        assert len(made.parked) == 0
        await asyncio.to_thread(run.outcome)


@pytest.mark.parametrize("client", ["mcp-2.3", "ts-2"])
async def test_clients_of_one_server_do_not_disturb_each_other(room: Room, client: str) -> None:
    async with _sidecar(room, "mcp-1.30") as made:
        plans = [{"answer": "accept", "content": {"name": f"n{number}"}} for number in range(4)]
        runs = [_begin(room, made, client, JULY, calls=[call("ask"), call("ask")], **plan) for plan in plans]
        for number, run in enumerate(runs):
            lines = await asyncio.to_thread(run.outcome)
            assert [line["text"] for line in lines if line["kind"] == "result"] == [[f"accept:n{number}"]] * 2


def _retry(asked: Said, answer: Mapping[str, object], **params: object) -> dict[str, object]:
    answers = dict.fromkeys(asked.part("inputRequests"), answer)
    return tool({"form": {}}, name="ask", inputResponses=answers, requestState=asked.result["requestState"], **params)


@pytest.mark.parametrize("server", ["mcp-1.22", "mcp-1.30", "fastmcp-3"])
async def test_the_same_retry_again_gets_the_same_result_and_another_none(room: Room, server: str) -> None:
    ann, eve = ({"action": "accept", "content": {"name": name}} for name in ("ann", "eve"))
    async with _sidecar(room, server) as made:
        asked = await made.say(tool({"form": {}}, name="ask"))
        assert asked.result["resultType"] == "input_required"
        first = await made.say(_retry(asked, ann))
        assert first.text == "accept:ann"
        assert (await made.say(_retry(asked, ann))).body == first.body
        assert (await made.say(_retry(asked, eve))).status == 400


async def test_prompts_and_resources_of_the_server_are_read_as_the_newest_revision_has_them(room: Room) -> None:
    async with _sidecar(room, "conformance") as made:
        discovered = await made.say(rpc("server/discover"))
        assert discovered.part("capabilities").keys() >= {"tools", "prompts", "resources"}
        for method, key in [
            ("prompts/list", "prompts"),
            ("resources/list", "resources"),
            ("resources/templates/list", "resourceTemplates"),
            ("tools/list", "tools"),
        ]:
            listed = await made.say(rpc(method))
            assert (listed.result["resultType"], listed.result["ttlMs"]) == ("complete", 0)
            assert listed.result[key]
        prompt = await made.say(rpc("prompts/get", {"name": "test_simple_prompt"}))
        assert "simple prompt" in str(prompt.result["messages"])
        read = await made.say(rpc("resources/read", {"uri": "test://static-text"}))
        assert "static text resource" in str(read.result["contents"])
        missing = await made.say(rpc("resources/read", {"uri": "test://nowhere"}))
        assert (missing.status, missing.error["code"]) == (400, -32602)


@pytest.mark.parametrize("client", ["mcp-2.3", "fastmcp-4", "ts-2"])
@pytest.mark.parametrize("server", ["mcp-1.30", "ts-1"])
async def test_a_wait_that_asks_several_times_takes_several_rounds(
    *, room: Room, bridge: str, client: str, server: str
) -> None:
    async with _sidecar(room, server, "--bridge", bridge, "--asks") as made:
        agent = f"rounds-{client}-{server}".replace(".", "_")
        given = {"agent_id": agent, "timeout_seconds": 3, "since_sequence": 1_000_000}
        plan = {"answer": "accept", "content": {"build": "b42"}, "calls": [call("lighthouse_wait_for_messages", given)]}
        run = _begin(room, made, client, JULY, **plan)
        for count in (1, 2):
            await _ask(made, bridge, agent)
            await run.heard(kind="asked", count=count)
        text = str((await run.heard(kind="result"))["text"])
        assert text.count("accept") >= 2, text
        await asyncio.to_thread(run.outcome)
