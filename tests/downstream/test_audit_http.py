"""The door of the audit trail, and what the admin port puts there."""

import pytest
from pytest_aiohttp import AiohttpClient

from proxy.core.deeds import OperatorActed, Word
from proxy.downstream.admin_http import build_admin_app
from tests.support.admin_house import OPERATOR, VIEWER, AdminHouse, Client, ask


@pytest.fixture
def house() -> AdminHouse:
    return AdminHouse()


@pytest.fixture
async def client(house: AdminHouse, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(build_admin_app(house.parts))


async def _told(house: AdminHouse) -> list[tuple[str, str, str, str]]:
    await house.audit.close()
    return [(entry.who, entry.what, entry.subject, entry.details) for entry in (await house.audit.whole()).entries]


@pytest.mark.requirement("audit.read")
async def test_entries_are_shown_with_the_head_and_paged(house: AdminHouse, client: Client) -> None:
    for n in range(5):
        house.audit.note(OperatorActed(action=Word(f"n{n}")), who="op")
    await house.audit.close()
    status, document = await ask(client, "GET", "/audit?after=1&limit=2", headers=VIEWER)
    assert status == 200
    entries = document["entries"]
    assert isinstance(entries, list)
    assert [(entry["number"], entry["details"]) for entry in entries] == [(2, {"action": "n1"}), (3, {"action": "n2"})]
    assert document["has_more"] is True
    assert document["head"] == {"number": 5, "digest": (await house.audit.whole()).head.digest.hex()}
    _, last = await ask(client, "GET", "/audit?limit=2")
    assert isinstance(last["entries"], list)
    assert [entry["number"] for entry in last["entries"]] == [4, 5]
    assert last["has_more"] is False
    _, nothing = await ask(client, "GET", "/audit?after=5")
    assert (nothing["entries"], nothing["has_more"]) == ([], False)


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=9007199254740992", "limit=0", "limit=1001"])
async def test_numbers_out_of_range_are_refused_by_name(client: Client, query: str) -> None:
    status, problem = await ask(client, "GET", f"/audit?{query}")
    assert (status, problem["code"]) == (400, "invalid_input")
    assert str(problem["detail"]).startswith(query.partition("=")[0])


@pytest.mark.requirement("audit.deeds")
async def test_what_an_operator_does_is_told_with_name_role_and_place(house: AdminHouse, client: Client) -> None:
    named = {**OPERATOR, "X-Author": "Ann"}
    await ask(client, "POST", "/feature_flags", json={"elicitation_percentage": 5}, headers=named)
    await ask(client, "POST", "/agent/force_elicitation", json={"agent_id": "alice", "ttl_s": 60}, headers=named)
    await ask(client, "DELETE", "/agent/force_elicitation?agent_id=alice", headers=named)
    await ask(client, "POST", "/cache/clear", headers=OPERATOR)
    await ask(client, "POST", "/shutdown", headers=OPERATOR)
    who = "Ann (operator@127.0.0.1)"
    assert await _told(house) == [
        (who, "flags_changed", "", '{"flags":["elicitation_percentage"],"version":2}'),
        (who, "agent_forced", "alice", '{"cohort":"elicitation","until":1000060.0}'),
        (who, "agent_forced", "alice", '{"cohort":null,"until":null}'),
        ("operator@127.0.0.1", "operator_acted", "", '{"action":"cache_cleared"}'),
        ("operator@127.0.0.1", "operator_acted", "", '{"action":"shutdown"}'),
    ]


async def test_what_was_refused_for_its_content_is_not_told(house: AdminHouse, client: Client) -> None:
    for bad in ({"agent_id": ""}, {"agent_id": "alice", "cohort": "x"}):
        assert (await ask(client, "POST", "/agent/force_elicitation", json=bad))[0] == 400
    headers = {**OPERATOR, "X-Author": "x" * 200}
    assert (await ask(client, "POST", "/cache/clear", headers=headers))[0] == 400
    assert await _told(house) == []


@pytest.mark.requirement("audit.refusals")
async def test_wrong_tokens_roles_and_names_on_the_admin_port_are_told(house: AdminHouse, client: Client) -> None:
    wrong = {"Authorization": "Bearer hunter2-hunter2-hunter2"}
    for _ in range(3):
        assert (await ask(client, "POST", "/cache/clear", headers=wrong))[0] == 401
    assert (await ask(client, "POST", "/shutdown", headers=VIEWER))[0] == 403
    assert (await ask(client, "GET", "/agents", headers={**VIEWER, "Origin": "http://evil.example"}))[0] == 403
    told = await _told(house)
    assert sorted(told) == [
        ("sidecar", "call_refused", "127.0.0.1", '{"calls":1,"rule":null,"why":"host"}'),
        ("sidecar", "call_refused", "127.0.0.1", '{"calls":1,"rule":null,"why":"role"}'),
        ("sidecar", "call_refused", "127.0.0.1", '{"calls":3,"rule":null,"why":"operator_token"}'),
    ]
