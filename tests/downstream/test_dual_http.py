"""Dual mode at the doors: sends that ask, replies that answer, and waits that are held as the flags change."""

from pathlib import Path

import orjson
import pytest

from proxy.devbridge.settings import Switches
from tests.support.dual import Dual, cohorts, dual
from tests.support.house import fields

BOTH = cohorts("alice", "bob")
STRICT = {
    "type": "object",
    "properties": {"reply": {"type": "string"}},
    "required": ["reply"],
    "additionalProperties": False,
}


async def _asked(stand: Dual, **data: object) -> tuple[int, str]:
    """An event that bob has as a question: its number and the question's id."""
    stand.bob.answers = False
    number = await stand.send(**data)
    stand.start(stand.bob)
    await stand.until(lambda: bool(stand.bob.items))
    (item,) = stand.bob.items
    assert item["event_type"] == "elicitation_request"
    return number, str(fields(item["data"])["elicitation_id"])


@pytest.mark.requirement("dual.question")
async def test_the_sender_reads_the_bridges_own_reply_and_no_other_call_is_made_for_a_message(tmp_path: Path) -> None:
    async with dual(tmp_path, BOTH) as stand:
        heard = await stand.alice.store({"to_agent": "bob", "message": "done"})
        assert heard.json["event_id"] == {**fields(heard.json["event_id"]), "node_id": "lighthouse-01"}
        asked = await stand.alice.store({"to_agent": "bob", "message": "Ship it?", "expects_reply": True})
        assert asked.json.keys() == heard.json.keys()
        await stand.until(lambda: bool(stand.questions()))
        assert len(stand.questions()) == 1


@pytest.mark.requirement("dual.which")
async def test_dual_mode_can_be_switched_off(tmp_path: Path) -> None:
    async with dual(tmp_path, BOTH, overrides={"dual.sends": "off"}) as stand:
        stand.start(stand.bob)
        number = await stand.send()
        await stand.until(lambda: bool(stand.bob.copies_of(number)))
        await stand.pass_s(2)
        assert [item["event_type"] for item in stand.bob.copies_of(number)] == ["custom"]
        assert stand.questions() == []


@pytest.mark.requirement("dual.which")
async def test_dual_mode_may_take_every_send(tmp_path: Path) -> None:
    async with dual(tmp_path, BOTH, overrides={"dual.sends": "all"}) as stand:
        number, _ = await _asked(stand, expects_reply=False)
        assert [item["sequence"] for item in stand.bob.items] == [number]


@pytest.mark.requirement("dual.fails")
@pytest.mark.parametrize(
    "switches",
    [Switches(elicitation=False), Switches(fail_elicitation=True), Switches(hang_elicitation=True)],
    ids=["older", "failing", "hanging"],
)
async def test_before_a_bridge_that_cannot_ask_a_send_is_a_message(tmp_path: Path, switches: Switches) -> None:
    async with dual(tmp_path, BOTH, switches=switches, overrides={"bridge.source": "rest"}) as stand:
        stand.start(stand.alice, stand.bob)
        number = await stand.send()
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        await stand.pass_s(5)
        assert [item["event_type"] for item in stand.bob.copies_of(number)] == ["custom"]
        assert len(stand.alice.replies_to(number)) == 1


@pytest.mark.requirement("dual.one_copy")
@pytest.mark.parametrize("sidecars", [1, 2])
async def test_over_a_bus_the_exchange_is_the_same(tmp_path: Path, sidecars: int) -> None:
    switches = Switches(elicitation=False)
    async with dual(tmp_path, BOTH, sidecars=sidecars, switches=switches, overrides={"bridge.source": "bus"}) as stand:
        stand.start(stand.alice, stand.bob)
        await stand.pass_s(2)
        number = await stand.send()
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        await stand.pass_s(5)
        assert [item["event_type"] for item in stand.bob.copies_of(number)] == ["elicitation_request"]
        assert [item["event_type"] for item in stand.alice.replies_to(number)] == ["elicitation_response"]


