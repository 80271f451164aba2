"""The audit trail beside the service: everything gets its entry, and nothing waits for the store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import orjson
import pytest

from proxy.core.audit import DEFAULT_BOUNDS, SIDECAR, AuditBounds, Entry
from proxy.core.audit_check import Intact, verify
from proxy.core.cohort import Cohort
from proxy.core.deeds import AgentForced, Deed, OperatorActed, Refusal, Started, Word
from proxy.core.errors import InvalidFlags, StateUnavailable
from proxy.core.flags import FlagSet, parse_patch
from proxy.core.ids import AgentId
from proxy.core.refusals import INTERVAL_S
from proxy.core.suspicion import Breach, Suspicion
from proxy.flows.audit_keeper import FIRST_RETRY_S, LAST_RETRY_S, MAX_WAITING, AuditKeeper
from proxy.flows.flags import FlagBoard
from proxy.stores.memory import MemoryFlagStore
from proxy.stores.memory_audit import MemoryAuditTrail
from tests.support.house import until
from tests.support.manual_clock import ManualClock, settle

CLEARED = OperatorActed(action=Word("cache_cleared"))
FLOOD = Suspicion(breach=Breach.IMPERSONATION, rule="claim", agent_id="mallory", is_enforced=True)


class Store(MemoryAuditTrail):
    """One that can fail, or let its callers wait."""

    def __init__(self, bounds: AuditBounds = DEFAULT_BOUNDS) -> None:
        super().__init__(bounds)
        self.fails = ""
        self.altered = ""
        """What is read in place of the details of every entry."""
        self.tries = 0
        self.fails_at = 0
        """The one try that fails, counted from 1."""
        self.open = asyncio.Event()
        self.open.set()

    async def append(self, deed: Deed, *, who: str, subject: str, at: float) -> Entry:
        self.tries += 1
        await self.open.wait()
        if self.fails or self.tries == self.fails_at:
            raise StateUnavailable(self.fails or "once")
        return await super().append(deed, who=who, subject=subject, at=at)

    async def read(self, *, after: int, limit: int) -> Sequence[Entry]:
        if self.fails:
            raise StateUnavailable(self.fails)
        found = await super().read(after=after, limit=limit)
        return [replace(entry, details=self.altered) for entry in found] if self.altered else found


@dataclass
class Stand:
    """A keeper, its store, and the flags it hears of."""

    store: Store = field(default_factory=Store)
    clock: ManualClock = field(default_factory=ManualClock)
    flags: MemoryFlagStore = field(default_factory=MemoryFlagStore)
    defects: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.board = FlagBoard(self.flags, self.clock, salt="", groups={})
        self.keeper = self.new_keeper()

    def new_keeper(self) -> AuditKeeper:
        def defect(where: str, error: BaseException) -> None:
            self.defects.append(f"{where}: {error}")

        keeper = AuditKeeper(self.store, self.clock, self.board.history, defect=defect)
        self.board.hear(keeper.flags_changed)
        return keeper

    async def change(self, **flags: object) -> None:
        await self.board.change(parse_patch(flags), author="Ann (operator@127.0.0.1)", expected=None)

    async def told(self) -> list[tuple[str, str, str, object]]:
        """Who did what to whom, with the details; the trail must be whole."""
        trail = await self.store.whole()
        assert isinstance(verify(trail.entries, trail.head), Intact)
        return [(entry.who, entry.what, entry.subject, orjson.loads(entry.details)) for entry in trail.entries]


@asynccontextmanager
async def _running(keeper: AuditKeeper) -> AsyncIterator[None]:
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        await settle()
        try:
            yield
        finally:
            await keeper.close()


@pytest.fixture
async def stand() -> Stand:
    made = Stand()
    await made.board.open(FlagSet())
    return made


@pytest.mark.requirement("audit.deeds")
class TestDeeds:
    async def test_each_has_its_entry_with_who_and_when_it_was_done(self, stand: Stand) -> None:
        async with _running(stand.keeper):
            stand.keeper.note(Started(version=Word("1.0")), who=SIDECAR)
            stand.keeper.note(CLEARED, who="Ann (operator@::1)")
            at = stand.clock.wall()
            await stand.clock.advance(5)
            await settle()
        assert await stand.told() == [
            (SIDECAR, "started", "", {"version": "1.0"}),
            ("Ann (operator@::1)", "operator_acted", "", {"action": "cache_cleared"}),
        ]
        assert {entry.at_ms for entry in (await stand.store.whole()).entries} == {at * 1000}

    async def test_a_deed_that_was_refused_has_none_and_one_that_was_left_midway_has_one(self, stand: Stand) -> None:
        deed = AgentForced(cohort=Cohort.LEGACY, until=None)
        async with _running(stand.keeper):
            with pytest.raises(InvalidFlags), stand.keeper.acting(deed, who="op", subject="alice"):
                raise InvalidFlags("too many")
            assert stand.keeper.waiting == 0
            with pytest.raises(asyncio.CancelledError), stand.keeper.acting(deed, who="op", subject="bob"):
                raise asyncio.CancelledError
        assert [subject for _, _, subject, _ in await stand.told()] == ["bob"]

    async def test_names_of_peers_are_printable_and_short(self, stand: Stand) -> None:
        async with _running(stand.keeper):
            stand.keeper.note(CLEARED, who="\x1b[31mred\n", subject="x" * 1_000)
            stand.keeper.suspected(replace(FLOOD, agent_id="\ud800\u202e"))
        told = await stand.told()
        assert told[0][0] == "\\x1b[31mred\\n"
        assert len(told[0][2]) == 300
        assert told[1][2] == "\\ud800\\u202e"

    async def test_beyond_the_bound_they_are_counted_by_kind(self, stand: Stand) -> None:
        stand.store.open.clear()
        async with _running(stand.keeper):
            for _ in range(MAX_WAITING + 7):
                stand.keeper.note(CLEARED, who="op")
            stand.keeper.note(Started(version=Word("1")), who=SIDECAR)
            assert stand.keeper.waiting == MAX_WAITING + 2
            stand.store.open.set()
            await until(lambda: not stand.keeper.waiting)
        told = await stand.told()
        assert len(told) == MAX_WAITING + 2
        merged = [details for _, what, _, details in told if what == "deeds_merged"]
        assert merged == [{"of": "operator_acted", "deeds": 7}, {"of": "started", "deeds": 1}]

    async def test_a_failure_between_two_kinds_tells_each_once(self, stand: Stand) -> None:
        stand.store.open.clear()
        stand.store.fails_at = MAX_WAITING + 2
        async with _running(stand.keeper):
            for _ in range(MAX_WAITING + 7):
                stand.keeper.note(CLEARED, who="op")
            stand.keeper.note(Started(version=Word("1")), who=SIDECAR)
            stand.store.open.set()
            await until(lambda: bool(stand.keeper.reasons()))
            await stand.clock.advance(FIRST_RETRY_S)
            await until(lambda: not stand.keeper.waiting)
        merged = [details for _, what, _, details in await stand.told() if what == "deeds_merged"]
        assert merged == [{"of": "operator_acted", "deeds": 7}, {"of": "started", "deeds": 1}]

    async def test_one_that_cannot_be_written_down_is_a_defect_and_stops_nothing(self, stand: Stand) -> None:
        async with _running(stand.keeper):
            stand.keeper.note(OperatorActed(action=Word("no word")), who="op")
            stand.keeper.note(CLEARED, who="op")
        assert len(await stand.told()) == 1
        assert stand.defects == ["audit entry operator_acted: expected a word of 1 to 64 letters, digits and _.:-"]


@pytest.mark.requirement("audit.flags")
class TestFlags:
    async def test_each_change_is_told_with_its_author_version_and_flags(self, stand: Stand) -> None:
        async with _running(stand.keeper):
            await stand.change(elicitation_enabled=True, elicitation_percentage=5)
            await settle()
            await stand.change(elicitation_percentage=25)
        who = "Ann (operator@127.0.0.1)"
        assert await stand.told() == [
            (who, "flags_changed", "", {"version": 2, "flags": ["elicitation_enabled", "elicitation_percentage"]}),
            (who, "flags_changed", "", {"version": 3, "flags": ["elicitation_percentage"]}),
        ]

    async def test_one_whose_operator_left_before_the_answer_is_told_too(self, stand: Stand) -> None:
        class Leaves(MemoryFlagStore):
            async def compare_and_set(self, *args: object, **more: object) -> None:
                await super().compare_and_set(*args, **more)  # type: ignore[arg-type]  # passed on
                raise asyncio.CancelledError

        stand.flags = Leaves()
        stand = Stand(flags=stand.flags)
        async with _running(stand.keeper):
            with pytest.raises(asyncio.CancelledError):
                await stand.change(elicitation_enabled=True)
        assert [what for _, what, _, _ in await stand.told()] == ["flags_changed"]

    async def test_one_from_just_before_a_crash_is_told_at_the_next_start_and_only_once(self, stand: Stand) -> None:
        async with _running(stand.keeper):
            await stand.change(elicitation_percentage=5)
        await stand.change(elicitation_percentage=10)  # nobody writes any more
        for _ in range(2):
            async with _running(stand.new_keeper()):
                pass
        versions = [details["version"] for _, _, _, details in await stand.told() if isinstance(details, dict)]
        assert versions == [2, 3]

    async def test_those_that_another_sidecar_told_of_are_not_told_again(self, stand: Stand) -> None:
        other = stand.new_keeper()
        async with _running(stand.keeper), _running(other):
            await stand.change(elicitation_percentage=5)
            await settle()
            stand.keeper.flags_changed()
            other.flags_changed()
        versions = [details["version"] for _, _, _, details in await stand.told() if isinstance(details, dict)]
        assert set(versions) == {2}

    async def test_old_ones_whose_entries_were_taken_out_by_the_rule_are_not_told_again(self, stand: Stand) -> None:
        await stand.change(elicitation_percentage=5)
        stand.store = Store(AuditBounds(entries=6, at_once=3))
        for _ in range(8):
            await stand.store.append(CLEARED, who="op", subject="", at=0)
        async with _running(stand.new_keeper()):
            await stand.change(elicitation_percentage=10)
        told = [details for _, what, _, details in await stand.told() if what == "flags_changed"]
        assert told == [{"version": 3, "flags": ["elicitation_percentage"]}]

    @pytest.mark.parametrize("details", ["{", '{"version":"x"}', "\ud800"])
    async def test_an_entry_that_somebody_has_altered_does_not_stop_the_others(
        self, stand: Stand, details: str
    ) -> None:
        await stand.change(elicitation_percentage=5)
        stand.store.altered = details
        async with _running(stand.keeper):
            await stand.change(elicitation_percentage=10)
            await settle()
            stand.keeper.note(CLEARED, who="op")
        assert [entry.what for entry in (await stand.store.whole()).entries].count("operator_acted") == 1


@pytest.mark.requirement("audit.refusals")
class TestRefusals:
    async def test_a_flood_makes_one_entry_at_once_and_one_per_interval(self, stand: Stand) -> None:
        async with _running(stand.keeper):
            for _ in range(500):
                stand.keeper.suspected(FLOOD)
                await asyncio.sleep(0)
            stand.keeper.note(CLEARED, who="op")
            await settle()
            first = await stand.told()
            await stand.clock.advance(INTERVAL_S)
            await settle()
            second = (await stand.told())[len(first) :]
        refused = [fields for _, what, subject, fields in first + second if what == "call_refused" and subject]
        assert sum(fields["calls"] for fields in refused if isinstance(fields, dict)) == 500
        assert [what for _, what, _, _ in first] == ["call_refused", "operator_acted"]
        assert len(second) == 1

    async def test_what_is_gathered_is_written_at_the_end(self, stand: Stand) -> None:
        async with _running(stand.keeper):
            stand.keeper.refused(Refusal.OPERATOR_TOKEN, subject="127.0.0.1")
            await settle()
            stand.keeper.refused(Refusal.OPERATOR_TOKEN, subject="127.0.0.1")
            await settle()
            assert len(await stand.told()) == 1
        assert [details for *_, details in await stand.told()] == [
            {"why": "operator_token", "rule": None, "calls": 1},
            {"why": "operator_token", "rule": None, "calls": 1},
        ]

    async def test_what_is_only_observed_is_told_as_let_through(self, stand: Stand) -> None:
        async with _running(stand.keeper):
            stand.keeper.suspected(replace(FLOOD, is_enforced=False))
        assert [what for _, what, _, _ in await stand.told()] == ["call_let_through"]


@pytest.mark.requirement("audit.store_trouble")
class TestTrouble:
    async def test_it_is_shown_and_the_store_tried_again_less_and_less_often(self, stand: Stand) -> None:
        async with _running(stand.keeper):
            stand.store.fails = "the disk is full"
            stand.keeper.note(CLEARED, who="op")
            stand.keeper.suspected(FLOOD)
            await settle()
            assert stand.keeper.reasons() == ["the audit trail is not written, 2 entries wait: the disk is full"]
            waits = [FIRST_RETRY_S * 2**n for n in range(10)]
            tries = stand.store.tries
            for wait in waits[:5]:
                await stand.clock.advance(min(wait, LAST_RETRY_S) - 0.01)
                await settle()
                assert stand.store.tries == tries
                await stand.clock.advance(0.01)
                await settle()
                tries += 1
                assert stand.store.tries == tries
            stand.store.fails = ""
            await stand.clock.advance(LAST_RETRY_S)
            await settle()
            assert stand.keeper.reasons() == []
            assert len(await stand.told()) == 2

    async def test_refused_calls_that_could_not_be_written_are_counted_with_those_that_came_since(
        self, stand: Stand
    ) -> None:
        async with _running(stand.keeper):
            stand.store.fails = "the disk is full"
            stand.keeper.suspected(FLOOD)
            await settle()
            stand.keeper.suspected(FLOOD)
            stand.store.fails = ""
            await stand.clock.advance(FIRST_RETRY_S)
            await settle()
            assert [details for *_, details in await stand.told()] == [
                {"why": "impersonation", "rule": "claim", "calls": 2}
            ]

    async def test_changes_of_flags_wait_until_the_trail_can_be_read(self, stand: Stand) -> None:
        async with _running(stand.keeper):
            stand.store.fails = "the disk is full"
            await stand.change(elicitation_percentage=5)
            await settle()
            stand.store.fails = ""
            await stand.clock.advance(FIRST_RETRY_S)
            await settle()
            assert len(await stand.told()) == 1

    async def test_the_end_does_not_wait_for_a_store_that_hangs(self, stand: Stand) -> None:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            task = group.create_task(stand.keeper.run())
            await settle()
            stand.store.open.clear()
            stand.keeper.note(CLEARED, who="op")
            await settle()
            await stand.keeper.close()
            task.cancel()
        assert "in time" in stand.keeper.trouble

    async def test_the_end_writes_what_waits_also_when_it_never_ran(self, stand: Stand) -> None:
        stand.keeper.note(CLEARED, who="op")
        await stand.keeper.close()
        assert len(await stand.told()) == 1


async def test_it_is_read_from_its_end_or_from_a_number_on(stand: Stand) -> None:
    async with _running(stand.keeper):
        for n in range(5):
            stand.keeper.note(AgentForced(cohort=None, until=None), who="op", subject=AgentId(f"agent{n}"))
        await settle()
        last, head = await stand.keeper.read(after=None, limit=2)
        assert ([entry.number for entry in last], head.number) == ([4, 5], 5)
        some, _ = await stand.keeper.read(after=1, limit=2)
        assert [entry.number for entry in some] == [2, 3]
        assert len((await stand.keeper.whole()).entries) == 5
