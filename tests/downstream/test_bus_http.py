"""The elicitation calls before a Bridge without any, through two sidecars: a modern asker and agents of every kind."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.core import bus_book
from proxy.core.bus import is_bus_id
from proxy.devbridge.settings import Switches
from tests.support.asking import RED
from tests.support.house import OFF, ON, Heard, House, Stand, fields, house, objects, stand, until
from tests.support.manual_bridge import Json

pytestmark = pytest.mark.requirement("bus.doors")

BUS = {"bridge.source": "bus"}
AUTO = {"bridge.source": "auto"}


@dataclass(frozen=True, slots=True)
class Pair:
    """Alice's sidecar, whose stand has the Bridge and the time of all, and bob's."""

    stand: Stand
    other: House
    alice: str
    bob: str

    async def create(self, **changes: object) -> Heard:
        body: dict[str, object] = {
            "from_agent": "alice",
            "to_agent": "bob",
            "message": "Which colour?",
            "schema": {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]},
            "timeout_seconds": 60,
        }
        return await self.stand.house.call("POST", "/elicitation/create", token=self.alice, body={**body, **changes})

    async def ask(self, **changes: object) -> str:
        heard = await self.create(**changes)
        assert heard.status == 200, heard
        return str(heard.json["elicitation_id"])

    async def pending(self, agent_id: str = "bob") -> list[Json]:
        heard = await self.other.call("GET", f"/elicitation/pending?agent_id={agent_id}", token=self.bob)
        assert heard.status == 200, heard
        return objects(heard.json["elicitations"])

    async def respond(self, named: str, **changes: object) -> Heard:
        body: dict[str, object] = {
            "elicitation_id": named,
            "responding_agent": "bob",
            "response_type": "accept",
            "data": RED,
        }
        return await self.other.call("POST", "/elicitation/respond", token=self.bob, body={**body, **changes})

    async def status(self, named: str) -> object:
        heard = await self.stand.house.call("GET", f"/elicitation/status/{named}", token=self.alice)
        return heard.json.get("status", heard.status)

    async def answers(self, *, since: int = 1) -> list[Json]:
        """What alice's next wait brings of answers."""
        task = self.stand.wait("alice", self.alice, since_sequence=since, timeout_seconds=5)
        await until(lambda: task.done() or self.stand.bridge.state.parked_waits > 0)
        self.stand.clock.advance(5)
        return [item for item in (await task).items if item["event_type"] == "elicitation_response"]


@asynccontextmanager
async def pair(
    folder: Path,
    way: Mapping[str, str] = BUS,
    *,
    flags: Mapping[str, str] = ON,
    elicitation: bool = False,
) -> AsyncIterator[Pair]:
    switches = Switches(elicitation=elicitation)
    async with stand(folder, way, flags=flags, switches=switches) as made:
        url = str(made.bridge.client.make_url("/")).rstrip("/")
        async with house(url, {**flags, **way}, clock=made.clock) as other:
            yield Pair(made, other, await made.bridge.token("alice"), await made.bridge.token("bob"))


@pytest.mark.parametrize("way", [BUS, AUTO], ids=["bus", "auto"])
@pytest.mark.parametrize(("kind", "status"), [("accept", "accepted"), ("decline", "declined"), ("cancel", "cancelled")])
async def test_a_modern_asker_gets_the_answer_of_a_modern_agent(
    tmp_path: Path, way: Mapping[str, str], kind: str, status: str
) -> None:
    data = RED if kind == "accept" else None
    async with pair(tmp_path, way) as made:
        named = await made.ask()
        assert is_bus_id(named)
        [listed] = await made.pending()
        assert (listed["id"], listed["from_agent"], listed["message"]) == (named, "alice", "Which colour?")
        assert await made.status(named) == "pending"
        heard = await made.respond(named, response_type=kind, data=data)
        assert (heard.status, heard.json["status"]) == (200, "success")
        assert (await made.status(named), await made.pending()) == (status, [])
        [item] = await made.answers()
        expected = {"elicitation_id": named, "in_reply_to": named, "response_type": kind, "data": data}
        assert (item["source_agent"], item["data"]) == ("bob", expected)


