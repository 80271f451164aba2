"""The two polls of one agent: how many there are, when they begin anew, and when they end."""

import asyncio
from collections.abc import Sequence

import orjson
import pytest

from proxy.core.ids import AgentId
from proxy.core.outcome import Result
from proxy.core.secret import Secret
from proxy.flows.wait import WaitServed
from tests.support.fake_bridge import FakeBridge
from tests.support.flow_stand import FlowStand, flow_stand, items, sequences
from tests.support.manual_clock import settle


def _sinces(bridge: FakeBridge) -> list[int]:
    return [call.since for call in bridge.calls if call.method == "wait"]


class TestSharing:
    @pytest.mark.requirement("feed.one_poll")
    async def test_many_waits_of_an_agent_share_one_poll_of_each_kind(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            made.bridge.store({})
            tasks = [await made.wait("bob", token, since=1) for _ in range(50)]
            await made.clock.advance(12)
            assert (made.bridge.peak["wait"], made.bridge.peak["pending"]) == (1, 1)
            assert made.bridge.count("wait") == 2  # which log it is, and the long poll
            made.bridge.store({"n": 1})
            await settle()
            assert [sequences(items(task)) for task in tasks] == [[2]] * 50

    async def test_each_token_has_its_own_polls(self) -> None:
        async with flow_stand() as made:
            for _ in range(2):
                _ = await _parked(made)
            await settle()
            assert (made.bridge.running["wait"], len(list(made.feeds.of("bob")))) == (2, 2)

    @pytest.mark.requirement("feed.lower_cursor")
    async def test_a_wait_with_a_lower_cursor_begins_the_poll_anew_and_skips_nothing(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(20):
                made.bridge.store({})
            high = await made.wait("bob", token, since=20)
            assert _sinces(made.bridge) == [0, 20]
            low = await made.wait("bob", token, since=3)
            assert sequences(items(low)) == list(range(4, 14))
            assert not high.done()
            await made.clock.advance(0.1)
            assert made.bridge.running["wait"] == 1
            made.bridge.store({})
            await settle()
            assert sequences(items(high)) == [21]

    @pytest.mark.requirement("feed.lower_cursor")
    async def test_a_batch_under_way_never_carries_a_lower_cursor_past_what_it_has_not_read(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(20):
                made.bridge.store({})
            high = await made.wait("bob", token, since=20)
            gate = made.bridge.gate("wait", after=True)
            made.bridge.store({})
            await gate.reached()
            # The batch [21] has been read and is about to arrive when the lower cursor comes.
            made.bridge.ungate("wait", after=True)
            low = await made.wait("bob", token, since=3)
            await made.clock.advance(0.1)
            assert sequences(items(low)) == list(range(4, 14))
            assert sequences(items(high)) == [21]

    @pytest.mark.requirement("feed.lower_cursor")
    async def test_a_cursor_that_comes_while_a_question_is_being_fetched_skips_nothing(self) -> None:
        async with flow_stand() as made:
            made.bridge.writes_notes = True
            token = made.bridge.token("bob")
            for _ in range(5):
                made.bridge.store({})
            high = await made.wait("bob", token, since=5)
            await made.clock.advance(1)
            gate = made.bridge.gate("pending")
            question = made.bridge.ask("bob")  # its note is number 6
            made.bridge.store({})
            await gate.reached()
            low = await made.wait("bob", token, since=2)
            gate.open()
            made.bridge.ungate("pending")
            await made.clock.advance(0.1)
            named = f'"{question.elicitation_id}"'
            assert [named in str(orjson.dumps(item)) for item in items(low) + items(high)].count(True) == 1
            messages = [item["sequence"] for item in items(low) if named not in str(orjson.dumps(item))]
            assert messages in ([], [3, 4, 5, 7])  # never 7 without what stands before it

    async def test_many_reasons_to_look_again_at_once_begin_the_poll_anew_once(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            _ = await made.wait("bob", token, since=9)
            for _ in range(3):
                made.feeds.message_stored("bob")
            await asyncio.sleep(0)
            made.feeds.message_stored("bob")
            await asyncio.sleep(0)
            made.feeds.message_stored("bob")
            await settle()
            assert made.bridge.running["wait"] == 1
            assert len(_sinces(made.bridge)) <= 4
            assert made.recorder.defects == []

    async def test_a_message_stored_before_our_eyes_is_fetched_at_once_although_the_bridge_looks_only_now_and_then(
        self,
    ) -> None:
        async with flow_stand() as made:
            made.bridge.tick_s = 1.0
            task = await made.wait("bob", made.bridge.token("bob"))
            await made.clock.advance(1.3)
            made.bridge.store({})
            made.feeds.message_stored("bob")
            await settle()
            assert sequences(items(task)) == [1]

    async def test_nobody_looks_again_for_an_agent_that_is_not_here(self) -> None:
        async with flow_stand() as made:
            made.feeds.message_stored("nobody")
            await settle()
            assert made.bridge.calls == []


async def _parked(made: FlowStand, agent_id: str = "bob", *, since: int = 0) -> "asyncio.Task[WaitServed]":
    task = await made.wait(agent_id, made.bridge.token(agent_id), since=since)
    assert not task.done()
    return task


class TestEnds:
    @pytest.mark.requirement("feed.disconnect")
    async def test_an_agent_that_hangs_up_releases_both_polls_at_once(self) -> None:
        async with flow_stand() as made:
            task = await _parked(made)
            gate = made.bridge.gate("pending")
            await made.clock.advance(1)
            await gate.reached()
            task.cancel()
            await settle()
            assert (made.bridge.running["wait"], made.bridge.running["pending"]) == (0, 0)
            assert made.feeds.parked == 0
            assert made.clock.waiting() == []

    @pytest.mark.requirement("feed.disconnect")
    async def test_an_agent_that_hangs_up_leaves_the_polls_to_its_other_waits(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            first, second = await made.wait("bob", token), await made.wait("bob", token)
            first.cancel()
            made.bridge.store({})
            await settle()
            assert sequences(items(second)) == [1]

    @pytest.mark.requirement("feed.linger")
    async def test_after_a_reply_the_long_poll_goes_on_and_its_batch_reaches_the_next_wait(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            made.bridge.store({})
            task = await made.wait("bob", token, since=1, timeout_s=2)
            await made.clock.advance(2)
            assert task.result().result is Result.TIMED_OUT
            assert (made.bridge.running["wait"], made.bridge.running["pending"]) == (1, 0)
            made.bridge.store({})
            await settle()
            assert made.bridge.running["wait"] == 0
            gate = made.bridge.gate("wait")
            assert sequences(items(await made.wait("bob", token, since=1))) == [2]
            gate.open()

    @pytest.mark.requirement("feed.linger")
    async def test_a_long_poll_that_brings_nothing_ends_with_its_time(self) -> None:
        async with flow_stand(hold_s=20) as made:
            _ = await made.wait("bob", made.bridge.token("bob"), timeout_s=2)
            await made.clock.advance(22)
            assert made.bridge.running["wait"] == 0
            polls = made.bridge.count("wait")
            await made.clock.advance(60)
            assert made.bridge.count("wait") == polls

    @pytest.mark.requirement("feed.linger")
    @pytest.mark.parametrize(("since", "expected"), [(4, [5, 6, 7, 8]), (5, [6, 7, 8]), (6, [7, 8]), (9, [])])
    async def test_the_next_wait_gets_what_was_kept_whatever_its_cursor(self, since: int, expected: list[int]) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(5):
                made.bridge.store({})
            first = await made.wait("bob", token, since=5, timeout_s=1)
            await made.clock.advance(1)
            assert first.done()
            for _ in range(3):
                made.bridge.store({})
            await settle()
            task = await made.wait("bob", token, since=since, timeout_s=1)
            await made.clock.advance(1)
            assert sequences(items(task)) == expected

    @pytest.mark.requirement("feed.linger")
    async def test_what_was_kept_for_long_is_read_again(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            _ = await made.wait("bob", token, timeout_s=1)
            await made.clock.advance(1)
            made.bridge.store({})
            await made.clock.advance(6)
            polls = made.bridge.count("wait")
            assert sequences(items(await made.wait("bob", token))) == [1]
            assert made.bridge.count("wait") >= polls + 2

    @pytest.mark.requirement("feed.lower_cursor")
    async def test_a_lower_cursor_that_joins_a_lingering_poll_begins_it_anew(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(9):
                made.bridge.store({})
            _ = await made.wait("bob", token, since=9, timeout_s=1)
            await made.clock.advance(1)
            assert made.bridge.running["wait"] == 1
            assert sequences(items(await made.wait("bob", token, since=2))) == list(range(3, 10))

    async def test_a_poll_that_takes_long_to_end_does_not_get_in_the_way_of_the_next(self) -> None:
        async with flow_stand() as made:
            made.bridge.lingers = 8
            token = made.bridge.token("bob")
            for _ in range(9):
                made.bridge.store({})
            task = await made.wait("bob", token, since=9)
            await made.clock.advance(1)
            task.cancel()
            await asyncio.sleep(0)
            again = await made.wait("bob", token, since=9)
            low = await made.wait("bob", token, since=3)
            await settle()
            assert (sequences(items(low)), again.done()) == ([4, 5, 6, 7, 8, 9], False)
            assert made.bridge.running["wait"] == 1

    async def test_an_end_and_a_begin_in_one_turn_leave_one_poll_that_can_be_cut(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(9):
                made.bridge.store({})
            task = await made.wait("bob", token, since=9)
            task.cancel()
            again = await made.wait("bob", token, since=9)
            assert made.bridge.running["wait"] == 1
            low = await made.wait("bob", token, since=3)
            assert (sequences(items(low)), again.done()) == ([4, 5, 6, 7, 8, 9], False)


class TestEmptyStretches:
    @pytest.mark.requirement("feed.empty_stretch")
    async def test_a_long_stretch_without_anything_for_the_agent_is_read_once_and_not_by_each_wait(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(100):
                made.bridge.store({"elicitation_type": "elicitation_requested"})
            first = await made.wait("bob", token, timeout_s=5)
            await made.clock.advance(5)
            assert first.result().result is Result.TIMED_OUT
            assert max(_sinces(made.bridge)) == 100
            before = len(_sinces(made.bridge))
            second = await made.wait("bob", token, timeout_s=5)
            made.bridge.store({"n": 1})
            await settle()
            assert sequences(items(second)) == [101]
            assert set(_sinces(made.bridge)[before:]) <= {0, 100, 101}

    @pytest.mark.requirement("feed.empty_stretch")
    async def test_a_stretch_that_is_longer_than_one_wait_can_read_is_read_by_several(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(600):
                made.bridge.store({"elicitation_type": "elicitation_requested"})
            last = made.bridge.store({"n": 1})
            got: list[object] = []
            for _ in range(12):
                task = await made.wait("bob", token, timeout_s=10)
                await made.clock.advance(10)
                got += sequences(items(task))
            assert last in got

    async def test_a_wait_on_the_legacy_way_reads_the_stretch_as_it_is(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            made.bridge.store({"elicitation_type": "elicitation_requested"})
            _ = await made.wait("bob", token, timeout_s=1)
            await made.clock.advance(1)
            made.breaker.incapable(made.clock.now())
            assert sequences(items(await made.wait("bob", token))) == [1]


class TestOverlap:
    @pytest.mark.parametrize("turns", range(12))
    async def test_whenever_a_wait_joins_relative_to_a_message_and_a_leaving_one_nothing_is_lost(
        self, turns: int
    ) -> None:
        """Scripted interleavings: a message, a wait that hangs up, and one with a lower cursor, a few turns apart."""
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(6):
                made.bridge.store({})
            leaving = await made.wait("bob", token, since=6)
            staying = await made.wait("bob", token, since=6)
            made.bridge.store({})
            for _ in range(turns):
                await asyncio.sleep(0)
            leaving.cancel()
            made.feeds.message_stored("bob")
            low = await made.wait("bob", token, since=2)
            await made.clock.advance(0.1)
            assert sequences(items(staying)) == [7]
            got: Sequence[object] = sequences(items(low))
            assert got == [3, 4, 5, 6, 7]
            assert made.recorder.defects == []


async def test_close_ends_both_polls_while_waits_are_parked() -> None:
    async with flow_stand() as made:
        task = await _parked(made)
        made.feeds.close()
        await settle()
        assert (made.bridge.running["wait"], made.bridge.running["pending"]) == (0, 0)
        await made.clock.advance(30)
        assert task.done()


async def test_an_unknown_agent_has_no_feed() -> None:
    async with flow_stand() as made:
        assert list(made.feeds.of("nobody")) == []
        assert made.feeds.feed(AgentId("bob"), Secret("Bearer x")).waiters == set()
