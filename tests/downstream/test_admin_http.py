"""The operators' doors over a real socket, with the real board, recorder and metrics behind them."""

import asyncio
import re
from dataclasses import replace

import pytest
from pytest_aiohttp import AiohttpClient

from proxy.core.cohort import Cohort, bucket_of
from proxy.core.flags import FlagSet
from proxy.core.outcome import Door, Outcome, Result
from proxy.core.routing import Reason, Route
from proxy.downstream.admin_api import OPERATIONS, Operation
from proxy.downstream.admin_auth import Need
from proxy.downstream.admin_http import build_admin_app
from tests.support.admin_house import OPERATOR, PROBLEM, VIEWER, AdminHouse, Client, ask


@pytest.fixture
def house() -> AdminHouse:
    return AdminHouse()


@pytest.fixture
async def client(house: AdminHouse, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(build_admin_app(house.parts))


@pytest.fixture
async def open_client(house: AdminHouse, aiohttp_client: AiohttpClient) -> Client:
    """The port of a sidecar without a token file."""
    return await aiohttp_client(build_admin_app(replace(house.parts, tokens=())))


async def test_the_routes_and_the_described_operations_are_the_same(house: AdminHouse, client: Client) -> None:
    app = build_admin_app(house.parts)
    routes = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource and route.method != "HEAD"
    }
    assert routes == {(operation.method, operation.document_path) for operation in OPERATIONS}
    status, document = await ask(client, "GET", "/openapi.json")
    assert status == 200
    paths = document["paths"]
    assert isinstance(paths, dict)
    assert {(method.upper(), path) for path, methods in paths.items() for method in methods} == routes


@pytest.mark.parametrize(("shown", "status"), [("healthy", 200), ("degraded", 200), ("unhealthy", 503)])
async def test_health_tells_status_and_reasons(house: AdminHouse, client: Client, shown: str, status: int) -> None:
    house.health = {"status": shown, "reasons": ["the Bridge is away"]}
    assert await ask(client, "GET", "/health", headers={}) == (status, house.health)


async def test_liveness_and_readiness_are_told_apart(house: AdminHouse, client: Client) -> None:
    house.ready = {"ready": False, "reasons": ["the state is stale"]}
    assert await ask(client, "GET", "/livez", headers={}) == (200, {"alive": True})
    assert await ask(client, "GET", "/readyz", headers={}) == (503, house.ready)
    house.ready = {"ready": True, "reasons": []}
    assert await ask(client, "GET", "/readyz", headers={}) == (200, house.ready)


async def test_metrics_are_text_with_live_gauges(house: AdminHouse, client: Client) -> None:
    house.metrics.bind({"flags_version": lambda: float(house.board.flags.version)})
    response = await client.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "\nelicit_sidecar_flags_version 1.0\n" in await response.text()


async def test_metrics_come_as_openmetrics_when_asked(client: Client) -> None:
    response = await client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert (await response.read()).endswith(b"# EOF\n")


async def test_a_head_request_gets_headers_alone(client: Client) -> None:
    response = await client.head("/health")
    assert (response.status, await response.read()) == (200, b"")


async def test_flags_are_read_with_their_version(client: Client) -> None:
    response = await client.get("/feature_flags", headers=VIEWER)
    assert response.headers["ETag"] == '"1"'
    assert response.headers["Cache-Control"] == "no-store"
    assert await response.json() == FlagSet().as_json()


async def test_a_patch_takes_effect_at_once_and_is_kept_in_the_history(house: AdminHouse, client: Client) -> None:
    patch = {"elicitation_enabled": True, "elicitation_percentage": 25, "reason": "week 5"}
    response = await client.post(
        "/feature_flags", json=patch, headers={**OPERATOR, "X-Author": "Ann", "If-Match": '"1"'}
    )
    assert (response.status, response.headers["ETag"]) == (200, '"2"')
    assert (await response.json())["elicitation_percentage"] == 25.0
    assert house.board.flags.elicitation_enabled
    _, document = await ask(client, "GET", "/feature_flags/history?limit=5")
    assert document == {
        "history": [
            {
                "version": 2,
                "at": 1_000_000.0,
                "author": "Ann (operator@127.0.0.1)",
                "reason": "week 5",
                "changes": {"elicitation_enabled": [False, True], "elicitation_percentage": [0.0, 25.0]},
            }
        ]
    }


async def test_the_runbooks_curl_line_works_with_its_form_content_type(house: AdminHouse, client: Client) -> None:
    headers = {**OPERATOR, "Content-Type": "application/x-www-form-urlencoded"}
    status, _ = await ask(client, "POST", "/feature_flags", data=b'{"elicitation_enabled": false}', headers=headers)
    assert status == 200
    assert house.board.flags.version == 2


async def test_a_patch_of_an_older_version_is_a_conflict(house: AdminHouse, client: Client) -> None:
    headers = {**OPERATOR, "If-Match": "7"}
    status, document = await ask(client, "POST", "/feature_flags", json={"legacy_support": False}, headers=headers)
    assert (status, document["code"], document["version"]) == (409, "flag_conflict", 1)
    assert house.board.flags == FlagSet()


