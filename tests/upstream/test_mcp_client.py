"""Which eras an MCP server speaks, and what it says of itself."""

import asyncio
import socket
from contextlib import suppress

import orjson
import pytest
from aiohttp import web
from yarl import URL

from proxy.core.errors import BridgeRefused, BridgeUnavailable
from proxy.mcp.calling import Outgoing
from proxy.mcp.revisions import Era, Mode
from proxy.ports import McpUpstream
from proxy.upstream.mcp_client import HttpMcpUpstream
from proxy.upstream.session import open_bridge_session
from tests.support.manual_clock import ManualClock
from tests.support.scripted_mcp import Got, never_asked, unheard, upstream_stand

pytestmark = pytest.mark.requirement("mcp.upstream.eras")

DISCOVERED = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {}}
CALL = Outgoing(method="tools/call", params=b'{"name":"echo"}', headers={"Authorization": "t"}, principal="p")


async def handshake_only(got: Got) -> web.StreamResponse | None:
    """Without `server/discover`, as all servers of the handshake era."""
    return None if got.headers.get("MCP-Protocol-Version") != "2026-07-28" else web.Response(status=400)


async def envelope_only(got: Got) -> web.StreamResponse | None:
    """Without `initialize`."""
    if got.method == "server/discover":
        return got.result(DISCOVERED)
    return got.error(-32601, 404)


async def test_the_era_of_a_server_is_found_by_asking_it_once() -> None:
    async with upstream_stand(handshake_only) as stand:
        upstream: McpUpstream = stand.upstream
        for _ in range(2):
            assert await upstream.speaks(Era.HANDSHAKE, {"Authorization": "t"})
            assert not await upstream.speaks(Era.ENVELOPE, {})
        await stand.server.until(1, None, "DELETE")
    methods = [got.method or got.verb for got in stand.server.got]
    assert sorted(map(str, methods)) == ["DELETE", "initialize", "notifications/initialized", "server/discover"]
    assert stand.server.all("initialize")[0].headers["Authorization"] == "t"


async def test_a_probe_leaves_nothing_to_end_at_a_server_without_sessions() -> None:
    async with upstream_stand(handshake_only) as stand:
        stand.server.has_sessions = False
        assert await stand.upstream.speaks(Era.HANDSHAKE, {})
    assert stand.server.all(None, "DELETE") == []


async def test_a_server_without_handshake_is_found_so() -> None:
    async with upstream_stand(envelope_only) as stand:
        assert await stand.upstream.speaks(Era.ENVELOPE, {})
        assert not await stand.upstream.speaks(Era.HANDSHAKE, {})
    (asked,) = stand.server.all("server/discover")
    assert asked.headers["Mcp-Method"] == "server/discover"
    assert "Mcp-Session-Id" not in asked.headers


async def test_questions_about_one_era_that_come_at_once_are_one() -> None:
    async with upstream_stand(envelope_only) as stand, asyncio.TaskGroup() as group:
        answers = [group.create_task(stand.upstream.speaks(era, {})) for era in Era for _ in range(4)]
    assert [answer.result() for answer in answers] == [False] * 4 + [True] * 4
    assert len(stand.server.got) == 2


async def test_a_no_is_asked_again_sooner_than_a_yes() -> None:
    async with upstream_stand(envelope_only) as stand:
        for wait_s in (0, 31, 270):
            await stand.clock.advance(wait_s)
            await stand.upstream.speaks(Era.ENVELOPE, {})
            await stand.upstream.speaks(Era.HANDSHAKE, {})
    assert len(stand.server.all("initialize")) == 3
    assert len(stand.server.all("server/discover")) == 2


@pytest.mark.parametrize("era", Era)
@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_refusal_that_says_nothing_of_eras_is_told_and_not_remembered(era: Era, status: int) -> None:
    async def refuse(got: Got) -> web.StreamResponse | None:
        if len(stand.server.got) > 1:
            return got.result(DISCOVERED) if got.method == "server/discover" else None
        return got.error(-32600, status)

    async with upstream_stand(refuse) as stand:
        with pytest.raises(BridgeRefused):
            await stand.upstream.speaks(era, {})
        assert await stand.upstream.speaks(era, {})


@pytest.mark.parametrize("era", Era)
@pytest.mark.parametrize(
    "reply",
    [
        lambda _: web.Response(status=400),
        lambda _: web.Response(status=405),
        lambda _: web.Response(status=202),
        lambda _: web.Response(text="<html>"),
        lambda got: got.error(-32000),
        lambda got: got.error(-32602, 400),
        lambda got: got.result({"protocolVersion": "2099-01-01", "supportedVersions": ["2099-01-01"]}),
    ],
)
async def test_any_other_reply_means_no(era: Era, reply: object) -> None:
    async def answer(got: Got) -> web.StreamResponse:
        assert callable(reply)
        found = reply(got)
        assert isinstance(found, web.StreamResponse)
        return found

    async with upstream_stand(answer) as stand:
        assert not await stand.upstream.speaks(era, {})


