"""The board of flags: whole changes, stored before they count, in doubt read again; overrides that end."""

import asyncio
from collections.abc import Sequence

import pytest

from proxy.core.cohort import Cohort
from proxy.core.errors import FlagConflict, InvalidFlags, StateUnavailable
from proxy.core.flags import FlagChange, FlagSet, Patch, parse_patch
from proxy.core.ids import AgentId
from proxy.core.routing import Reason, Route, Way
from proxy.flows import flags as flags_module
from proxy.flows.flags import FlagBoard
from proxy.stores.memory import MemoryFlagStore
from tests.support.manual_clock import ManualClock, settle

ALICE, BOB = AgentId("alice"), AgentId("bob")
CONFIGURED = FlagSet(elicitation_percentage=5.0)


class SlowStore(MemoryFlagStore):
    """A store whose writes are done at once but acknowledged only when the test says so, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.acknowledged = asyncio.Event()
        self.acknowledged.set()
        self.refuses = False

    async def compare_and_set(self, flags: FlagSet, change: FlagChange, *, expected: int) -> None:
        if self.refuses:
            raise StateUnavailable("disk full")
        await super().compare_and_set(flags, change, expected=expected)
        await self.acknowledged.wait()

    async def force(self, agent_id: AgentId, cohort: Cohort | None, *, until: float | None) -> None:
        await super().force(agent_id, cohort, until=until)
        await self.acknowledged.wait()


class Stand:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = SlowStore()
        self.board = self.again()
        self.seen: list[int] = []
        self.board.watch(lambda: self.seen.append(self.board.flags.version))

    def again(self) -> FlagBoard:
        """A board as after a restart."""
        return FlagBoard(self.store, self.clock, salt="s", groups={"ops": frozenset({"bob"})})

    async def change(self, *, expected: int | None = None, **flags: object) -> FlagSet:
        async with asyncio.timeout(5):
            return await self.board.change(_patch(**flags), author="op", expected=expected)


def _patch(**flags: object) -> Patch:
    return parse_patch(flags)


@pytest.mark.requirement("flags.persisted")
async def test_the_first_start_takes_the_configured_set_and_later_ones_the_stored_one() -> None:
    stand = Stand()
    assert not await stand.board.open(CONFIGURED)
    assert stand.board.flags == CONFIGURED
    changed = await stand.change(elicitation_percentage=25)
    board = stand.again()
    assert await board.open(FlagSet(elicitation_percentage=75.0))
    assert board.flags == changed


async def test_a_change_counts_at_once_tells_the_watchers_and_is_in_the_history() -> None:
    stand = Stand()
    await stand.board.open(CONFIGURED)
    after = await stand.change(elicitation_enabled=True, elicitation_percentage=100, reason="week 5", expected=1)
    assert (stand.board.flags, after.version, stand.seen) == (after, 2, [2])
    assert stand.board.decide(ALICE, Way.OPEN).route is Route.ELICITATION
    history: Sequence[FlagChange] = await stand.board.history(5)
    assert [(change.version, change.author, change.reason, change.at) for change in history] == [
        (2, "op", "week 5", stand.clock.wall())
    ]


async def test_a_change_of_another_version_is_refused_unless_it_is_forced() -> None:
    stand = Stand()
    await stand.board.open(CONFIGURED)
    await stand.change(elicitation_enabled=True)
    with pytest.raises(FlagConflict, match="expected version 1, the flags are at version 2"):
        await stand.change(elicitation_percentage=50, expected=1)
    assert (stand.board.flags.elicitation_percentage, stand.seen) == (5.0, [2])
    assert (await stand.change(elicitation_percentage=0, expected=1, force=True)).version == 3


@pytest.mark.requirement("flags.stored_first")
async def test_what_could_not_be_stored_does_not_count() -> None:
    stand = Stand()
    await stand.board.open(CONFIGURED)
    stand.store.refuses = True
    with pytest.raises(StateUnavailable):
        await stand.change(elicitation_enabled=True)
    assert (stand.board.flags, stand.seen) == (CONFIGURED, [])
    stand.store.refuses = False
    assert (await stand.change(elicitation_enabled=True)).version == 2


@pytest.mark.requirement("flags.stored_first")
async def test_changes_at_the_same_time_follow_one_another() -> None:
    stand = Stand()
    await stand.board.open(CONFIGURED)
    stand.store.acknowledged.clear()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(stand.change(elicitation_enabled=True))
        second = group.create_task(stand.change(elicitation_percentage=50))
        await settle()
        # Nothing counts before it is stored.
        assert stand.board.flags == CONFIGURED
        stand.store.acknowledged.set()
    assert (first.result().version, second.result().version) == (2, 3)
    assert (second.result().elicitation_enabled, second.result().elicitation_percentage) == (True, 50.0)


async def test_of_two_changes_to_one_version_the_second_is_refused() -> None:
    stand = Stand()
    await stand.board.open(CONFIGURED)
    stand.store.acknowledged.clear()

    async def loses() -> None:
        with pytest.raises(FlagConflict):
            await stand.change(elicitation_percentage=50, expected=1)

    async with asyncio.TaskGroup() as group:
        group.create_task(stand.change(elicitation_enabled=True, expected=1))
        group.create_task(loses())
        await settle()
        stand.store.acknowledged.set()
    assert stand.board.flags.version == 2


@pytest.mark.requirement("flags.stored_first")
async def test_after_a_caller_left_midway_the_next_change_builds_on_what_was_really_stored() -> None:
    stand = Stand()
    await stand.board.open(CONFIGURED)
    stand.store.acknowledged.clear()
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(stand.change(elicitation_enabled=True))
        await settle()
        leaving.cancel()
        await settle()
    stand.store.acknowledged.set()
    after = await stand.change(elicitation_percentage=50)
    assert (after.version, after.elicitation_enabled, after.elicitation_percentage) == (3, True, 50.0)
    assert await stand.store.load() == after


async def test_a_change_that_names_no_version_goes_on_top_of_what_a_second_sidecar_stored() -> None:
    stand = Stand()
    await stand.board.open(CONFIGURED)
    other = stand.again()
    await other.open(CONFIGURED)
    await other.change(_patch(elicitation_enabled=True), author="other", expected=None)
    after = await stand.change(elicitation_percentage=50)
    assert (after.version, after.elicitation_enabled, after.elicitation_percentage) == (3, True, 50.0)


async def test_a_change_of_a_version_that_a_second_sidecar_has_replaced_is_refused() -> None:
    stand = Stand()
    await stand.board.open(CONFIGURED)
    seen = stand.board.flags.version
    other = stand.again()
    await other.open(CONFIGURED)
    await other.change(_patch(elicitation_enabled=True), author="other", expected=None)
    with pytest.raises(FlagConflict):
        await stand.board.change(_patch(elicitation_percentage=50), author="op", expected=seen)


@pytest.mark.requirement("flags.overrides")
async def test_an_override_decides_until_it_ends_or_is_undone() -> None:
    stand = Stand()
    await stand.board.open(CONFIGURED)
    await stand.board.force(ALICE, Cohort.ELICITATION)
    await stand.board.force(BOB, Cohort.ELICITATION, ttl_s=60)
    assert stand.board.decide(ALICE, Way.OPEN).reason is Reason.FORCED
    assert stand.board.forced() == {
        ALICE: (Cohort.ELICITATION, None),
        BOB: (Cohort.ELICITATION, stand.clock.wall() + 60),
    }
    await stand.clock.advance(60)
    assert stand.board.decide(BOB, Way.OPEN).reason is Reason.DISABLED
    assert list(stand.board.forced()) == [ALICE]
    await stand.board.force(ALICE, None)
    assert stand.board.decide(ALICE, Way.OPEN).route is Route.LEGACY
    assert len(stand.seen) == 3


@pytest.mark.requirement("flags.overrides")
async def test_overrides_are_back_after_a_restart() -> None:
    stand = Stand()
    await stand.board.open(CONFIGURED)
    await stand.board.force(BOB, Cohort.ELICITATION)
    board = stand.again()
    await board.open(CONFIGURED)
    assert board.decide(BOB, Way.OPEN).reason is Reason.FORCED


@pytest.mark.requirement("flags.overrides")
async def test_ended_overrides_make_room_here_and_in_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags_module, "MAX_FORCED", 2)
    stand = Stand()
    await stand.board.open(CONFIGURED)
    await stand.board.force(ALICE, Cohort.ELICITATION, ttl_s=10)
    await stand.board.force(BOB, Cohort.ELICITATION)
    carol = AgentId("carol")
    with pytest.raises(InvalidFlags, match="at most 2 forced agents"):
        await stand.board.force(carol, Cohort.LEGACY)
    await stand.board.force(BOB, Cohort.LEGACY)
    await stand.clock.advance(10)
    await stand.board.force(carol, Cohort.LEGACY)
    assert list(await stand.store.forced()) == [BOB, carol]


async def test_an_override_whose_caller_left_midway_is_known_from_the_next_change_on() -> None:
    stand = Stand()
    await stand.board.open(CONFIGURED)
    stand.store.acknowledged.clear()
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(stand.board.force(ALICE, Cohort.ELICITATION))
        await settle()
        leaving.cancel()
        await settle()
    stand.store.acknowledged.set()
    await stand.board.force(BOB, Cohort.LEGACY)
    assert list(stand.board.forced()) == [ALICE, BOB]


async def test_members_of_a_group_are_known_by_it() -> None:
    stand = Stand()
    await stand.board.open(FlagSet(elicitation_enabled=True, elicitation_whitelist=("ops",)))
    assert stand.board.decide(BOB, Way.OPEN).reason is Reason.WHITELIST
    assert stand.board.decide(ALICE, Way.OPEN).reason is Reason.SPLIT


@pytest.mark.requirement("log.operators")
async def test_each_change_is_told_once_when_it_counts_here_also_one_whose_caller_left_and_that_of_another() -> None:
    stand = Stand()
    await stand.board.open(CONFIGURED)
    told: list[tuple[int, str, str]] = []
    stand.board.tell(lambda change: told.append((change.version, change.author, change.reason)))
    await stand.change(elicitation_percentage=10, reason="week 2")
    stand.store.refuses = True
    with pytest.raises(StateUnavailable):
        await stand.change(elicitation_percentage=20)
    stand.store.refuses = False
    other = stand.again()
    await other.open(CONFIGURED)
    await other.change(_patch(elicitation_percentage=30), author="other", expected=None)
    await stand.change(elicitation_percentage=40)
    assert told == [(2, "op", "week 2"), (3, "other", ""), (4, "op", "")]
