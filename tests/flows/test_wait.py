"""Whole waits on the manual clock: what an agent gets, when, and in which way."""

import orjson
import pytest

from proxy.core.outcome import Result
from proxy.core.secret import Secret
from tests.support.fake_bridge import DENIED, refused
from tests.support.flow_stand import EVERYBODY, flow_stand, ids, items, read, sequences
from tests.support.manual_clock import settle

TIMEOUT_30 = b'{"events":[],"count":0,"waited_seconds":30,"status":"timeout"}'


class TestTime:
    @pytest.mark.requirement("exchange.deadline")
    async def test_a_wait_that_sees_nothing_ends_at_its_time_to_the_point(self) -> None:
        async with flow_stand() as made:
            task = await made.wait("bob", made.bridge.token("bob"))
            await made.clock.advance(29.999)
            assert not task.done()
            await made.clock.advance(0.001)
            assert (task.result().body, task.result().result) == (TIMEOUT_30, Result.TIMED_OUT)

    @pytest.mark.requirement("exchange.deadline")
    async def test_polls_that_hang_do_not_move_the_deadline(self) -> None:
        async with flow_stand() as made:
            for method in ("wait", "pending", "status"):
                made.bridge.gate(method)
            task = await made.wait("bob", made.bridge.token("bob"))
            await made.clock.advance(30)
            assert task.result().body == TIMEOUT_30

    @pytest.mark.requirement("wait.timeout_cap")
    async def test_a_wait_beyond_the_cap_ends_at_the_cap_and_repeats_what_was_asked(self) -> None:
        async with flow_stand() as made:
            task = await made.wait("bob", made.bridge.token("bob"), timeout_s=1000)
            await made.clock.advance(299.9)
            assert not task.done()
            await made.clock.advance(0.1)
            assert orjson.loads(task.result().body)["waited_seconds"] == 1000