@pytest.mark.requirement("backpressure.bound")
async def test_a_flood_of_questions_to_one_agent_is_refused_with_a_time_before_anything_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_book, "MAX_PER_AGENT", 3)
    async with pair(tmp_path) as made:
        named = [await made.ask() for _ in range(3)]
        stored = len(made.stand.bridge.state.log)
        refused = await made.create()
        assert (refused.status, refused.problem["code"], refused.problem["retryable"]) == (
            429,
            "too_many_questions",
            True,
        )
        assert refused.headers["Retry-After"] == "5"
        assert len(made.stand.bridge.state.log) == stored
        # Others are asked as ever, and each answer makes room.
        assert (await made.create(to_agent="carol")).status == 200
        assert [listed["id"] for listed in await made.pending()] == named
        assert (await made.respond(named[0])).status == 200
        assert await made.status(named[0]) == "accepted"
        assert (await made.create()).status == 200


@pytest.mark.requirement("bus.first_answer")
async def test_the_same_answer_again_succeeds_without_effect_and_another_is_refused(tmp_path: Path) -> None:
    async with pair(tmp_path) as made:
        named = await made.ask()
        assert (await made.respond(named)).status == 200
        stored = len(made.stand.bridge.state.log)
        assert (await made.respond(named)).status == 200
        conflict = await made.respond(named, data={"colour": "blue"})
        assert (conflict.status, conflict.problem["code"]) == (409, "answer_conflict")
        assert len(made.stand.bridge.state.log) == stored
        assert len(await made.answers()) == 1


async def test_the_asker_takes_its_question_back(tmp_path: Path) -> None:
    async with pair(tmp_path) as made:
        named = await made.ask()
        body = {"elicitation_id": named, "responding_agent": "alice", "response_type": "cancel"}
        heard = await made.stand.house.call("POST", "/elicitation/respond", token=made.alice, body=body)
        assert (heard.status, heard.json["status"]) == (200, "success")
        assert (await made.pending(), await made.status(named)) == ([], "cancelled")
        assert (await made.respond(named)).status == 404
        again = await made.stand.house.call("POST", "/elicitation/respond", token=made.alice, body=body)
        assert again.status == 500


@pytest.mark.requirement("bus.only_the_addressee")
async def test_a_foreign_token_asks_and_answers_for_nobody(tmp_path: Path) -> None:
    async with pair(tmp_path) as made:
        mallory = await made.stand.bridge.token("mallory")
        refused = await made.stand.house.call(
            "POST",
            "/elicitation/create",
            token=mallory,
            body={"from_agent": "alice", "to_agent": "bob", "message": "?", "schema": {}},
        )
        assert (refused.status, refused.problem["code"]) == (403, "answer_forbidden")
        named = await made.ask()
        body = {"elicitation_id": named, "responding_agent": "bob", "response_type": "accept", "data": RED}
        assert (await made.other.call("POST", "/elicitation/respond", token=mallory, body=body)).status == 403
        own = {**body, "responding_agent": "mallory"}
        assert (await made.other.call("POST", "/elicitation/respond", token=mallory, body=own)).status in {403, 404}
        assert await made.status(named) == "pending"
        for call in (
            made.other.call("GET", "/elicitation/pending?agent_id=bob", token="forged:bob:1:2"),
            made.other.call("GET", f"/elicitation/status/{named}", token="forged:bob:1:2"),
        ):
            heard = await call
            assert (heard.status, "detail" in heard.json) == (403, True), "in the Bridge's own words"


async def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    async with pair(tmp_path) as made:
        assert "timeout_seconds" in str((await made.create(timeout_seconds=0)).problem["detail"])
        assert (await made.create(schema={"$ref": "https://example.org/x"})).status == 422
        assert (await made.create(message="x" * 70_000)).status == 400
        assert (await made.respond("")).status == 400
        assert (await made.respond("0" * 32)).status == 404
        assert (await made.respond("0" * 32, response_type="maybe")).status == 400
        assert (await made.other.call("GET", "/elicitation/pending", token=made.bob)).status == 400
        assert await made.status("0" * 32) == 404
        heard = await made.create(message="please eval( this")
        assert (heard.status, "Dangerous pattern" in str(heard.json["detail"])) == (500, True)


