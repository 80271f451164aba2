"""The doors of answers and questions, in a whole house before a development Bridge that keeps the same time."""

import asyncio
from pathlib import Path

import pytest

from proxy.devbridge.elicitations import ElicitationBook
from proxy.devbridge.settings import Switches
from tests.support.asking import RED, answer, ask_bob
from tests.support.house import fields, stand, until

BOTH_WAYS = pytest.mark.parametrize("way", ["store", "respond"])


class TestAnswers:
    @pytest.mark.requirement("answers.back_to_asker")
    @BOTH_WAYS
    async def test_an_answer_goes_up_once_and_reaches_the_asker(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            waiting = await made.parked("alice", asked.alice, timeout_seconds=30)
            heard = await asked.give(way)
            assert heard.status == 200, heard
            assert await asked.status() == "accepted"
            assert made.arrived("POST /elicitation/respond") == 1
            assert made.arrived("POST /event/store") == 0
            (item,) = (await waiting).items
            assert item["event_type"] == "elicitation_response"
            assert item["source_agent"] == "bob"
            assert fields(item["data"])["elicitation_id"] == asked.named
            assert fields(item["data"])["data"] == RED
            assert (await asked.outcomes())["accepted"] == 1
            line = next(line for line in made.house.lines if line["door"] == f"http_{way}")
            assert (line["event"], line["agent_id"], line["status"]) == ("answered", "bob", 200)

    @pytest.mark.requirement("answers.replies")
    async def test_an_answer_stored_is_acknowledged_like_a_stored_event(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            own = (await made.bridge.call("POST", "/event/store", token=asked.bob, body={"data": {}}))[1]
            heard = await asked.give("store")
            assert {key: type(heard.json[key]) for key in own} == {key: type(value) for key, value in own.items()}
            assert heard.json["elicitation_id"] == asked.named
            assert heard.headers["Content-Type"] == "application/json"
            assert int(str(heard.json["sequence"])) <= len(made.bridge.state.log)

    @pytest.mark.requirement("answers.replies")
    async def test_an_answer_responded_is_acknowledged_like_by_the_bridge(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            heard = await asked.give("respond")
            assert heard.json == {"status": "success", "message": f"Elicitation {asked.named} accepted"}

    @pytest.mark.requirement("answers.stored")
    @pytest.mark.parametrize(
        "data",
        [
            {"in_reply_to": "ID", "colour": "red"},
            {"elicitation_id": "ID", "colour": "red"},
            {"elicitation_id": "ID", "response_type": "accept", "data": {"colour": "red"}, "to": "alice"},
        ],
    )
    async def test_the_legacy_ways_to_name_a_question_all_answer_it(
        self, tmp_path: Path, data: dict[str, object]
    ) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            told = {key: asked.named if value == "ID" else value for key, value in data.items()}
            assert (await made.store(asked.bob, told)).status == 200
            assert await asked.status() == "accepted"

    @pytest.mark.requirement("door.invalid_answer")
    @BOTH_WAYS
    async def test_an_invalid_answer_names_the_path_and_leaves_the_question_open(
        self, tmp_path: Path, way: str
    ) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            heard = await asked.give(way, data={"colour": 7})
            assert heard.status == 422
            assert heard.problem["code"] == "answer_invalid"
            assert "colour" in str(heard.problem["path"])
            assert "colour" in str(heard.problem["detail"])
            assert heard.problem["retryable"] is False
            assert await asked.status() == "pending"
            assert made.arrived("POST /elicitation/respond") == 0
            assert (await asked.give(way)).status == 200
            assert await asked.outcomes() == {"seen": 1, "invalid": 1, "accepted": 1}
            assert made.house.lines[-2]["event"] == "refused"

    @pytest.mark.requirement("answers.addressee_only")
    @BOTH_WAYS
    async def test_another_agent_may_not_answer(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            mallory = await made.bridge.token("mallory")
            heard = await answer(made, way, mallory, asked.named, responding_agent="mallory")
            assert heard.status == 403
            assert heard.problem["code"] == "answer_forbidden"
            assert await asked.status() == "pending"
            samples = await made.house.metrics()
            assert samples["elicit_sidecar_impersonations_total"] == 1
            assert samples['elicit_sidecar_errors_total{code="answer_forbidden",fault="agent"}'] == 1
            assert (await asked.give(way)).status == 200

    @pytest.mark.requirement("answers.first_wins")
    @BOTH_WAYS
    async def test_the_same_answer_again_is_the_same_success_without_effect(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            first, second = await asked.give(way), await asked.give(way)
            assert (first.status, second.status) == (200, 200)
            assert list(first.json) == list(second.json)
            assert made.arrived("POST /elicitation/respond") == 1
            other_way = "store" if way == "respond" else "respond"
            assert (await asked.give(other_way)).status == 200
            assert (await asked.outcomes())["duplicate"] == 2

    @pytest.mark.requirement("answers.once_upstream")
    @BOTH_WAYS
    async def test_two_equal_answers_at_once_go_up_once(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            await made.bridge.set(hang_elicitation=True)
            async with asyncio.TaskGroup() as group:
                both = [group.create_task(asked.give(way)) for _ in range(2)]
                await until(lambda: made.arrived("POST /elicitation/respond") == 1)
                await made.bridge.set(hang_elicitation=False)
            assert [task.result().status for task in both] == [200, 200]
            assert made.arrived("POST /elicitation/respond") == 1

    @pytest.mark.requirement("answers.first_wins")
    @BOTH_WAYS
    async def test_a_different_second_answer_is_a_conflict(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            await asked.give(way)
            heard = await asked.give(way, data={"colour": "blue"})
            assert heard.status == 409
            assert heard.problem["code"] == "answer_conflict"
            assert made.arrived("POST /elicitation/respond") == 1
            snapshot = (await made.house.admin("GET", "/elicitation/metrics")).json
            security = snapshot["security"]
            assert isinstance(security, dict)
            assert security["answer_conflicts"] == 1

    @pytest.mark.requirement("questions.deadline")
    @BOTH_WAYS
    async def test_an_answer_after_the_deadline_is_told_so(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made, timeout_seconds=5)
            made.clock.advance(6)
            heard = await asked.give(way)
            assert heard.status == 410
            assert heard.problem["code"] == "elicitation_expired"
            assert "1.0 s ago" in str(heard.problem["detail"])
            assert (await asked.outcomes())["expired"] == 1

    @BOTH_WAYS
    async def test_a_question_can_be_declined(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            assert (await asked.give(way, response_type="decline", data=None)).status == 200
            assert await asked.status() == "declined"
            assert (await asked.outcomes())["declined"] == 1

    @pytest.mark.requirement("answers.cancel_travels_as_decline")
    @BOTH_WAYS
    async def test_a_question_can_be_cancelled_by_its_addressee(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            assert (await asked.give(way, response_type="cancel", data=None)).status == 200
            # The Bridge knows no cancel by the addressee: it travels as a decline.
            assert await asked.status() == "declined"
            assert (await asked.outcomes())["cancelled"] == 1

    @pytest.mark.requirement("answers.not_ours")
    async def test_the_askers_own_cancel_is_the_bridges_business(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            heard = await made.respond(
                asked.alice, asked.named, responding_agent="alice", response_type="cancel", data=None
            )
            assert heard.json == {"status": "success", "message": f"Elicitation {asked.named} canceled"}
            assert await asked.status() == "cancelled"
            assert made.house.lines[-1]["event"] == "relayed"
            # The answer that comes too late is told so.
            assert (await asked.give("respond")).status in {409, 410}

    @pytest.mark.requirement("answers.clear_refusal")
    @BOTH_WAYS
    async def test_an_answer_that_cannot_be_read_is_refused_only_for_a_question_of_ours(
        self, tmp_path: Path, way: str
    ) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            heard = await asked.give(way, response_type="maybe")
            assert heard.status == 400
            assert heard.problem["code"] == "invalid_input"
            assert await asked.status() == "pending"
            other = await answer(made, way, asked.bob, "elicit_of_nobody", response_type="maybe")
            # Not ours to judge: the Bridge stores the one and refuses the other, in its own words.
            assert (other.status, other.headers["Content-Type"]) == (200 if way == "store" else 500, "application/json")
            assert made.house.lines[-1]["event"] == "relayed"

    @pytest.mark.requirement("answers.not_ours")
    @BOTH_WAYS
    async def test_without_a_token_the_bridge_refuses_in_its_own_words(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            heard = await answer(made, way, "", asked.named)
            assert heard.status == 403
            assert heard.json == {"detail": "Not authenticated"}
            assert await asked.status() == "pending"

    @pytest.mark.requirement("answers.released")
    @BOTH_WAYS
    async def test_an_answer_the_bridge_does_not_take_may_be_given_again(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            await made.bridge.set(fail_elicitation=True)
            heard = await asked.give(way)
            assert heard.status == 502
            assert heard.problem["code"] == "answer_undelivered"
            assert heard.problem["retryable"] is True
            assert heard.headers["Retry-After"] == "1"
            await made.bridge.set(fail_elicitation=False)
            assert (await asked.give(way)).status == 200
            outcomes = await asked.outcomes()
            assert (outcomes["undelivered"], outcomes["accepted"]) == (1, 1)

    @pytest.mark.requirement("answers.released")
    @BOTH_WAYS
    async def test_after_the_bridge_lost_its_memory_the_agent_has_its_words_until_the_question_expires(
        self, tmp_path: Path, way: str
    ) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made, timeout_seconds=60)
            state = made.bridge.state
            state.book = ElicitationBook(state.append, b"of another process", 10.0)
            state.book.start((), state.pace.wall_s())
            for _ in range(2):
                heard = await asked.give(way)
                assert (heard.status, heard.problem["code"]) == (502, "answer_undelivered")
                assert heard.problem["retryable"] is True
                assert "Failed to respond to elicitation" in str(heard.problem["detail"])
            made.clock.advance(61)
            assert (await asked.give(way)).status == 410
            assert (await asked.outcomes())["expired"] == 1

    @pytest.mark.requirement("answers.unclear_outcome")
    @BOTH_WAYS
    async def test_an_answer_whose_reply_was_lost_counts_once(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            await made.bridge.set(lose_respond_reply=True)
            assert (await asked.give(way)).status == 200
            assert await asked.status() == "accepted"
            assert made.arrived("POST /elicitation/respond") == 1

    @pytest.mark.requirement("answers.once_upstream")
    @pytest.mark.parametrize("is_slow", [False, True])
    async def test_an_agent_that_leaves_while_its_answer_is_on_its_way_has_given_it_unless_the_bridge_is_too_slow(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_slow: bool
    ) -> None:
        if is_slow:
            monkeypatch.setattr("proxy.downstream.connection.CARRY_OUT_S", 0.01)
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            await made.bridge.set(hang_elicitation=True)
            task = asyncio.get_running_loop().create_task(asked.give("respond"))
            await until(lambda: made.arrived("POST /elicitation/respond") == 1)
            task.cancel()
            if is_slow:
                await until(lambda: made.house.lines[-1]["event"] == "gone")
            await made.bridge.set(hang_elicitation=False)
            if not is_slow:
                await until(lambda: made.house.lines[-1]["event"] == "answered")
            assert (await asked.give("respond")).status == 200
            assert await asked.status() == "accepted"

    @BOTH_WAYS
    async def test_after_a_restart_of_the_sidecar_an_answer_is_still_taken(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            asked = (await made.bridge.ask(alice))[1]
            heard = await answer(made, way, bob, asked["elicitation_id"])
            assert heard.status == 200, heard
            assert await made.status(alice, asked["elicitation_id"]) == "accepted"
            assert made.arrived("POST /event/store") == 0

    async def test_while_the_bridge_cannot_tell_an_answer_to_an_unknown_question_is_no_message(
        self, tmp_path: Path
    ) -> None:
        async with stand(tmp_path, switches=Switches(fail_elicitation=True)) as made:
            bob = await made.bridge.token("bob")
            heard = await made.store(bob, {"elicitation_id": "elicit_x", "colour": "red"})
            assert (heard.status, heard.problem["code"]) == (502, "answer_undelivered")
            assert heard.problem["retryable"] is True
            assert made.arrived("GET /elicitation/pending") == 1
            assert made.arrived("POST /event/store") == 0

    async def test_while_the_bridge_cannot_tell_what_only_refers_to_something_is_a_message(
        self, tmp_path: Path
    ) -> None:
        async with stand(tmp_path, switches=Switches(fail_elicitation=True)) as made:
            bob = await made.bridge.token("bob")
            heard = await made.store(bob, {"in_reply_to": "note_x", "colour": "red"})
            assert heard.json["status"] == "stored"
            assert made.arrived("POST /event/store") == 1