@pytest.mark.requirement("dual.one_copy")
async def test_over_a_bus_a_legacy_sender_reads_one_reply_to_its_event(tmp_path: Path) -> None:
    switches = Switches(elicitation=False)
    async with dual(tmp_path, cohorts("bob"), switches=switches, overrides={"bridge.source": "bus"}) as stand:
        stand.start(stand.alice, stand.bob)
        await stand.pass_s(2)
        number = await stand.send()
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        await stand.pass_s(5)
        (reply,) = stand.alice.replies_to(number)
        assert (reply["source_agent"], fields(reply["data"])["data"]) == ("bob", {"reply": "yes"})


# Replies


@pytest.mark.requirement("dual.legacy_receiver")
async def test_a_reply_that_the_question_does_not_take_is_a_message(tmp_path: Path) -> None:
    async with dual(tmp_path, BOTH) as stand:
        number, named = await _asked(stand, schema=STRICT)
        heard = await stand.bob.store({"in_reply_to": number, "to_agent": "alice", "text": "maybe"})
        assert "elicitation_id" not in heard.json
        stand.start(stand.alice)
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        assert fields(stand.alice.replies_to(number)[0]["data"])["text"] == "maybe"
        again = await stand.bob.store({"in_reply_to": number, "content": {"reply": "yes"}})
        assert again.json["elicitation_id"] == named


@pytest.mark.requirement("dual.legacy_receiver")
async def test_a_second_reply_that_says_something_else_is_a_message(tmp_path: Path) -> None:
    async with dual(tmp_path, BOTH) as stand:
        number, named = await _asked(stand)
        first = {"in_reply_to": number, "to_agent": "alice", "text": "on it"}
        assert (await stand.bob.store(first)).json["elicitation_id"] == named
        assert (await stand.bob.store(first)).json["elicitation_id"] == named, "the same again has no second effect"
        last = await stand.bob.store({**first, "text": "done"})
        assert "elicitation_id" not in last.json
        stand.start(stand.alice)
        await stand.until(lambda: len(stand.alice.replies_to(number)) == 2)
        await stand.pass_s(3)
        said = [fields(item["data"]) for item in stand.alice.replies_to(number)]
        assert [data.get("data", data.get("text")) for data in said] == [{"text": "on it"}, "done"]


@pytest.mark.requirement("dual.expired")
async def test_an_answer_that_comes_too_late_still_reaches_the_sender(tmp_path: Path) -> None:
    async with dual(tmp_path, BOTH) as stand:
        number, named = await _asked(stand, timeout_seconds=3)
        await stand.pass_s(20)
        late = {"elicitation_id": named, "content": {"reply": "yes"}}
        assert [(await stand.bob.store(late)).status for _ in range(2)] == [200, 200]
        stand.start(stand.alice)
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        await stand.pass_s(3)
        (reply,) = stand.alice.replies_to(number)
        assert (reply["event_type"], fields(reply["data"])["data"]) == ("elicitation_response", {"reply": "yes"})


async def test_of_a_question_of_its_own_it_stays_too_late(tmp_path: Path) -> None:
    async with dual(tmp_path, BOTH) as stand:
        named = await stand.alice.ask("bob", timeout_seconds=3)
        await stand.pass_s(4)
        heard = await stand.bob.store({"elicitation_id": named, "content": {"reply": "yes"}})
        assert (heard.status, heard.problem["code"]) == (410, "elicitation_expired")


@pytest.mark.requirement("dual.fails")
async def test_a_reply_that_cannot_be_given_as_an_answer_is_a_message(tmp_path: Path) -> None:
    async with dual(tmp_path, BOTH) as stand:
        number, _ = await _asked(stand)
        await stand.bridge.set(fail_elicitation=True)
        reply = {"in_reply_to": number, "to_agent": "alice", "text": "yes"}
        heard = await stand.bob.store(reply)
        # Whether a failing Bridge has taken it nobody can say here, so the agent has to try again.
        assert heard.status in {200, 502}
        await stand.bridge.set(fail_elicitation=False)
        if heard.status == 502:
            heard = await stand.bob.store(reply)
        assert heard.status == 200
        stand.start(stand.alice)
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        await stand.pass_s(3)
        assert len(stand.alice.replies_to(number)) == 1


@pytest.mark.requirement("dual.answer")
async def test_a_decline_reaches_the_sender_as_such(tmp_path: Path) -> None:
    async with dual(tmp_path, cohorts("bob")) as stand:
        number, named = await _asked(stand)
        assert (await stand.bob.store({"elicitation_id": named, "response_type": "decline"})).status == 200
        stand.start(stand.alice)
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        assert fields(stand.alice.replies_to(number)[0]["data"])["response_type"] == "decline"