@pytest.mark.parametrize(
    ("body", "code"),
    [(b'{"elicitation_percent": 5}', "invalid_flags"), (b'{"reason": "x"}', "invalid_flags"), (b"{", "invalid_input")],
)
async def test_a_patch_that_cannot_be_read_changes_nothing(
    house: AdminHouse, client: Client, body: bytes, code: str
) -> None:
    status, document = await ask(client, "POST", "/feature_flags", data=body)
    assert (status, document["code"]) == (400, code)
    assert house.board.flags == FlagSet()


async def test_a_body_beyond_the_bound_is_refused(client: Client) -> None:
    status, document = await ask(client, "POST", "/feature_flags", data=b" " * (256 * 1024 + 1))
    assert (status, document["code"]) == (413, "body_too_large")


async def test_an_agent_is_forced_for_a_time_and_released(house: AdminHouse, client: Client) -> None:
    status, document = await ask(client, "POST", "/agent/force_elicitation", json={"agent_id": "ann", "ttl_s": 60})
    assert (status, document["cohort"], document["reason"]) == (200, "elicitation", "forced")
    assert document["forced"] == {"cohort": "elicitation", "until": 1_000_060.0}
    _, document = await ask(client, "GET", "/agents")
    assert document["forced"] == [{"agent_id": "ann", "cohort": "elicitation", "until": 1_000_060.0}]
    status, document = await ask(client, "DELETE", "/agent/force_elicitation?agent_id=ann")
    assert (status, document["forced"], document["reason"]) == (200, None, "disabled")
    assert house.board.forced() == {}


async def test_an_agent_may_be_forced_to_legacy_and_released_by_a_body(house: AdminHouse, client: Client) -> None:
    await ask(client, "POST", "/agent/force_elicitation", json={"agent_id": "ann", "cohort": "legacy"})
    assert house.board.forced() == {"ann": (Cohort.LEGACY, None)}
    status, _ = await ask(client, "DELETE", "/agent/force_elicitation", json={"agent_id": "ann"})
    assert (status, house.board.forced()) == (200, {})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"agent_id": ""},
        {"agent_id": 1},
        {"agent_id": "a", "cohort": "other"},
        {"agent_id": "a", "cohort": ["legacy"]},
        {"agent_id": "a", "ttl_s": 0},
        {"agent_id": "a", "ttl_s": -1},
        {"agent_id": "a", "ttl_s": True},
        {"agent_id": "a", "ttl_s": "60"},
        {"agent_id": "a", "ttl_s": 31_536_001},
        {"agent_id": "a", "ttl": 60},
    ],
)
async def test_a_force_that_cannot_be_read_is_refused(house: AdminHouse, client: Client, body: object) -> None:
    status, document = await ask(client, "POST", "/agent/force_elicitation", json=body)
    assert (status, document["code"]) == (400, "invalid_input")
    assert house.board.forced() == {}


async def test_an_infinite_time_is_refused(client: Client) -> None:
    status, document = await ask(client, "POST", "/agent/force_elicitation", data=b'{"agent_id":"a","ttl_s":1e999}')
    assert (status, document["code"]) == (400, "invalid_input")


async def test_agents_are_listed_with_their_last_wait(house: AdminHouse, client: Client) -> None:
    wait = Outcome(
        door=Door.WAIT,
        result=Result.DELIVERED,
        seconds=0.1,
        agent_id="ann",
        route=Route.LEGACY,
        reason=Reason.SPLIT,
        cohort=Cohort.LEGACY,
    )
    house.recorder.record(wait)
    house.recorder.record(replace(wait, agent_id="bob"))
    _, document = await ask(client, "GET", "/agents?limit=1", headers=VIEWER)
    assert (document["count"], document["forced"]) == (2, [])
    assert document["agents"] == [
        {"agent_id": "bob", "cohort": "legacy", "route": "legacy", "reason": "split", "last_seen": 1e6, "calls": 1}
    ]
    _, document = await ask(client, "GET", "/agents/ann", headers=VIEWER)
    assert document["seen"] == {
        "agent_id": "ann",
        "cohort": "legacy",
        "route": "legacy",
        "reason": "split",
        "last_seen": 1e6,
        "calls": 1,
    }


async def test_one_agent_is_shown_with_bucket_groups_cohort_and_reason(client: Client) -> None:
    assert await ask(client, "GET", "/agents/ann", headers=VIEWER) == (
        200,
        {
            "agent_id": "ann",
            "bucket": bucket_of("s", "ann"),
            "groups": ["pilots"],
            "cohort": "legacy",
            "route": "legacy",
            "reason": "disabled",
            "forced": None,
            "seen": None,
        },
    )


@pytest.mark.parametrize(("path", "agent_id"), [("/agents/team/ann", "team/ann"), ("/agents/a%2Fb%20c", "a/b c")])
async def test_an_agent_id_may_hold_slashes_and_blanks(client: Client, path: str, agent_id: str) -> None:
    status, document = await ask(client, "GET", path, headers=VIEWER)
    assert (status, document["agent_id"]) == (200, agent_id)


