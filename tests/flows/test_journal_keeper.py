"""The journal beside the service: order, group commits, and trouble that stops nobody and leaves no gap."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import StateUnavailable
from proxy.core.ids import AgentId
from proxy.core.journal import (
    AnswerSettled,
    Change,
    CursorShown,
    MessageKept,
    NumberingChanged,
    QuestionNoted,
)
from proxy.core.replay import replay
from proxy.flows import journal_keeper as keeper_module
from proxy.flows.journal_keeper import FIRST_RETRY_S, LAST_RETRY_S, PRUNE_S, SYNC_S, JournalKeeper, coalesced
from tests.support.failing_journal import FULL, Store, Watch
from tests.support.journal_changes import AGENTS, IDS, changes, question, stamped
from tests.support.manual_clock import ManualClock, settle

BOB = AGENTS[1]


@dataclass
class Stand:
    """A keeper over a store that can fail, and all that was ever written."""

    clock: ManualClock = field(default_factory=ManualClock)
    store: Store = field(default_factory=Store)
    watch: Watch = field(default_factory=Watch)
    written: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keeper = JournalKeeper(self.store, self.clock, lambda: self.written, self.watch)

    def write(self, *found: Change) -> None:
        for change in found:
            self.written.append(change)
            self.keeper.write(change)

    async def is_whole(self) -> bool:
        return await self.store.recover() == replay(self.written)


@asynccontextmanager
async def _running() -> AsyncIterator[Stand]:
    stand = Stand()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(stand.keeper.run())
        await settle()
        try:
            yield stand
        finally:
            stand.store.open.set()
            await stand.keeper.close()


def _cursors(*numbers: int) -> list[CursorShown]:
    return [CursorShown(AgentId(f"agent{number}"), number) for number in numbers]


def _numbering(highest: int) -> NumberingChanged:
    return NumberingChanged(offset=0, ended=0, highest=highest, reserved=1_000, first_sequence=1, first_created_at=None)


@pytest.mark.requirement("journal.order")
class TestWriting:
    async def test_what_is_written_while_a_commit_is_under_way_goes_with_the_next_in_its_order(self) -> None:
        async with _running() as stand:
            stand.store.open.clear()
            stand.write(*_cursors(1))
            await settle()
            stand.write(*_cursors(2, 3))
            await settle()
            stand.write(*_cursors(4))
            assert stand.keeper.waiting == 3
            stand.store.open.set()
            await settle()
            assert stand.store.calls == [("apply", _cursors(1)), ("apply", _cursors(2, 3, 4))]
            assert (stand.keeper.waiting, stand.keeper.written) == (0, 4)
            assert stand.watch.commits == [1, 3]

    async def test_a_change_carries_the_time_at_which_it_came_about(self) -> None:
        stand = Stand()
        stand.write(*_cursors(1))
        await stand.clock.advance(5)
        stand.write(*_cursors(2))
        assert [stamped.at for stamped in stand.keeper._waiting] == [stand.clock.wall() - 5, stand.clock.wall()]
        await stand.keeper.close()

    @given(st.lists(changes, max_size=25))
    def test_what_is_left_out_changes_nothing_whatever_was_there_before(self, found: list[Change]) -> None:
        for split in range(0, len(found) + 1, 5):
            before, batch = found[:split], found[split:]
            kept = [stamped.change for stamped in coalesced(stamped(batch))]
            assert replay([*before, *kept]) == replay(found)

    def test_of_numberings_and_cursors_the_last_is_written_and_of_copies_those_that_no_cursor_has_passed(self) -> None:
        batch: list[Change] = [
            _numbering(1),
            MessageKept(BOB, 1, b"1", None),
            MessageKept(BOB, 2, b"2", None),
            MessageKept(AGENTS[0], 1, b"1", None),
            CursorShown(BOB, 0),
            _numbering(2),
            CursorShown(BOB, 1),
            MessageKept(BOB, 3, b"3", None),
        ]
        kept = [stamped.change for stamped in coalesced(stamped([*batch]))]
        assert kept == [batch[2], batch[3], batch[5], batch[6], batch[7]]


@pytest.mark.requirement("journal.sync")
class TestSynced:
    async def test_with_nothing_on_its_way_it_returns_at_once(self) -> None:
        async with _running() as stand:
            assert await stand.keeper.synced()
            assert stand.store.calls == []

    async def test_it_returns_when_everything_before_is_durable_and_waits_for_nothing_after(self) -> None:
        async with _running() as stand, asyncio.TaskGroup() as group:
            stand.store.open.clear()
            stand.write(*_cursors(1))
            early = group.create_task(stand.keeper.synced())
            await settle()
            # The first commit is under way, and nothing waits: that does not make it durable.
            late = group.create_task(stand.keeper.synced())
            await settle()
            assert not early.done()
            assert not late.done()
            stand.store.open.set()
            assert await early
            assert await late
            assert await stand.is_whole()

    async def test_many_share_one_commit(self) -> None:
        async with _running() as stand:
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    stand.write(*_cursors(number))
                    group.create_task(stand.keeper.synced())
            assert len(stand.store.calls) == 1

    async def test_whoever_leaves_does_not_disturb_the_others(self) -> None:
        async with _running() as stand, asyncio.TaskGroup() as group:
            stand.store.open.clear()
            stand.write(*_cursors(1))
            leaves, stays = (group.create_task(stand.keeper.synced()) for _ in range(2))
            await settle()
            leaves.cancel()
            await settle()
            stand.store.open.set()
            assert await stays

    async def test_a_store_that_refuses_is_no_success_and_nobody_waits_for_it_again(self) -> None:
        async with _running() as stand:
            stand.store.fails = FULL
            stand.write(*_cursors(1))
            assert not await stand.keeper.synced()
            assert not await stand.keeper.synced()

    async def test_a_store_that_does_not_answer_is_given_up_and_counts_as_trouble_until_it_does(self) -> None:
        async with _running() as stand, asyncio.TaskGroup() as group:
            stand.store.open.clear()
            stand.write(*_cursors(1))
            task = group.create_task(stand.keeper.synced())
            await stand.clock.advance(SYNC_S)
            assert not await task
            assert stand.keeper.trouble == "no answer from the state store within 2 s"
            stand.store.open.set()
            await settle()
            assert stand.watch.told == [stand.watch.told[0], "whole"]
            assert [name for name, _ in stand.store.calls] == ["apply"]


@pytest.mark.requirement("journal.trouble")
class TestTrouble:
    async def test_a_store_that_is_back_gets_everything_that_is_open_and_is_whole_again(self) -> None:
        async with _running() as stand:
            stand.write(*_cursors(1))
            await settle()
            stand.store.fails = FULL
            stand.write(*_cursors(2))
            await settle()
            stand.write(*_cursors(3))
            assert (stand.keeper.trouble, stand.keeper.waiting) == (FULL, 0)
            stand.store.fails = ""
            await stand.clock.advance(FIRST_RETRY_S)
            assert stand.store.calls[-1] == ("replace", _cursors(1, 2, 3))
            assert await stand.is_whole()
            assert stand.keeper.trouble == ""
            stand.write(*_cursors(4))
            await settle()
            assert stand.store.calls[-1] == ("apply", _cursors(4))
            assert stand.watch.told == [FULL, "whole"]

    async def test_it_is_tried_again_less_and_less_often_and_told_of_once(self) -> None:
        async with _running() as stand:
            stand.store.fails = FULL
            stand.write(*_cursors(1))
            tries = []
            for _ in range(60):
                await stand.clock.advance(0.5)
                tries.append(len(stand.store.calls))
                stand.write(*_cursors(2))
            gaps = [place for place in range(1, 60) if tries[place] > tries[place - 1]]
            assert [(after - before) / 2 for before, after in pairwise(gaps)] == [
                2,
                4,
                8,
                LAST_RETRY_S,
            ]
            assert stand.watch.told == [FULL]

    async def test_what_is_written_while_the_snapshot_goes_to_the_store_follows_it(self) -> None:
        async with _running() as stand:
            stand.store.fails = FULL
            stand.write(*_cursors(1))
            await settle()
            stand.store.fails = ""
            stand.store.open.clear()
            await stand.clock.advance(FIRST_RETRY_S)
            stand.write(*_cursors(2))
            assert stand.keeper.trouble == FULL
            stand.store.open.set()
            await settle()
            assert stand.store.calls[-2:] == [("replace", _cursors(1)), ("apply", _cursors(2))]
            assert await stand.is_whole()

    async def test_more_than_may_wait_counts_as_trouble_and_is_made_whole(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeper_module, "MAX_WAITING", 2)
        async with _running() as stand:
            stand.store.open.clear()
            stand.write(*_cursors(1))
            await settle()
            stand.write(*_cursors(2, 3, 4, 5))
            assert stand.keeper.trouble == "2 changes wait for the state store, as many as may"
            stand.store.open.set()
            await settle()
            assert stand.watch.told == [stand.watch.told[0], "whole"]
            assert await stand.is_whole()

    @pytest.mark.parametrize(
        "change", [MessageKept(BOB, 1, bytes(100), None), QuestionNoted(question(IDS[0]))], ids=["copy", "question"]
    )
    async def test_the_bytes_that_may_wait_are_bounded_too(
        self, monkeypatch: pytest.MonkeyPatch, change: Change
    ) -> None:
        monkeypatch.setattr(keeper_module, "MAX_WAITING_BYTES", 99)
        async with _running() as stand:
            stand.write(*_cursors(1), change)
            assert stand.keeper.trouble == "1 changes wait for the state store, as many as may"
            await settle()
            assert await stand.is_whole()


@pytest.mark.requirement("journal.bounds")
class TestPruning:
    async def test_it_comes_with_the_writing_every_ten_minutes(self) -> None:
        async with _running() as stand:
            stand.write(*_cursors(1))
            await stand.clock.advance(PRUNE_S)
            assert stand.store.prunings == []
            for _ in range(2):
                stand.write(*_cursors(2))
                await settle()
            assert stand.store.prunings == [stand.clock.wall()]

    async def test_it_comes_after_so_many_changes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keeper_module, "PRUNE_AFTER", 3)
        async with _running() as stand:
            stand.keeper._prune_from = 3
            for number in range(7):
                stand.write(AnswerSettled(IDS[number % 4]))
                await settle()
            assert len(stand.store.prunings) == 2

    async def test_a_store_that_refuses_it_is_in_trouble(self) -> None:
        async with _running() as stand:
            await stand.clock.advance(PRUNE_S)
            stand.write(*_cursors(1))
            stand.keeper._watch.trouble_ended()
            stand.store.prune = _refuse  # type: ignore[method-assign]  # the one call that fails
            await settle()
            assert stand.watch.told == ["whole", FULL, "whole"]
            assert await stand.is_whole()


async def _refuse(*, now: float) -> None:
    raise StateUnavailable(f"{FULL}"[: int(now)])


@pytest.mark.requirement("journal.end")
class TestEnd:
    async def test_what_waits_is_written_at_the_end_also_behind_a_commit_that_is_under_way(self) -> None:
        stand = Stand()
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(stand.keeper.run())
            await settle()
            stand.store.open.clear()
            stand.write(*_cursors(1))
            await settle()
            stand.write(*_cursors(2))
            closing = group.create_task(stand.keeper.close())
            await settle()
            stand.store.open.set()
            await closing
        assert await stand.is_whole()
        assert not await stand.keeper.synced()

    async def test_a_keeper_that_never_ran_writes_at_the_end_too(self) -> None:
        stand = Stand()
        stand.write(*_cursors(1))
        await stand.keeper.close()
        assert await stand.is_whole()

    async def test_in_trouble_it_tries_once_more_and_ends(self) -> None:
        stand = Stand()
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(stand.keeper.run())
            stand.store.fails = FULL
            stand.write(*_cursors(1))
            await settle()
            await stand.keeper.close()
        assert len(stand.store.calls) == 2

    async def test_a_store_that_does_not_answer_holds_up_no_exit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keeper_module, "CLOSE_S", 0.01)
        stand = Stand()
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            task = group.create_task(stand.keeper.run())
            await settle()
            stand.store.open.clear()
            stand.write(*_cursors(1))
            await stand.keeper.close()
            assert stand.watch.told == ["the state store did not take the last changes in time"]
            task.cancel()