@pytest.mark.requirement("dual.answer")
@pytest.mark.parametrize("sender", ["legacy", "elicitation"])
async def test_where_the_schema_forbids_a_seal_the_reply_tells(tmp_path: Path, sender: str) -> None:
    async with dual(tmp_path, BOTH if sender == "elicitation" else cohorts("bob")) as stand:
        stand.start(stand.alice, stand.bob)
        await stand.pass_s(2)
        number = await stand.send(schema=STRICT)
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        await stand.pass_s(3)
        assert len(stand.alice.replies_to(number)) == 1
        notes = [item for item in stand.alice.items if b"elicitation_accepted" in orjson.dumps(item)]
        assert len(notes) == (sender == "legacy")


# Flags that change


@pytest.mark.requirement("dual.flips")
async def test_a_wait_that_the_bridge_holds_goes_on_here_when_its_agent_changes_cohort(tmp_path: Path) -> None:
    async with dual(tmp_path, cohorts("alice")) as stand:
        stand.start(stand.bob)
        await stand.until(lambda: stand.bridge.state.parked_waits == 1)
        await stand.flags(elicitation_whitelist=["alice", "bob"])
        number = await stand.send()
        await stand.until(lambda: bool(stand.bob.copies_of(number)))
        (copy,) = stand.bob.copies_of(number)
        assert copy["event_type"] == "elicitation_request"
        lines = [line for line in stand.bob.house.lines if line.get("agent_id") == "bob"]
        assert lines[0]["route"] == "elicitation"


@pytest.mark.requirement("dual.flips")
async def test_it_ends_when_the_agents_time_is_over(tmp_path: Path) -> None:
    async with dual(tmp_path, cohorts("alice")) as stand:
        waiting = stand.group.create_task(stand.bob.wait(timeout_s=10))
        await stand.until(lambda: stand.bridge.state.parked_waits == 1)
        began = stand.clock.now()
        await stand.pass_s(4)
        await stand.flags(elicitation_whitelist=["alice", "bob"])
        await stand.until(waiting.done)
        assert 9 <= stand.clock.now() - began <= 11
        assert stand.bob.items == []


@pytest.mark.requirement("dual.flips")
async def test_a_change_for_others_leaves_it_where_it_is(tmp_path: Path) -> None:
    async with dual(tmp_path, cohorts("alice")) as stand:
        stand.start(stand.bob)
        await stand.until(lambda: stand.bridge.state.parked_waits == 1)
        arrived = stand.bridge.state.arrived["GET /event/wait"]
        await stand.flags(elicitation_whitelist=["alice", "carol"])
        await stand.pass_s(2)
        assert stand.bridge.state.arrived["GET /event/wait"] == arrived


@pytest.mark.requirement("dual.one_copy")
async def test_whoever_is_legacy_here_and_not_at_the_senders_sidecar_reads_one_copy(tmp_path: Path) -> None:
    async with dual(tmp_path, cohorts("alice"), sidecars=2) as stand:
        await stand.alice.house.flags(elicitation_whitelist=["alice", "bob"])
        stand.start(stand.bob)
        await stand.until(lambda: stand.bridge.state.parked_waits == 1)
        number = await stand.send()
        await stand.until(lambda: bool(stand.bob.copies_of(number)))
        await stand.pass_s(3)
        await stand.until(lambda: len(stand.questions()) == 1)
        assert [item["event_type"] for item in stand.bob.copies_of(number)] == ["custom"]


@pytest.mark.requirement("dual.transparent")
async def test_where_elicitation_is_off_a_wait_is_relayed_as_it_is(tmp_path: Path) -> None:
    async with dual(tmp_path, {"flags.elicitation_enabled": "false"}) as stand:
        await stand.send()
        query = "agent_id=bob&since_sequence=1&timeout_seconds=5"
        call = {"headers": {"Accept-Encoding": "gzip"}, "token": stand.bob.token}
        direct = await stand.bridge.call("GET", f"/event/wait?{query}", token=stand.bob.token)
        heard = await stand.bob.house.call("GET", f"/event/wait?{query}", **call)  # type: ignore[arg-type]  # keywords
        assert heard.json["events"] == direct[1]["events"]