async def test_a_question_expires(tmp_path: Path) -> None:
    async with pair(tmp_path) as made:
        named = await made.ask(timeout_seconds=2)
        assert len(await made.pending()) == 1
        made.stand.clock.advance(2)
        assert (await made.pending(), await made.status(named)) == ([], "expired")
        assert (await made.respond(named)).status in {404, 410}
        assert await made.answers() == []


async def test_a_question_wakes_a_parked_wait_of_the_other_sidecar(tmp_path: Path) -> None:
    async with pair(tmp_path) as made:
        target = "/event/wait?agent_id=bob&since_sequence=1&timeout_seconds=30"
        task = asyncio.get_running_loop().create_task(made.other.call("GET", target, token=made.bob))
        await made.other.until_parked(1)
        await until(lambda: made.stand.bridge.state.parked_waits > 0)
        named = await made.ask()
        made.stand.clock.advance(1)
        [item] = (await task).items
        assert item["event_type"] == "elicitation_request"
        data = fields(item["data"])
        assert data.keys() == {"elicitation_id", "message", "schema", "expires_at"}
        assert data["elicitation_id"] == named
        assert item["sequence"] == 1, "no cursor taken from it skips anything"


@pytest.mark.requirement("bus.legacy_answer")
async def test_an_agent_without_a_sidecar_reads_the_question_and_answers_with_an_event(tmp_path: Path) -> None:
    async with pair(tmp_path) as made:
        named = await made.ask()
        _, reply = await made.stand.bridge.call(
            "GET", "/event/wait?agent_id=bob&since_sequence=1&timeout_seconds=5", token=made.bob
        )
        [event] = objects(reply["events"])
        data = fields(event["data"])
        assert (data["elicitation_id"], data["message"], data["to_agent"]) == (named, "Which colour?", "bob")
        body = {"event_type": "custom", "agent_id": "bob", "data": {"in_reply_to": named, "colour": "red"}}
        assert (await made.stand.bridge.call("POST", "/event/store", token=made.bob, body=body))[0] == 200
        [item] = await made.answers(since=2)
        assert item["data"] == {"elicitation_id": named, "in_reply_to": named, "response_type": "accept", "data": RED}
        assert (await made.status(named), await made.pending()) == ("accepted", [])


async def test_with_the_flags_off_the_bridges_own_words_come_back(tmp_path: Path) -> None:
    async with pair(tmp_path, flags=OFF) as made:
        assert (await made.create()).status == 404
        assert (await made.other.call("GET", "/elicitation/pending?agent_id=bob", token=made.bob)).status == 404
        assert (await made.respond("0" * 32)).status == 404


async def test_without_a_token_the_bridge_answers(tmp_path: Path) -> None:
    async with pair(tmp_path) as made:
        assert (await made.other.call("GET", "/elicitation/pending?agent_id=bob")).status == 404
        assert (await made.other.call("GET", "/elicitation/metrics", token=made.bob)).status == 404


@pytest.mark.requirement("bus.auto")
async def test_a_bridge_that_learns_elicitation_serves_new_questions_while_old_ones_are_answered(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path, {**AUTO, "breaker.incapable_s": "30"}) as made:
        old = await made.ask()
        assert [listed["id"] for listed in await made.pending()] == [old]
        await made.stand.bridge.set(elicitation=True)
        made.stand.clock.advance(30)
        new = await made.ask()
        assert not is_bus_id(new)
        assert [listed["id"] for listed in await made.pending()] == [new, old]
        assert (await made.status(old), await made.status(new)) == ("pending", "pending")
        assert (await made.respond(new)).status == 200
        assert (await made.respond(old)).status == 200
        assert (await made.status(old), await made.status(new)) == ("accepted", "accepted")
        assert [fields(item["data"])["elicitation_id"] for item in await made.answers()] == [old]


@pytest.mark.requirement("bus.auto")
async def test_before_a_bridge_with_elicitation_nothing_travels_over_the_bus(tmp_path: Path) -> None:
    async with pair(tmp_path, AUTO, elicitation=True) as made:
        named = await made.ask()
        assert not is_bus_id(named)
        assert [listed["id"] for listed in await made.pending()] == [named]
        assert (await made.respond(named)).status == 200
        assert await made.status(named) == "accepted"
