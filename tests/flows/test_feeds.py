"""The feeds of one sidecar: who leaves a trace, who is forgotten, and how a log that begins anew is told."""

import pytest

from proxy.core.ids import AgentId, Sequence
from proxy.core.legacy import WaitAsk
from proxy.core.outcome import Result
from proxy.core.secret import Secret
from proxy.flows.feeds import IDLE_S
from proxy.flows.waiter import Waiter
from tests.support.flow_stand import FlowStand, flow_stand, ids, items, sequences
from tests.support.manual_clock import settle


async def _visit(made: FlowStand, name: str) -> None:
    """One short wait with a good token."""
    task = await made.wait(name, made.bridge.token(name), timeout_s=1)
    await made.clock.advance(1)
    assert task.done()


def _known(made: FlowStand) -> int:
    return sum(len(mine) for mine in made.feeds._feeds.values())


class TestMemory:
    @pytest.mark.requirement("feed.forgotten")
    async def test_forged_tokens_leave_no_feed_and_no_task_behind(self) -> None:
        async with flow_stand() as made:
            for number in range(50):
                task = await made.wait("bob", Secret(f"Bearer forged {number}"))
                assert task.result().status == 403
            assert _known(made) == 0
            assert made.feeds.parked == 0
            assert made.bridge.running.total() == 0

    @pytest.mark.requirement("feed.forgotten")
    async def test_a_forged_token_that_hangs_up_leaves_nothing_either(self) -> None:
        async with flow_stand() as made:
            made.bridge.gate("wait")
            made.bridge.gate("pending")
            task = await made.wait("bob", Secret("Bearer forged"))
            assert _known(made) == 1
            task.cancel()
            await settle()
            assert (_known(made), made.bridge.running.total()) == (0, 0)

    @pytest.mark.requirement("feed.forgotten")
    async def test_a_forged_token_does_not_disturb_the_feed_of_a_good_one(self) -> None:
        async with flow_stand() as made:
            good = await made.wait("bob", made.bridge.token("bob"))
            bad = await made.wait("bob", Secret("Bearer forged"))
            assert bad.result().status == 403
            made.bridge.store({})
            await settle()
            assert sequences(items(good)) == [1]

    @pytest.mark.requirement("feed.forgotten")
    async def test_feeds_that_nobody_used_for_long_are_forgotten_a_few_at_a_time(self) -> None:
        async with flow_stand() as made:
            for number in range(6):
                await _visit(made, f"agent{number}")
            assert _known(made) == 6
            await made.clock.advance(IDLE_S)
            await _visit(made, "new")
            assert _known(made) == 6 - 2 + 1
            await _visit(made, "newer")
            await _visit(made, "newest")
            # Each look takes two, and those that are in use move to the end.
            assert _known(made) == 3

    @pytest.mark.requirement("feed.forgotten")
    async def test_a_feed_with_a_parked_wait_is_never_forgotten(self) -> None:
        async with flow_stand() as made:
            parked = await made.wait("old", made.bridge.token("old"), timeout_s=300)
            await _visit(made, "idle")
            await made.clock.advance(250)
            for number in range(6):
                await _visit(made, f"agent{number}")
            assert not parked.done()
            made.bridge.store({})
            await settle()
            assert sequences(items(parked)) == [1]

    @pytest.mark.requirement("feed.forgotten")
    async def test_feeds_in_use_do_not_hide_the_idle_ones_behind_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("proxy.flows.feeds.IDLE_S", 50.0)
        async with flow_stand() as made:
            parked = [await made.wait(name, made.bridge.token(name), timeout_s=300) for name in ("one", "two", "three")]
            for number in range(4):
                await _visit(made, f"agent{number}")
            await made.clock.advance(60)
            for number in range(4):
                await _visit(made, f"later{number}")
            assert _known(made) == 3 + 4
            assert [task.done() for task in parked] == [False] * 3

    async def test_every_idle_feed_can_be_forgotten_at_once(self) -> None:
        async with flow_stand() as made:
            await _visit(made, "idle")
            parked = await made.wait("bob", made.bridge.token("bob"))
            assert made.feeds.forget_idle() == 1
            await settle()
            assert (_known(made), parked.done()) == (1, False)
            assert made.bridge.running["wait"] == 1

    async def test_an_agent_that_comes_back_after_long_begins_afresh(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            task = await made.wait("bob", token, timeout_s=1)
            await made.clock.advance(IDLE_S + 2)
            assert task.done()
            question = made.bridge.ask("bob")
            assert ids(items(await made.wait("bob", token))) == [question.elicitation_id]


class TestNewLog:
    async def _restart(self, made: FlowStand, *, stored: int, down_s: float = 1.3) -> None:
        """The Bridge dies and is back with another log."""
        made.bridge.go_down()
        await made.clock.advance(down_s)
        made.bridge.come_back()
        for _ in range(stored):
            made.bridge.store({"log": "second"})

    @pytest.mark.requirement("sequences.restart")
    async def test_a_log_that_numbers_from_one_again_is_read_from_its_beginning_under_growing_numbers(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(21):
                made.bridge.store({"log": "first"})
            task = await made.wait("bob", token, since=21)
            await self._restart(made, stored=3)
            await made.clock.advance(2)
            assert sequences(items(task)) == [22, 23, 24]
            made.bridge.store({})
            assert sequences(items(await made.wait("bob", token, since=24))) == [25]
            assert made.recorder.lost == []

    @pytest.mark.requirement("sequences.restart")
    async def test_an_agent_that_comes_after_the_restart_skips_nothing_either(self) -> None:
        async with flow_stand() as made:
            for _ in range(21):
                made.bridge.store({"log": "first"})
            bob = await made.wait("bob", made.bridge.token("bob"), since=21)
            await self._restart(made, stored=1)
            await made.clock.advance(2)
            assert sequences(items(bob)) == [22]
            carol = await made.wait("carol", made.bridge.token("carol"), since=18)
            assert sequences(items(carol)) == [22]

    @pytest.mark.requirement("sequences.data_loss")
    async def test_what_can_no_longer_be_read_is_reported_for_each_agent_that_had_not_read_it(self) -> None:
        async with flow_stand() as made:
            for _ in range(30):
                made.bridge.store({"elicitation_type": "elicitation_requested"})
            tokens = {name: made.bridge.token(name) for name in ("bob", "carol", "dave")}
            waits = {}
            for name, since in (("bob", 30), ("carol", 30), ("dave", 30)):
                waits[name] = await made.wait(name, tokens[name], since=since)
            # The last words of the first log are read by nobody here but bob, in a wait that knows more.
            made.bridge.go_down()
            ahead = await made.wait("bob", tokens["bob"], since=34)
            await made.clock.advance(1)
            made.bridge.come_back()
            made.bridge.store({"n": 1})
            await made.clock.advance(3)
            assert [sequences(items(waits[name])) for name in waits] == [[35]] * 3
            assert sequences(items(ahead)) == [35]
            assert sorted(made.recorder.lost) == [("bob", 4), ("carol", 4), ("dave", 4)]

    @pytest.mark.requirement("sequences.restart")
    async def test_a_log_that_was_kept_over_the_restart_is_read_on(self) -> None:
        async with flow_stand() as made:
            made.bridge.store({})
            task = await made.wait("bob", made.bridge.token("bob"), since=1)
            made.bridge.go_down()
            await made.clock.advance(1.3)
            made.bridge.come_back(keeps_log=True)
            made.bridge.store({})
            await made.clock.advance(2)
            assert sequences(items(task)) == [2]
            assert made.recorder.lost == []

    @pytest.mark.requirement("sequences.restart")
    async def test_a_new_log_that_is_still_empty_does_not_hide_what_comes(self) -> None:
        async with flow_stand() as made:
            for _ in range(5):
                made.bridge.store({})
            task = await made.wait("bob", made.bridge.token("bob"), since=5)
            await self._restart(made, stored=0)
            await made.clock.advance(8)
            made.bridge.store({"n": 1})
            await made.clock.advance(2)
            assert sequences(items(task)) == [6]

    @pytest.mark.requirement("sequences.restart")
    async def test_a_poll_that_was_under_way_while_another_feed_saw_the_new_log_is_not_misread(self) -> None:
        async with flow_stand() as made:
            for _ in range(9):
                made.bridge.store({})
            old = await made.wait("bob", made.bridge.token("bob"), since=9)
            gate = made.bridge.gate("wait", after=True)
            made.bridge.store({"n": "the last word of the old process"})
            await gate.reached()
            # The new process answers carol while the old one still answers bob.
            made.bridge.log.clear()
            for number in range(3):
                made.bridge.store({"n": number})
            made.feeds.parts.sequences.saw(10)
            assert made.feeds.parts.sequences.recognise((1, 5.0))
            gate.open()
            await made.clock.advance(1)
            assert sequences(items(old)) == [11, 12, 13]

    @pytest.mark.requirement("sequences.restart")
    async def test_what_was_read_of_the_old_log_while_nobody_waited_comes_first_and_under_its_own_number(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for _ in range(5):
                made.bridge.store({})
            first = await made.wait("bob", token, since=5, timeout_s=1)
            await made.clock.advance(1)
            assert first.done()
            made.bridge.store({"n": "kept"})
            await settle()
            made.bridge.log.clear()
            made.bridge.store({"n": "new"})
            assert made.feeds.parts.sequences.recognise((1, made.clock.wall()))
            task = await made.wait("bob", token, since=5)
            assert (sequences(items(task)), items(task)[0]["data"]) == ([6], {"n": "kept"})
            task = await made.wait("bob", token, since=6)
            assert (sequences(items(task)), items(task)[0]["data"]) == ([7], {"n": "new"})

    @pytest.mark.requirement("sequences.hostile_cursor")
    async def test_a_forged_token_cannot_push_the_numbers_of_the_others(self) -> None:
        async with flow_stand() as made:
            for _ in range(3):
                made.bridge.store({})
            task = await made.wait("bob", made.bridge.token("bob"), since=3)
            forged = await made.wait("bob", Secret("Bearer forged"), since=10**12)
            assert forged.result().status == 403
            await self._restart(made, stored=1)
            await made.clock.advance(2)
            assert sequences(items(task)) == [4]


async def test_a_feed_that_cannot_begin_leaves_no_parked_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async with flow_stand() as made:
        feed = made.feeds.feed(AgentId("bob"), Secret("Bearer x"))

        def breaks(*_args: object) -> None:
            raise RuntimeError("the TaskGroup is shutting down")

        monkeypatch.setattr(feed, "_start", breaks)
        waiter = Waiter(WaitAsk(agent_id=AgentId("bob"), since=Sequence(0), timeout_s=5), on_elicitation=True)
        with pytest.raises(RuntimeError), made.feeds.joined(waiter, Secret("Bearer x")):
            pass
        assert (made.feeds.parked, _known(made)) == (0, 0)


async def test_a_wait_on_the_legacy_way_asks_no_questions() -> None:
    async with flow_stand() as made:
        made.breaker.incapable(made.clock.now())
        task = await made.wait("bob", made.bridge.token("bob"), timeout_s=5)
        await made.clock.advance(5)
        assert task.result().result is Result.TIMED_OUT
        assert made.bridge.count("pending") == 0
