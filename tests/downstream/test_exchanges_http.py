"""The doors that show open questions."""

import pytest
from pytest_aiohttp import AiohttpClient

from proxy.core.elicitation import Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.downstream.admin_http import build_admin_app
from tests.support.admin_house import VIEWER, AdminHouse, Client, ask


@pytest.fixture
def house() -> AdminHouse:
    """Two questions to bob, one to carol, whose wall clock is at a million."""
    made = AdminHouse()
    for name, to_agent in (("q1", "bob"), ("team/q 2", "carol"), ("q3", "bob")):
        made.book.add(
            Elicitation(
                elicitation_id=ElicitationId(name),
                from_agent="alice",
                to_agent=AgentId(to_agent),
                message="What is the secret?",
                schema={"type": "object", "title": "the secret's schema"},
                created_at=999_990.0,
                expires_at=1_000_060.0,
            )
        )
    return made


@pytest.fixture
async def client(house: AdminHouse, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(build_admin_app(house.parts))


async def _ids(client: Client, query: str = "") -> tuple[list[str], object]:
    status, document = await ask(client, "GET", f"/exchanges{query}", headers=VIEWER)
    assert status == 200, document
    shown = document["exchanges"]
    assert isinstance(shown, list)
    return [exchange["id"] for exchange in shown], document["has_more"]


async def test_open_questions_are_shown_without_what_they_ask(house: AdminHouse, client: Client) -> None:
    house.book.offer(AgentId("bob"), now=0.0, wall=1_000_000.0, limit=1)
    status, document = await ask(client, "GET", "/exchanges?agent_id=bob&limit=1", headers=VIEWER)
    assert status == 200
    assert document == {
        "exchanges": [
            {
                "id": "q1",
                "from": "alice",
                "to": "bob",
                "state": "offered",
                "created_at": 999_990.0,
                "expires_at": 1_000_060.0,
                "offered": True,
            }
        ],
        "has_more": True,
    }


async def test_they_are_filtered_by_agent_and_cut_at_the_limit(client: Client) -> None:
    assert await _ids(client) == (["q1", "team/q 2", "q3"], False)
    assert await _ids(client, "?limit=2") == (["q1", "team/q 2"], True)
    assert await _ids(client, "?limit=3") == (["q1", "team/q 2", "q3"], False)
    assert await _ids(client, "?agent_id=carol") == (["team/q 2"], False)
    assert await _ids(client, "?agent_id=nobody") == ([], False)


async def test_expired_questions_are_not_open_but_still_known(house: AdminHouse, client: Client) -> None:
    house.clock.at = 60.0
    assert await _ids(client) == ([], False)
    assert (await ask(client, "GET", "/exchanges/q1", headers=VIEWER))[0] == 200


@pytest.mark.parametrize(("path", "name"), [("q3", "q3"), ("team/q%202", "team/q 2"), ("team%2Fq%202", "team/q 2")])
async def test_one_question_is_shown_by_its_id(client: Client, path: str, name: str) -> None:
    status, document = await ask(client, "GET", f"/exchanges/{path}", headers=VIEWER)
    assert (status, document["id"], document["state"]) == (200, name, "new")


async def test_an_unknown_question_is_a_404_problem(client: Client) -> None:
    status, document = await ask(client, "GET", "/exchanges/q9", headers=VIEWER)
    assert (status, document["code"]) == (404, "elicitation_unknown")


@pytest.mark.parametrize("path", ["?agent_id=", "?agent_id=a%0Ab", "?limit=0", "?limit=10001", "?limit=x", "/a%09b"])
async def test_what_names_no_agent_number_or_question_is_refused(client: Client, path: str) -> None:
    status, document = await ask(client, "GET", f"/exchanges{path}", headers=VIEWER)
    assert (status, document["code"]) == (400, "invalid_input")