class TestMessages:
    @pytest.mark.requirement("delivery.items_untouched")
    async def test_a_message_ends_the_wait_at_once_and_is_the_bytes_that_came(self) -> None:
        async with flow_stand() as made:
            task = await made.wait("bob", made.bridge.token("bob"))
            await made.clock.advance(5)
            made.bridge.store({"n": 1.50})
            await settle()
            assert task.result().found.items == (made.bridge.log[0].raw,)
            assert orjson.loads(task.result().body)["waited_seconds"] == 5.0
            assert list(task.result().found.created_at) == pytest.approx([made.clock.wall()])

    async def test_what_lies_there_already_is_delivered_ten_at_a_time(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for number in range(25):
                made.bridge.store({"n": number})
            got: list[object] = []
            for _ in range(3):
                task = await made.wait("bob", token, since=int(str(got[-1])) if got else 0)
                got += sequences(items(task))
            assert got == list(range(1, 26))

    async def test_a_question_that_was_ignored_does_not_come_before_the_messages_that_lie_there(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            made.feeds.question_created(made.bridge.ask("bob", timeout_s=3600))
            assert len(ids(items(await made.wait("bob", token)))) == 1
            await made.clock.advance(100)
            made.bridge.store({"n": 1})
            made.bridge.gate("wait")
            again = await made.wait("bob", token)
            await made.clock.advance(0.2)  # the question is listed long before the log is read
            made.bridge.ungate("wait")
            await settle()
            assert [item["event_type"] for item in items(again)] == ["elicitation_request", "custom"]

    async def test_an_ignored_question_alone_comes_again_when_no_message_does(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            made.feeds.question_created(made.bridge.ask("bob", timeout_s=3600))
            _ = await made.wait("bob", token)
            await made.clock.advance(100)
            again = await made.wait("bob", token)
            await made.clock.advance(1)
            assert [item["event_type"] for item in items(again)] == ["elicitation_request"]

    async def test_questions_that_nobody_answers_leave_half_of_each_reply_to_messages(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(4):
                made.bridge.store({})
            _ = await made.wait("bob", token, since=4, timeout_s=1)
            await made.clock.advance(1)
            for _ in range(7):  # read by the long poll that goes on, and kept for the next wait
                made.bridge.store({})
            await settle()
            for _ in range(12):
                made.feeds.question_created(made.bridge.ask("bob"))
            got = items(await made.wait("bob", token, since=4))
            kinds = [item["event_type"] for item in got]
            assert kinds == ["elicitation_request"] * 5 + ["custom"] * 5

    @pytest.mark.requirement("delivery.question_item")
    async def test_questions_stand_before_messages_and_never_above_the_cursor(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(4):
                made.bridge.store({})
            nothing = await made.wait("bob", token, since=4, timeout_s=1)
            await made.clock.advance(1)
            assert nothing.result().result is Result.TIMED_OUT
            for _ in range(3):  # read by the long poll that goes on, and kept for the next wait
                made.bridge.store({})
            await settle()
            made.feeds.question_created(made.bridge.ask("bob"))
            got = items(await made.wait("bob", token, since=4))
            assert [item["event_type"] for item in got] == ["elicitation_request", "custom", "custom", "custom"]
            assert sequences(got) == [4, 5, 6, 7]


class TestQuestions:
    @pytest.mark.requirement("questions.seen_at_creation")
    async def test_a_question_created_before_our_eyes_wakes_the_wait_without_a_poll(self) -> None:
        async with flow_stand() as made:
            task = await made.wait("bob", made.bridge.token("bob"), since=3)
            await made.clock.advance(10.05)
            polls = made.bridge.count("pending")
            question = made.bridge.ask("bob")
            made.feeds.question_created(question)
            await settle()
            assert made.bridge.count("pending") == polls
            (item,) = items(task)
            assert ids([item]) == [question.elicitation_id]
            assert item["sequence"] == 3
            assert task.result().found.elicitation_ids == (question.elicitation_id,)

    async def test_a_question_that_only_the_bridge_knows_is_found_by_polling(self) -> None:
        async with flow_stand() as made:
            task = await made.wait("bob", made.bridge.token("bob"))
            await made.clock.advance(10.05)
            question = made.bridge.ask("bob")
            await made.clock.advance(1.0)
            assert ids(items(task)) == [question.elicitation_id]

    @pytest.mark.requirement("feed.trusted_only")
    async def test_a_forged_token_never_gets_a_question_but_the_bridges_own_words(self) -> None:
        async with flow_stand() as made:
            made.feeds.question_created(made.bridge.ask("bob"))
            gate = made.bridge.gate("wait")
            made.bridge.gate("pending")
            task = await made.wait("bob", Secret("Bearer forged"))
            await gate.reached()
            assert not task.done()
            made.bridge.ungate("pending")
            made.bridge.ungate("wait")
            await settle()
            served = task.result()
            assert (served.status, served.body, served.content_type) == (403, DENIED, "application/json")
            assert (served.result, served.found.elicitation_ids) == (Result.RELAYED, ())
            assert list(made.feeds.of("bob")) == []

    @pytest.mark.requirement("feed.trusted_only")
    async def test_a_token_that_dies_gets_no_question_while_its_long_poll_still_hangs(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            task = await made.wait("bob", token)
            await made.clock.advance(5)
            made.bridge.tokens.clear()
            await made.clock.advance(2.5)
            made.feeds.question_created(made.bridge.ask("bob"))
            await settle()
            assert not task.done()
            await made.clock.advance(20)
            assert task.result().status == 403

    @pytest.mark.requirement("questions.redelivery")
    async def test_a_question_is_offered_once_and_again_after_the_time_for_an_answer(self) -> None:
        async with flow_stand(redeliver_s=30) as made:
            token = made.bridge.token("bob")
            question = made.bridge.ask("bob")
            assert ids(items(await made.wait("bob", token))) == [question.elicitation_id]
            again = await made.wait("bob", token, timeout_s=60)
            await made.clock.advance(29.9)
            assert not again.done()
            await made.clock.advance(1.2)
            assert ids(items(again)) == [question.elicitation_id]

    @pytest.mark.requirement("questions.at_least_once")
    async def test_a_reply_that_was_cut_gives_its_questions_back_to_a_wait_that_is_parked(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            question = made.bridge.ask("bob")
            cut = await made.wait("bob", token)
            parked = await made.wait("bob", token)
            assert cut.done()
            assert not parked.done()
            made.feeds.take_back(cut.result().found.elicitation_ids)
            await settle()
            assert ids(items(parked)) == [question.elicitation_id]

    async def test_giving_back_what_nobody_knows_is_harmless(self) -> None:
        async with flow_stand() as made:
            made.feeds.take_back(made.bridge.ask("bob").elicitation_id for _ in range(2))

    async def test_of_two_waits_of_one_agent_one_gets_the_question(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            tasks = [await made.wait("bob", token) for _ in range(2)]
            made.feeds.question_created(made.bridge.ask("bob"))
            await settle()
            assert sorted(task.done() for task in tasks) == [False, True]

    async def test_ten_questions_fill_a_reply_and_the_messages_come_with_the_next(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            asked = [made.bridge.ask("bob").elicitation_id for _ in range(12)]
            gate = made.bridge.gate("wait")
            first = await made.wait("bob", token)
            assert ids(items(first)) == asked[:10]
            made.bridge.store({})
            gate.open()
            second = await made.wait("bob", token)
            assert ids(items(second)[:2]) == asked[10:]


class TestPeek:
    async def test_a_wait_of_no_time_gets_the_questions_that_are_open(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            question = made.bridge.ask("bob")
            served = await made.peek("bob", token, since=7)
            assert served is not None
            assert (ids(read(served)), sequences(read(served))) == ([question.elicitation_id], [7])
            assert await made.peek("bob", token) is None

    async def test_without_a_question_the_bridge_shall_answer(self) -> None:
        async with flow_stand() as made:
            assert await made.peek("bob", made.bridge.token("bob")) is None

    @pytest.mark.requirement("feed.trusted_only")
    async def test_a_forged_token_gets_nothing_and_leaves_nothing_behind(self) -> None:
        async with flow_stand() as made:
            made.feeds.question_created(made.bridge.ask("bob"))
            for number in range(50):
                assert await made.peek("bob", Secret(f"Bearer forged {number}")) is None
            assert list(made.feeds.of("bob")) == []

    @pytest.mark.requirement("feed.rate")
    async def test_waits_of_no_time_in_a_row_do_not_ask_the_bridge_each_time(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(20):
                await made.peek("bob", token)
            assert made.bridge.count("pending") == 1
            made.feeds.question_created(made.bridge.ask("bob"))
            assert await made.peek("bob", token) is not None

    async def test_a_failing_bridge_leaves_it_to_the_relay(self) -> None:
        async with flow_stand(breaker_failures=1) as made:
            token = made.bridge.token("bob")
            await made.known({"bob": token})
            asked = made.bridge.count("pending")
            made.bridge.fails("pending", lambda: refused(500), times=1)
            assert await made.peek("bob", token) is None
            made.feeds.question_created(made.bridge.ask("bob"))
            await made.clock.advance(2)
            # The breaker is open now: it is not even asked.
            ask = await made.peek("bob", token)
            assert (ask, made.bridge.count("pending")) == (None, asked + 1)

    async def test_a_bridge_that_hangs_is_given_up_in_the_time_for_a_peek(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proxy.flows.question_poll.PEEK_S", 0.01)
        async with flow_stand() as made:
            gate = made.bridge.gate("pending")
            assert await made.peek("bob", made.bridge.token("bob")) is None
            assert gate.arrived == 1
            assert made.bridge.running["pending"] == 0


@pytest.mark.requirement("outcome.words")
async def test_replies_of_the_bridge_without_anything_for_the_agent_count_as_saved_wakes() -> None:
    async with flow_stand(flags=EVERYBODY) as made:
        task = await made.wait("bob", made.bridge.token("bob"))
        for _ in range(3):
            made.bridge.store({"elicitation_type": "elicitation_requested", "nonce": "n"})
            await made.clock.advance(1)
        assert not task.done()
        made.bridge.store({"n": 1})
        await settle()
        assert task.result().empty_wakes == 3
        assert sequences(items(task)) == [4]
