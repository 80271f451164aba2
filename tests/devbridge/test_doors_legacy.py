"""The legacy endpoints over HTTP, above all the long poll."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy.devbridge.settings import Settings, Switches
from tests.support.manual_bridge import Json, ManualBridge

Start = Callable[[Settings], Awaitable[ManualBridge]]
WAIT = "/event/wait?agent_id=alice"


def sequences(answer: Json) -> list[int]:
    events = answer["events"]
    assert isinstance(events, list)
    assert answer["count"] == len(events)
    return [event["sequence"] for event in events]


async def store(bridge: ManualBridge, token: str, count: int = 1) -> None:
    for number in range(count):
        status, _ = await bridge.call("POST", "/event/store", token=token, body={"data": {"n": number}})
        assert status == 200


async def waited(bridge: ManualBridge, token: str, path: str, *seconds: float) -> Json:
    """The answer of a wait that is parked while the clock moves on, step by step."""
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(bridge.call("GET", path, token=token))
        for step in seconds:
            await bridge.pace.until_sleeping()
            bridge.pace.advance(step)
        status, answer = await task
    assert status == 200
    return answer


async def test_health_and_status_ask_for_no_token(bridge: ManualBridge) -> None:
    assert await bridge.call("GET", "/health") == (
        200,
        {"status": "healthy", "service": "lighthouse-bridge"},
    )
    status, answer = await bridge.call("GET", "/status")
    assert (status, answer["status"], answer["uptime_seconds"]) == (200, "operational", 0.0)


async def test_a_session_is_opened_and_validated(bridge: ManualBridge) -> None:
    body = {"agent_id": "alice", "ip_address": "127.0.0.1", "user_agent": "curl"}
    status, answer = await bridge.call("POST", "/session/create", body=body)
    assert (status, answer["agent_id"]) == (200, "alice")
    assert answer["expires_at"] == str(bridge.pace.wall_s() + 3600)
    token = str(answer["session_token"])
    assert token.split(":")[:2] == [answer["session_id"], "alice"]
    for said, valid in [({"agent_id": "alice"}, True), ({"agent_id": "bob"}, False)]:
        question = {"session_token": token, **said}
        assert await bridge.call("POST", "/session/validate", body=question) == (200, {"valid": valid})
    elsewhere = {"session_token": token, "agent_id": "alice", "ip_address": "10.0.0.1"}
    assert await bridge.call("POST", "/session/validate", body=elsewhere) == (200, {"valid": False})


async def test_a_session_without_its_fields_names_all_that_miss(bridge: ManualBridge) -> None:
    status, answer = await bridge.call("POST", "/session/create", body={"agent_id": "alice"})
    item = {"type": "missing", "msg": "Field required", "input": {"agent_id": "alice"}}
    assert status == 422
    assert answer["detail"] == [
        item | {"loc": ["body", "ip_address"]},
        item | {"loc": ["body", "user_agent"]},
    ]


async def test_an_event_is_stored_under_any_name_and_numbered(bridge: ManualBridge) -> None:
    token = await bridge.token("alice")
    body = {"event_type": "AGENT_HEARTBEAT", "data": {"n": 1}, "agent_id": "bob"}
    status, answer = await bridge.call("POST", "/event/store", token=token, body=body)
    assert (status, answer["status"], answer["sequence"]) == (200, "stored", 2)
    assert answer["message"] == "Event EventType.AGENT_HEARTBEAT stored successfully"
    _, everything = await bridge.call("GET", "/event/query", token=token)
    events = everything["events"]
    assert isinstance(events, list)
    assert [event["event_type"] for event in events] == ["agent_registered", "agent_heartbeat"]
    assert (events[1]["source_agent"], events[1]["event_id"]) == ("bob", answer["event_id"])


async def test_an_empty_event_is_stored_with_defaults(bridge: ManualBridge) -> None:
    token = await bridge.token("alice")
    await bridge.call("POST", "/event/store", token=token, body={})
    event = bridge.state.log.everything()[-1].draft
    assert (event.event_type, event.source_agent, event.data) == ("system_started", "http_server", {})


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"data": []}, "1 validation error for Event"),
        ({"agent_id": "x" * 65}, "1 validation error for AgentIdentity"),
        ({"agent_id": 5}, "1 validation error for AgentIdentity"),
        ({"event_type": 5}, "'int' object has no attribute 'upper'"),
        ({"data": {"text": "eval (x)"}}, "Security validation failed: Dangerous pattern detected in event."),
    ],
)
async def test_an_impossible_event_is_refused_with_500(bridge: ManualBridge, body: Json, text: str) -> None:
    token = await bridge.token("alice")
    status, answer = await bridge.call("POST", "/event/store", token=token, body=body)
    assert status == 500
    assert str(answer["detail"]).startswith(text)


@pytest.mark.parametrize(("raw", "kind"), [(b"[]", "dict_type"), (b"{", "json_invalid"), (b"", "missing")])
async def test_an_unreadable_event_is_refused_with_422(bridge: ManualBridge, raw: bytes, kind: str) -> None:
    token = await bridge.token("alice")
    status, answer = await bridge.call("POST", "/event/store", token=token, raw=raw)
    detail = answer["detail"]
    assert isinstance(detail, list)
    assert (status, detail[0]["type"]) == (422, kind)


async def test_a_query_ignores_its_filters(bridge: ManualBridge) -> None:
    token = await bridge.token("alice")
    await store(bridge, token, 3)
    path = "/event/query?agent_id=carol&event_type=custom&start_time=garbage&limit=3"
    status, answer = await bridge.call("GET", path, token=token)
    assert (status, sequences(answer)) == (200, [1, 2, 3])
    assert answer["message"] == "Found 3 events matching query"


@pytest.mark.parametrize(("limit", "status"), [("0", 500), ("-1", 500), ("x", 422)])
async def test_a_query_without_a_positive_limit_is_refused(bridge: ManualBridge, limit: str, status: int) -> None:
    token = await bridge.token("alice")
    assert (await bridge.call("GET", f"/event/query?limit={limit}", token=token))[0] == status


async def test_a_wait_without_cursor_starts_at_the_beginning_every_time(bridge: ManualBridge) -> None:
    token = await bridge.token("alice")
    await store(bridge, token, 20)
    for _ in range(3):
        status, answer = await bridge.call("GET", WAIT, token=token)
        assert (status, answer["status"]) == (200, "new_events")
        assert sequences(answer) == list(range(1, 11))
    _, answer = await bridge.call("GET", WAIT + "&since_sequence=15", token=token)
    assert sequences(answer) == list(range(16, 22))


async def test_a_wait_with_nothing_new_ends_at_its_time_and_reports_what_was_asked(
    bridge: ManualBridge,
) -> None:
    token = await bridge.token("alice")
    answer = await waited(bridge, token, WAIT + "&since_sequence=1&timeout_seconds=2", 1.0, 1.0)
    assert answer == {"events": [], "count": 0, "waited_seconds": 2, "status": "timeout"}


async def test_an_event_during_a_wait_is_seen_at_the_next_look_a_second_later(bridge: ManualBridge) -> None:
    token = await bridge.token("alice")
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        path = WAIT + "&since_sequence=1&timeout_seconds=30"
        task = group.create_task(bridge.call("GET", path, token=token))
        await bridge.pace.until_sleeping()
        await store(bridge, token, 25)
        bridge.pace.advance(0.9)
        assert not task.done()
        bridge.pace.advance(0.1)
        _, answer = await task
    assert sequences(answer) == list(range(2, 12))
    assert answer["waited_seconds"] == 1.0


async def test_a_wait_is_cut_at_300_seconds_but_reports_the_400_asked(bridge: ManualBridge) -> None:
    token = await bridge.token("alice")
    answer = await waited(bridge, token, WAIT + "&since_sequence=1&timeout_seconds=400", 299.5, 0.5)
    assert answer["waited_seconds"] == 400


@pytest.mark.parametrize("asked", [0, -5])
async def test_a_wait_without_time_answers_at_once_without_looking(bridge: ManualBridge, asked: int) -> None:
    token = await bridge.token("alice")
    _, answer = await bridge.call("GET", f"{WAIT}&timeout_seconds={asked}", token=token)
    assert answer == {"events": [], "count": 0, "waited_seconds": asked, "status": "timeout"}


@pytest.mark.parametrize(
    ("query", "kind", "name"),
    [
        ("agent_id=a&timeout_seconds=1.5", "int_parsing", "timeout_seconds"),
        ("agent_id=a&timeout_seconds=abc", "int_parsing", "timeout_seconds"),
        ("agent_id=a&since_sequence=", "int_parsing", "since_sequence"),
        ("timeout_seconds=1", "missing", "agent_id"),
    ],
)
async def test_a_wait_that_cannot_be_read_is_refused(bridge: ManualBridge, query: str, kind: str, name: str) -> None:
    token = await bridge.token("alice")
    status, answer = await bridge.call("GET", f"/event/wait?{query}", token=token)
    detail = answer["detail"]
    assert isinstance(detail, list)
    assert (status, detail[0]["type"], detail[0]["loc"]) == (422, kind, ["query", name])


async def test_of_a_repeated_parameter_the_last_counts_and_an_unknown_one_is_ignored(
    bridge: ManualBridge,
) -> None:
    token = await bridge.token("alice")
    path = "/event/wait?agent_id=&since_sequence=99&since_sequence=0&colour=red"
    status, answer = await bridge.call("GET", path, token=token)
    assert (status, sequences(answer)) == (200, [1])


async def test_the_shipped_wait_never_delivers(start: Start) -> None:
    bridge = await start(Settings(switches=Switches(shipped_wait=True)))
    token = await bridge.token("alice")
    answer = await waited(bridge, token, WAIT + "&timeout_seconds=1", 1.0)
    assert answer["status"] == "timeout"


async def test_poll_pause_and_limit_come_from_the_settings(start: Start) -> None:
    bridge = await start(Settings(poll_s=0.25, wait_limit=2))
    token = await bridge.token("alice")
    await store(bridge, token, 5)
    _, answer = await bridge.call("GET", WAIT, token=token)
    assert sequences(answer) == [1, 2]
    await waited(bridge, token, WAIT + "&since_sequence=6&timeout_seconds=1", 0.25, 0.25, 0.25, 0.25)


async def test_a_wait_whose_caller_leaves_is_no_longer_parked(bridge: ManualBridge) -> None:
    token = await bridge.token("alice")
    async with asyncio.timeout(5):
        async with asyncio.TaskGroup() as group:
            path = WAIT + "&since_sequence=1"
            task = group.create_task(bridge.call("GET", path, token=token))
            await bridge.pace.until_sleeping()
            _, counters = await bridge.call("GET", "/dev/counters")
            assert counters["parked_waits"] == 1
            task.cancel()
        while bridge.state.parked_waits:  # noqa: ASYNC110  (the server side has nothing to wait on)
            await asyncio.sleep(0)


async def test_experts_tasks_and_collaborations_answer_in_the_bridges_shapes(bridge: ManualBridge) -> None:
    token = await bridge.token("alice")
    expert = {"agent_id": "expert_bob", "agent_type": "t", "capabilities": ["c"]}
    status, answer = await bridge.call("POST", "/expert/register", token=token, body=expert)
    assert (status, answer["message"]) == (200, "Registration successful")
    task = {"target_agent": "expert_bob"}
    status, answer = await bridge.call("POST", "/task/dispatch", token=token, body=task)
    assert (status, answer["status"]) == (200, "dispatched")
    assert (await bridge.call("POST", "/task/dispatch", token=token, body=task))[0] == 500
    status, answer = await bridge.call("POST", "/collaboration/start", token=token, body={})
    assert (status, answer["participants"]) == (200, [])
    command = {"tool_name": "ls", "tool_input": {}, "agent_id": "alice"}
    status, answer = await bridge.call("POST", "/validate", token=token, body=command)
    assert (status, answer["approved"]) == (200, False)


async def test_the_socket_answers_ping_and_echoes(bridge: ManualBridge) -> None:
    async with asyncio.timeout(5), bridge.client.ws_connect("/ws/alice") as socket:
        await socket.send_json({"type": "ping"})
        assert await socket.receive_json() == {"type": "pong"}
        await socket.send_json({"type": "subscribe"})
        await socket.send_json({"a": 1})
        assert await socket.receive_json() == {"type": "response", "data": "Received: {'a': 1}"}


@pytest.mark.parametrize("frame", ["[]", "{"])
async def test_the_socket_closes_on_anything_but_an_object(bridge: ManualBridge, frame: str) -> None:
    async with asyncio.timeout(5), bridge.client.ws_connect("/ws/alice") as socket:
        await socket.send_str(frame)
        await socket.receive()
        assert socket.close_code == 1011


async def test_the_socket_closes_on_a_binary_frame(bridge: ManualBridge) -> None:
    async with asyncio.timeout(5), bridge.client.ws_connect("/ws/alice") as socket:
        await socket.send_bytes(b"{}")
        await socket.receive()
        assert socket.close_code == 1011