async def test_caches_are_cleared_and_the_counts_told(client: Client) -> None:
    assert await ask(client, "POST", "/cache/clear") == (200, {"cleared": {"credentials": 3}})


async def test_elicitation_metrics_are_the_recorders_snapshot(client: Client) -> None:
    status, document = await ask(client, "GET", "/elicitation/metrics", headers=VIEWER)
    assert status == 200
    assert {"cohorts", "security", "pending_elicitations", "active_waits"} <= set(document)


async def test_the_configuration_is_dumped_for_viewers(client: Client) -> None:
    assert await ask(client, "GET", "/config_dump", headers=VIEWER) == (200, {"admin": {"token_file": "/etc/tokens"}})


async def test_a_shutdown_is_asked_for_once_by_an_operator(house: AdminHouse, client: Client) -> None:
    assert (await ask(client, "POST", "/shutdown", headers=VIEWER))[0] == 403
    assert house.shutdowns == 0
    assert await ask(client, "POST", "/shutdown") == (202, {"status": "draining"})
    assert house.shutdowns == 1


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_each_door_asks_for_the_rights_that_the_table_says(client: Client, operation: Operation) -> None:
    path = re.sub(r"{\w+}", "ann", operation.document_path)
    bare = await client.request(operation.method, path)
    viewer = await client.request(operation.method, path, headers=VIEWER)
    assert (bare.status == 401) == (operation.need is not Need.PROBE)
    assert (viewer.status == 403) == (operation.need in {Need.CHANGE, Need.CHANGE_HERE})


async def test_without_a_token_file_loopback_looks_and_is_told_how_to_change(
    house: AdminHouse, open_client: Client
) -> None:
    assert (await ask(open_client, "GET", "/feature_flags", headers={}))[0] == 200
    status, document = await ask(open_client, "POST", "/feature_flags", json={"legacy_support": False}, headers={})
    assert (status, document["code"]) == (401, "unauthenticated")
    assert "admin.token_file" in str(document["detail"])
    assert house.board.flags == FlagSet()


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
@pytest.mark.parametrize("path", ["/health", "/feature_flags", "/nowhere"])
async def test_foreign_names_reach_no_door(client: Client, path: str, headers: dict[str, str]) -> None:
    status, document = await ask(client, "GET", path, headers={**OPERATOR, **headers})
    assert (status, document["code"]) == (403, "host_refused")


async def test_configured_names_reach_the_doors(client: Client) -> None:
    assert (await ask(client, "GET", "/health", headers={"Host": "sidecar.internal:8767"}))[0] == 200


async def test_what_is_not_there_is_a_404_and_a_wrong_method_a_405(client: Client) -> None:
    status, document = await ask(client, "GET", "/event/wait")
    assert (status, document["code"]) == (404, "not_found")
    assert (await ask(client, "GET", "/nowhere", headers={}))[0] == 401
    response = await client.put("/feature_flags", headers=OPERATOR)
    assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD,POST")
    assert response.content_type == PROBLEM
    document = await response.json(content_type=PROBLEM)
    assert (document["code"], "GET,HEAD,POST" in document["detail"]) == ("method_not_allowed", True)


async def test_every_call_leaves_one_outcome(house: AdminHouse, client: Client) -> None:
    await ask(client, "GET", "/feature_flags?x=1", headers=VIEWER)
    await ask(client, "POST", "/feature_flags", json={}, headers=VIEWER)
    await ask(client, "GET", "/nowhere", headers=VIEWER)
    await client.put("/feature_flags", headers=VIEWER)
    shown = [(o.door, o.result, o.status, o.method, o.path, o.error_code) for o in house.recorder.outcomes]
    assert shown == [
        ("http_admin", "served", 200, "GET", "/feature_flags", ""),
        ("http_admin", "refused", 403, "POST", "/feature_flags", "forbidden"),
        ("http_admin", "refused", 404, "GET", "/nowhere", "not_found"),
        ("http_admin", "refused", 405, "PUT", "/feature_flags", "method_not_allowed"),
    ]


async def test_a_defect_behind_a_door_is_a_500_without_internals(
    house: AdminHouse, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    house.health = {}
    status, document = await ask(client, "GET", "/health", headers={})
    assert (status, document["code"]) == (500, "internal_error")
    assert "KeyError" not in str(document)
    assert house.recorder.snapshot()["defects"] == 1
    shown = [(outcome.status, outcome.error_code, outcome.fault) for outcome in house.recorder.outcomes]
    assert shown == [(500, "internal_error", "ours")]
    assert house.recorder.snapshot()["errors"] == {"internal_error": 1}
    assert any(record.exc_info or "exc_info" in record.msg for record in caplog.records)


async def test_of_two_changes_of_one_version_the_second_is_a_conflict(house: AdminHouse, client: Client) -> None:
    async def change(percentage: int) -> int:
        headers = {**OPERATOR, "If-Match": "1"}
        return (
            await ask(client, "POST", "/feature_flags", json={"elicitation_percentage": percentage}, headers=headers)
        )[0]

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        first, second = group.create_task(change(5)), group.create_task(change(10))
    assert sorted((first.result(), second.result())) == [200, 409]
    assert house.board.flags.version == 2
