"""The number in the reply to a stored event: after a restart that renumbered it is the one that waits show."""

from pathlib import Path

import pytest

from tests.support.asking import ask_bob
from tests.support.house import fields, stand, until
from tests.support.renumbering import numbers, renumbered

OTHERS = {"flags.elicitation_enabled": "true", "flags.elicitation_denylist": "bob"}


@pytest.mark.requirement("sequences.store_reply")
@pytest.mark.parametrize(
    "flags",
    [{"elicitation_percentage": 100}, {"elicitation_percentage": 0}, {"elicitation_enabled": False}],
    ids=["elicitation", "legacy", "off"],
)
class TestRelayed:
    async def test_it_is_the_number_under_which_waits_show_the_event(
        self, tmp_path: Path, flags: dict[str, object]
    ) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            await renumbered(made, bob)
            await made.house.flags(**flags)
            stored = await made.store(alice, {"mine": 1}, agent_id="alice")
            assert stored.status == 200
            assert stored.json["sequence"] == 9
            task = made.wait("bob", bob, since_sequence=8, timeout_seconds=30)
            await made.house.until_parked(1)
            made.clock.advance(1)
            (item,) = (await task).items
            assert (item["sequence"], fields(item["data"])["mine"]) == (9, 1)
            assert int(stored.headers["Content-Length"]) == len(stored.body)

    async def test_the_rest_of_the_reply_is_as_the_bridge_has_written_it(
        self, tmp_path: Path, flags: dict[str, object]
    ) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            await renumbered(made, bob)
            await made.house.flags(**flags)
            body = {"event_type": "CUSTOM", "agent_id": "bob", "data": {}}
            direct = (await made.bridge.call("POST", "/event/store", token=bob, body=body))[1]
            through = (await made.store(bob, {})).json
            assert list(through) == list(direct)
            assert direct["sequence"] == 3
            assert through["sequence"] == 10
            assert {**through, "event_id": 0, "sequence": 0} == {**direct, "event_id": 0, "sequence": 0}
            refused = await made.house.call("POST", "/event/store", token=bob, raw=b"{")
            assert refused.status == 422

    @pytest.mark.requirement("sequences.restart")
    async def test_an_agent_that_begins_anew_counts_in_the_samenumbers(
        self, tmp_path: Path, flags: dict[str, object]
    ) -> None:
        async with stand(tmp_path) as made:
            bob, carol = await made.bridge.token("bob"), await made.bridge.token("carol")
            await renumbered(made, bob)
            await made.house.flags(**flags)
            assert numbers(await made.wait("carol", carol, since_sequence=0, timeout_seconds=30)) == [7, 8]
            task = made.wait("carol", carol, since_sequence=8, timeout_seconds=30)
            await made.house.until_parked(1)
            await until(lambda: made.bridge.state.parked_waits > 0)
            assert (await made.store(bob, {"more": 1})).json["sequence"] == 9
            made.clock.advance(1)
            assert numbers(await task) == [9]


@pytest.mark.requirement("sequences.store_reply")
async def test_a_send_that_becomes_a_question_is_known_by_the_bridges_own_number(tmp_path: Path) -> None:
    async with stand(tmp_path) as made:
        alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
        await renumbered(made, bob)
        task = made.wait("bob", bob, since_sequence=8, timeout_seconds=30)
        await made.house.until_parked(1)
        body = {"event_type": "question", "agent_id": "alice", "data": {"to": "bob", "message": "Which colour?"}}
        stored = await made.house.call("POST", "/event/store", token=alice, body=body)
        assert stored.json["sequence"] == 9
        await until(lambda: made.arrived("POST /elicitation/create") == 1)
        made.clock.advance(1)
        (item,) = (await task).items
        assert item["event_type"] == "elicitation_request"
        assert fields(fields(item["data"])["sent"])["message"] == "Which colour?"


@pytest.mark.requirement("answers.number")
class TestStoredHere:
    async def test_an_answer_has_the_place_of_its_agent_whatever_others_have_read(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            carol = await made.bridge.token("carol")
            await made.wait("bob", asked.bob, since_sequence=0, timeout_seconds=30)
            for number in range(3):
                await made.store(asked.alice, {"n": number}, agent_id="alice")
            heard = await made.wait("carol", carol, since_sequence=1, timeout_seconds=30)
            newest = max(int(str(number)) for number in numbers(heard))
            answered = int(str((await asked.give("store")).json["sequence"]))
            assert answered < newest
            heard = await made.wait("bob", asked.bob, since_sequence=answered, timeout_seconds=30)
            assert [fields(item["data"]).get("n") for item in heard.items if "n" in fields(item["data"])] == [0, 1, 2]

    async def test_an_agent_that_was_shown_messages_is_not_shown_them_again(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            for number in range(3):
                await made.store(alice, {"n": number}, agent_id="alice")
            shown = numbers(await made.wait("bob", bob, since_sequence=0, timeout_seconds=30))
            asked = await made.ask(alice)
            stored = await made.store(bob, {"elicitation_id": asked["elicitation_id"], "content": {"colour": "red"}})
            assert stored.json["sequence"] == shown[-1]

    async def test_an_agent_on_the_legacy_way_has_the_place_that_its_relayed_waits_gave_it(
        self, tmp_path: Path
    ) -> None:
        async with stand(tmp_path, flags=OTHERS) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            for number in range(3):
                await made.store(alice, {"n": number}, agent_id="alice")
            shown = numbers(await made.wait("bob", bob, since_sequence=1, timeout_seconds=30))
            asked = await made.ask(alice)
            stored = await made.store(bob, {"elicitation_id": asked["elicitation_id"], "content": {"colour": "red"}})
            assert (stored.json["response_type"], stored.json["sequence"]) == ("accept", shown[-1])