async def test_a_server_that_cannot_be_reached_is_asked_again() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = URL(f"http://127.0.0.1:{unused.getsockname()[1]}/mcp")
        async with (
            asyncio.timeout(10),
            open_bridge_session(connect_timeout_s=1) as session,
            asyncio.TaskGroup() as group,
        ):
            upstream = HttpMcpUpstream(
                session, url, clock=ManualClock(), spawn=lambda work, _: group.create_task(work), request_timeout_s=1
            )
            for _ in range(2):
                with pytest.raises(BridgeUnavailable):
                    await upstream.speaks(Era.HANDSHAKE, {})
            with pytest.raises(BridgeUnavailable):
                await upstream.request(Era.HANDSHAKE, CALL, on_ask=never_asked, on_note=unheard)


@pytest.mark.parametrize("era", Era)
async def test_a_request_that_fails_makes_the_era_a_question_again(era: Era) -> None:
    replies = [web.Response(status=502), web.Response(status=401)]

    async def fail(got: Got) -> web.StreamResponse | None:
        if got.method == "tools/call":
            return replies.pop(0) if replies else got.error(-32022, 400)
        return got.result(DISCOVERED) if got.method == "server/discover" else None

    async with upstream_stand(fail) as stand:
        probes: list[int] = []
        for _ in range(3):
            assert await stand.upstream.speaks(era, {"Probe": "yes"})
            probes.append(sum("Probe" in got.headers and got.body.get("id") is not None for got in stand.server.got))
            with suppress(BridgeRefused):
                await stand.upstream.request(era, CALL, on_ask=never_asked, on_note=unheard)
        await stand.upstream.speaks(era, {"Probe": "yes"})
        probes.append(sum("Probe" in got.headers and got.body.get("id") is not None for got in stand.server.got))
    assert probes == [1, 2, 2, 3]


# What the server says of itself.


async def test_a_server_of_the_handshake_era_is_described_by_the_session_that_serves_the_requests() -> None:
    async with upstream_stand(handshake_only) as stand:
        call = Outgoing(method="", principal="p", modes=frozenset({Mode.FORM}), client_name="tester")
        described = orjson.loads(await stand.upstream.describe(Era.HANDSHAKE, call))
        again = await stand.upstream.describe(Era.HANDSHAKE, call)
    assert described["protocolVersion"] == "2025-11-25"
    assert orjson.loads(again) == described
    (opened,) = stand.server.all("initialize")
    assert opened.params["capabilities"] == {"elicitation": {"form": {}}}


async def test_a_server_of_the_envelope_era_is_described_by_what_it_discovers() -> None:
    async with upstream_stand(envelope_only) as stand:
        described = await stand.upstream.describe(Era.ENVELOPE, CALL)
    assert orjson.loads(described) == DISCOVERED
    assert stand.server.all("server/discover")[0].headers["Authorization"] == "t"


@pytest.mark.parametrize("era", Era)
async def test_a_server_that_does_not_speak_an_era_refuses_to_be_described_in_it(era: Era) -> None:
    other = envelope_only if era is Era.HANDSHAKE else handshake_only
    async with upstream_stand(other) as stand:
        with pytest.raises(BridgeRefused):
            await stand.upstream.describe(era, CALL)


async def test_an_error_instead_of_a_description_is_told_with_the_words_of_the_server() -> None:
    async def refuse(got: Got) -> web.StreamResponse | None:
        return got.error(-32021, 400)

    async with upstream_stand(refuse) as stand:
        with pytest.raises(BridgeRefused) as raised:
            await stand.upstream.describe(Era.ENVELOPE, CALL)
    assert (raised.value.bridge_status, b"-32021" in raised.value.body) == (400, True)


@pytest.mark.parametrize("status", [400, 413, 431])
async def test_what_one_caller_sends_along_does_not_count_for_the_others(status: int) -> None:
    async def refuses_a_header(got: Got) -> web.StreamResponse | None:
        if "Odd" in got.headers:
            return web.Response(status=status, text="Bad Request")
        return await handshake_only(got)

    async with upstream_stand(refuses_a_header) as stand:
        for headers in ({"Odd": "x" * 100, "Authorization": "t"}, {}):
            assert await stand.upstream.speaks(Era.HANDSHAKE, headers)
            assert not await stand.upstream.speaks(Era.ENVELOPE, headers)
    assert [got.headers.get("Authorization") for got in stand.server.all("initialize")] == ["t", "t"]


async def test_a_refusal_that_stands_without_what_a_caller_sends_along_is_one_of_the_era() -> None:
    async def refuses_all(got: Got) -> web.StreamResponse | None:
        return web.Response(status=400 if "Odd" in got.headers else 401)

    async with upstream_stand(refuses_all) as stand:
        assert not await stand.upstream.speaks(Era.HANDSHAKE, {"Odd": "x"})
    assert len(stand.server.all("initialize")) == 2
