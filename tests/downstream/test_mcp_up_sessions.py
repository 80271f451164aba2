"""Older clients at the up bridge's door: how their sessions begin and end, and whose they are."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import make_mocked_request

from proxy.core.errors import BridgeRefused, BridgeUnavailable
from proxy.core.outcome import Result
from proxy.downstream.mcp_up import UpDoor
from proxy.flows.up_sessions import IDLE_S, UpSessions
from proxy.mcp.calling import OnAsk, OnNote, Outgoing
from proxy.mcp.jsonrpc import Response
from proxy.mcp.revisions import R2025_06_18, Mode
from tests.support.house import until
from tests.support.up_stand import Json, UpStand, done, rpc, tool, up_stand

FORM = frozenset({Mode.FORM})


@pytest.fixture(name="up")
async def _up() -> AsyncIterator[UpStand]:
    async with up_stand() as stand:
        yield stand


def _field(body: Json, *path: str) -> object:
    value: object = body
    for name in path:
        assert isinstance(value, dict)
        value = value[name]
    return value


@pytest.mark.requirement("eras.up.handshake")
async def test_a_handshake_is_answered_in_the_clients_own_revision(up: UpStand) -> None:
    params = {
        "protocolVersion": "2025-06-18",
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "old", "version": "1"},
    }
    async with up.send(rpc("initialize", params, 0), Authorization="Bearer a") as talk:
        body, session_id = await talk.reply.json(), talk.reply.headers["Mcp-Session-Id"]
    assert body["result"] == {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "s", "version": "1"},
    }
    (asked,) = up.server.described
    assert asked.headers["authorization"] == "Bearer a"
    assert (asked.client_name, asked.modes) == ("old", FORM)
    known = up.clients.get(session_id)
    assert known is not None
    assert (known.revision, known.modes, known.client_name) == (R2025_06_18, FORM, "old")
    assert (await up.say(rpc("notifications/initialized"), session_id, Authorization="Bearer a"))[0] == 202


async def test_a_client_of_an_unknown_revision_is_offered_the_latest_that_has_a_handshake(up: UpStand) -> None:
    for offered in ("2026-07-28", "2030-01-01"):
        _, body = await up.say(rpc("initialize", {"protocolVersion": offered, "capabilities": {}}, 0))
        assert _field(body, "result", "protocolVersion") == "2025-11-25"


async def test_a_mode_that_the_revision_does_not_have_is_not_declared(up: UpStand) -> None:
    session = await up.open({"form": {}, "url": {}}, revision="2025-06-18")
    await up.say(tool(), session)
    assert up.server.calls[0].modes == FORM


@pytest.mark.requirement("eras.up.refusals")
async def test_a_handshake_before_a_failing_server_is_answered_with_an_error(up: UpStand) -> None:
    up.server.discovered = BridgeUnavailable("down", retry_after_s=2.5)
    async with up.send(rpc("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}}, 0)) as talk:
        assert talk.reply.status == 200
        assert "Mcp-Session-Id" not in talk.reply.headers
        assert talk.reply.headers["Retry-After"] == "3"
        body = await talk.reply.json()
    assert (body["id"], body["error"]["data"]["code"]) == (0, "bridge_unavailable")
    assert up.recorder.outcomes[-1].result is Result.FAILED


@pytest.mark.requirement("eras.up.refusals")
async def test_a_server_that_wants_credentials_is_heard_by_its_own_status(up: UpStand) -> None:
    up.server.discovered = BridgeRefused("no", bridge_status=401, body=b'{"a":1}', content_type="application/json")
    assert await up.say(rpc("initialize", {"protocolVersion": "2025-06-18"}, 0)) == (401, {"a": 1})


async def test_a_handshake_that_cannot_be_read_is_refused(up: UpStand) -> None:
    status, body = await up.say(rpc("initialize", {"protocolVersion": 7}, 0))
    assert (status, _field(body, "error", "code"), body["id"]) == (200, -32602, 0)


@pytest.mark.requirement("eras.up.sessions")
async def test_a_session_ends_when_its_client_says_so(up: UpStand) -> None:
    session = await up.open()
    for wanted in (200, 404):
        async with up.http.delete(up.url, headers={"Mcp-Session-Id": session}) as reply:
            assert reply.status == wanted
    assert up.clients.get(session) is None
    assert (await up.say(tool(), session))[0] == 404


@pytest.mark.requirement("eras.up.sessions")
async def test_a_call_without_a_session_is_refused_as_the_transport_has_it(up: UpStand) -> None:
    status, body = await up.say(tool())
    assert (status, _field(body, "error", "code"), body["id"]) == (400, -32600, 7)
    status, body = await up.say(tool(), "unknown")
    assert (status, _field(body, "error", "code"), body["id"]) == (404, -32600, 7)
    async with up.http.delete(up.url) as reply:
        assert reply.status == 400
    assert {outcome.result for outcome in up.recorder.outcomes} == {Result.REFUSED}
    assert not up.server.calls


@pytest.mark.requirement("eras.up.sessions")
async def test_a_session_belongs_to_whoever_opened_it(up: UpStand) -> None:
    session = await up.open(Authorization="Bearer alice")
    assert (await up.say(tool(), session, Authorization="Bearer mallory"))[0] == 404
    assert (await up.say(tool(), session))[0] == 404
    assert (await up.say(tool(), session, Authorization="Bearer alice"))[0] == 200
    (call,) = up.server.calls
    assert call.headers["authorization"] == "Bearer alice"
    assert call.principal
    assert "alice" not in call.principal


@pytest.mark.requirement("eras.up.sessions")
async def test_a_session_that_is_idle_for_a_day_has_ended(up: UpStand) -> None:
    session, other = await up.open(), await up.open()
    await up.clock.advance(IDLE_S - 1)
    assert (await up.say(rpc("ping", None, 1), session))[0] == 200
    await up.clock.advance(1)
    assert (await up.say(rpc("ping", None, 2), other))[0] == 404
    assert up.clients.get(other) is None
    assert (await up.say(rpc("ping", None, 3), session))[0] == 200


async def test_a_session_with_a_call_under_way_is_not_idle(up: UpStand) -> None:
    async def forever(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    up.server.script = forever
    session = await up.open()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(up.say(tool(), session))
        await until(lambda: len(up.server.calls) == 1)
        up.flow.sessions._sessions[session].used_at -= IDLE_S
        assert (await up.say(rpc("ping", None, 1), await up.open()))[0] == 200
        assert (await up.say(rpc("ping", None, 1), session))[0] == 200
        await up.say(rpc("notifications/cancelled", {"requestId": 7}), session)
        assert (await task)[0] == 202


@pytest.mark.requirement("eras.up.sessions")
async def test_beyond_the_bound_the_session_idle_longest_ends(up: UpStand) -> None:
    up.flow.sessions = UpSessions(max_sessions=2)
    first, second, third = await up.open(), await up.open(), await up.open()
    assert [(await up.say(rpc("ping", None, 1), each))[0] for each in (first, second, third)] == [404, 200, 200]
    assert up.clients.get(first) is None
    assert len(up.flow.sessions) == 2


async def test_no_session_with_a_call_under_way_ends_for_another(up: UpStand) -> None:
    up.flow.sessions = UpSessions(max_sessions=1)
    release = asyncio.Event()

    async def held(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
        await release.wait()
        return done()

    up.server.script = held
    session = await up.open()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(up.say(tool(), session))
        await until(lambda: len(up.server.calls) == 1)
        status, body = await up.say(rpc("initialize", {"protocolVersion": "2025-06-18"}, 0))
        assert (status, _field(body, "error", "data", "code")) == (200, "too_many_waits")
        release.set()
        assert (await task)[0] == 200


async def test_a_session_of_ours_is_known_by_its_header(up: UpStand) -> None:
    door = UpDoor(up.flow)
    named = {"Mcp-Session-Id": await up.open(Authorization="Bearer a")}
    assert door.knows(make_mocked_request("POST", "/mcp", headers=named))
    assert not door.knows(make_mocked_request("POST", "/mcp", headers={"Mcp-Session-Id": "another"}))
    assert not door.knows(make_mocked_request("POST", "/mcp"))


async def test_a_session_that_was_forgotten_elsewhere_is_made_known_again(up: UpStand) -> None:
    session = await up.open({})
    up.clients.closed(session)
    await up.say(rpc("ping", None, 1), session)
    known = up.clients.get(session)
    assert known is not None
    assert known.modes == FORM
