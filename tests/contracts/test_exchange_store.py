"""What the ExchangeStore port promises, on every store."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.errors import StateUnavailable
from proxy.mcp.mrtr import open_state, seal
from proxy.ports import ExchangeStore
from proxy.stores.exchange_rules import KEY_LIFE_S, LONGEST_TTL_S, RETRY_S, Bounds
from proxy.stores.memory import MemoryExchangeStore
from proxy.stores.sqlite_exchanges import SqliteExchangeStore
from proxy.stores.writer import SqliteWriter
from tests.support.manual_clock import START_WALL_S, ManualClock

NOW = START_WALL_S
END = NOW + 600
ONE, TWO = b"one handle------", b"two handle------"
ALICE, BEN = b"alice", b""
RECORD = bytes(range(256))
BOUNDS = Bounds(calls=3, record_bytes=256, total_bytes=600)

Make = Callable[[Bounds], ExchangeStore]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def make(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Make]:
    if request.param == "memory":
        yield lambda bounds: MemoryExchangeStore(clock, secrets.token_bytes, bounds=bounds)
        return
    writer = await asyncio.to_thread(SqliteWriter, tmp_path / "state.db")
    try:
        yield lambda bounds: SqliteExchangeStore(writer, clock, secrets.token_bytes, bounds=bounds)
    finally:
        await asyncio.to_thread(writer.close)


@pytest.fixture
def store(make: Make) -> ExchangeStore:
    return make(Bounds())


async def is_full(store: ExchangeStore, handle: bytes, record: bytes = b"", *, owner: bytes = ALICE) -> bool:
    try:
        await store.suspend(handle, record, owner=owner, expires_at=END)
    except StateUnavailable as error:
        return error.retryable and error.retry_after_s == RETRY_S
    return False


@pytest.mark.requirement("store.exchanges")
async def test_what_was_suspended_is_taken_up_byte_for_byte(store: ExchangeStore) -> None:
    await store.suspend(ONE, RECORD, owner=ALICE, expires_at=END)
    await store.suspend(TWO, b"", owner=ALICE, expires_at=END)
    assert await store.resume(ONE, b"answers", now=NOW) == RECORD
    assert await store.resume(TWO, b"answers", now=NOW) == b""


@pytest.mark.requirement("store.exchanges")
async def test_a_handle_that_was_never_given_out_leads_nowhere(store: ExchangeStore) -> None:
    await store.suspend(ONE, RECORD, owner=ALICE, expires_at=END)
    assert await store.resume(TWO, b"answers", now=NOW) is None
    assert await store.resume(b"", b"answers", now=NOW) is None


@pytest.mark.requirement("store.exchanges.once")
async def test_the_first_answers_consume_it_and_only_the_same_get_it_again(store: ExchangeStore) -> None:
    await store.suspend(ONE, RECORD, owner=ALICE, expires_at=END)
    assert await store.resume(ONE, b"first", now=NOW) == RECORD
    assert await store.resume(ONE, b"second", now=NOW) is None
    assert await store.resume(ONE, b"", now=NOW) is None
    assert await store.resume(ONE, b"first", now=NOW) == RECORD


@pytest.mark.requirement("store.exchanges.once")
@given(digests=st.lists(st.binary(max_size=2), min_size=1, max_size=12), handle=st.binary(min_size=16, max_size=16))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_of_many_at_once_exactly_one_digest_wins(
    store: ExchangeStore, digests: list[bytes], handle: bytes
) -> None:
    handle += secrets.token_bytes(4)  # the store lives on from one example to the next
    await store.suspend(handle, handle, owner=ALICE, expires_at=END)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        tasks = [(digest, group.create_task(store.resume(handle, digest, now=NOW))) for digest in digests]
    winners = {digest for digest, task in tasks if task.result() is not None}
    assert len(winners) == 1
    assert [task.result() for digest, task in tasks if digest in winners] == [handle] * digests.count(*winners)
    assert await store.resume(handle, *winners, now=NOW) == handle
    await store.sweep(now=END)


@pytest.mark.requirement("store.exchanges.expiry")
async def test_a_call_can_be_taken_up_until_its_end_and_no_longer(store: ExchangeStore) -> None:
    await store.suspend(ONE, RECORD, owner=ALICE, expires_at=END + 0.5)
    assert await store.resume(ONE, b"first", now=END + 0.25) == RECORD
    assert await store.resume(ONE, b"first", now=END + 0.5) is None
    assert await store.resume(ONE, b"first", now=END + 9) is None


@pytest.mark.requirement("store.exchanges.expiry")
async def test_what_came_too_late_consumes_nothing(store: ExchangeStore) -> None:
    await store.suspend(ONE, RECORD, owner=ALICE, expires_at=END)
    assert await store.resume(ONE, b"late", now=END) is None
    assert await store.resume(ONE, b"first", now=END - 1) == RECORD


@pytest.mark.requirement("store.exchanges.expiry")
async def test_a_call_is_kept_for_a_day_at_most(store: ExchangeStore) -> None:
    await store.suspend(ONE, RECORD, owner=ALICE, expires_at=NOW * 2)
    assert await store.resume(ONE, b"first", now=NOW + LONGEST_TTL_S - 1) == RECORD
    assert await store.resume(ONE, b"first", now=NOW + LONGEST_TTL_S) is None


@pytest.mark.requirement("store.exchanges.expiry")
async def test_a_sweep_forgets_what_has_expired_and_nothing_else(store: ExchangeStore) -> None:
    await store.suspend(ONE, RECORD, owner=ALICE, expires_at=END)
    await store.suspend(TWO, RECORD, owner=ALICE, expires_at=END + 1)
    await store.sweep(now=END)
    assert await store.resume(ONE, b"first", now=NOW) is None
    assert await store.resume(TWO, b"first", now=NOW) == RECORD
    await store.sweep(now=END + 1)
    await store.sweep(now=END + 1)
    assert await store.resume(TWO, b"first", now=NOW) is None
    await store.suspend(ONE, b"again", owner=ALICE, expires_at=END + 2)
    assert await store.resume(ONE, b"second", now=NOW) == b"again"


@pytest.mark.requirement("store.exchanges.bound")
async def test_a_full_store_refuses_and_forgets_nobody_who_may_still_come(make: Make) -> None:
    store = make(BOUNDS)
    for number in range(3):
        assert not await is_full(store, bytes([number]) * 16)
    assert await is_full(store, ONE)
    # A call that was taken up still stands there for a retry of the same answers.
    assert await store.resume(bytes(16), b"first", now=NOW) == b""
    assert await is_full(store, ONE)
    for number in range(3):
        assert await store.resume(bytes([number]) * 16, b"first", now=NOW) == b""
    assert await store.resume(ONE, b"first", now=NOW) is None


@pytest.mark.requirement("store.exchanges.bound")
async def test_all_records_together_have_a_bound_of_their_own(make: Make) -> None:
    store = make(BOUNDS)
    assert not await is_full(store, ONE, RECORD)
    assert not await is_full(store, TWO, RECORD)
    assert await is_full(store, b"3" * 16, b"x" * 89)
    assert not await is_full(store, b"3" * 16, b"x" * 88)


@pytest.mark.requirement("store.exchanges.bound")
async def test_what_has_expired_makes_room_without_a_sweep(make: Make, clock: ManualClock) -> None:
    store = make(BOUNDS)
    for handle, end in ((ONE, END), (TWO, END + 1)):
        await store.suspend(handle, RECORD, owner=ALICE, expires_at=end)
    clock.step_wall(599)
    assert await is_full(store, b"3" * 16, RECORD)
    clock.step_wall(1)
    await store.suspend(b"3" * 16, RECORD, owner=ALICE, expires_at=END + 2)
    assert await store.resume(ONE, b"first", now=NOW) is None
    assert await store.resume(TWO, b"first", now=NOW) == RECORD
    assert await store.resume(b"3" * 16, b"first", now=NOW) == RECORD


@pytest.mark.requirement("store.exchanges.bound")
async def test_a_record_beyond_its_bound_is_refused_and_leaves_no_trace(make: Make) -> None:
    store = make(BOUNDS)
    with pytest.raises(StateUnavailable, match="256 bytes, this one takes 257"):
        await store.suspend(ONE, bytes(257), owner=ALICE, expires_at=END)
    assert await store.resume(ONE, b"first", now=NOW) is None


@pytest.mark.requirement("store.exchanges.owner")
async def test_no_owner_gets_more_than_its_part_of_the_places(make: Make, clock: ManualClock) -> None:
    store = make(Bounds(calls=4, owner_calls=2))
    assert not await is_full(store, b"1" * 16)
    assert not await is_full(store, b"2" * 16)
    assert await is_full(store, b"3" * 16)
    # A call that was taken up still stands there for a retry of the same answers.
    assert await store.resume(b"1" * 16, b"first", now=NOW) == b""
    assert await is_full(store, b"3" * 16)
    assert not await is_full(store, b"3" * 16, owner=BEN)
    assert not await is_full(store, b"4" * 16, owner=BEN)
    assert await is_full(store, b"5" * 16, owner=b"carol")
    clock.step_wall(600)
    await store.suspend(b"5" * 16, RECORD, owner=ALICE, expires_at=END + 1)
    assert await store.resume(b"5" * 16, b"first", now=NOW) == RECORD


@pytest.mark.requirement("store.exchanges.owner")
async def test_no_owner_gets_more_than_its_part_of_the_memory(make: Make) -> None:
    store = make(Bounds(owner_bytes=300))
    assert not await is_full(store, ONE, RECORD)
    assert await is_full(store, TWO, b"x" * 45)
    assert not await is_full(store, TWO, RECORD, owner=BEN)
    assert not await is_full(store, b"3" * 16, b"x" * 44)


@pytest.mark.requirement("store.exchanges.owner")
async def test_one_owner_may_suspend_a_hundred_calls_of_a_thousand(store: ExchangeStore) -> None:
    for number in range(100):
        assert not await is_full(store, number.to_bytes(16))
    assert await is_full(store, ONE)
    assert not await is_full(store, ONE, owner=BEN)


@pytest.mark.requirement("store.exchanges.owner")
async def test_a_sweep_gives_an_owner_its_places_back(make: Make) -> None:
    store = make(Bounds(owner_calls=1))
    assert not await is_full(store, ONE)
    assert await is_full(store, TWO)
    await store.sweep(now=END)
    assert not await is_full(store, TWO)


async def test_a_record_of_one_mebibyte_comes_back(store: ExchangeStore) -> None:
    record = secrets.token_bytes(1 << 20)
    await store.suspend(ONE, record, owner=ALICE, expires_at=END)
    assert await store.resume(ONE, b"first", now=NOW) == record


@pytest.mark.requirement("store.exchanges.once")
async def test_a_handle_is_kept_for_one_call_only(store: ExchangeStore) -> None:
    await store.suspend(ONE, RECORD, owner=ALICE, expires_at=END)
    assert await store.resume(ONE, b"first", now=NOW) == RECORD
    with pytest.raises(StateUnavailable):
        await store.suspend(ONE, b"other", owner=ALICE, expires_at=END)
    assert await store.resume(ONE, b"second", now=NOW) is None
    assert await store.resume(ONE, b"first", now=NOW) == RECORD


@pytest.mark.requirement("store.seal_keys")
async def test_the_key_ring_is_made_on_first_use_and_stays(store: ExchangeStore) -> None:
    (key,) = await store.keys()
    assert list(await store.keys()) == [key]
    assert len(key.secret) == 32


@pytest.mark.requirement("store.seal_keys")
async def test_everybody_who_asks_first_gets_the_same_key(store: ExchangeStore) -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        tasks = [group.create_task(store.keys()) for _ in range(10)]
    assert len({tuple(key.key_id for key in task.result()) for task in tasks}) == 1


@pytest.mark.requirement("store.seal_keys")
async def test_an_old_key_is_followed_by_a_new_one_and_opens_for_as_long_as_a_call_is_kept(
    store: ExchangeStore, clock: ManualClock
) -> None:
    (old,) = await store.keys()
    clock.step_wall(KEY_LIFE_S - 1)
    assert list(await store.keys()) == [old]
    end = int(clock.wall()) + 600
    state = seal(ONE, expires_at=end, ring=await store.keys())
    clock.step_wall(1)
    ring = await store.keys()
    assert ring[0] != old
    assert ring[1:] == (old,)
    assert open_state(state, now=clock.wall(), ring=ring).handle == ONE
    clock.step_wall(LONGEST_TTL_S - 1)
    assert await store.keys() == ring
    clock.step_wall(1)
    assert list(await store.keys()) == [ring[0]]
    assert list(await store.keys()) == [ring[0]]


async def test_two_stores_have_different_keys(make: Make, clock: ManualClock) -> None:
    (one,) = await make(Bounds()).keys()
    (other,) = await MemoryExchangeStore(clock, secrets.token_bytes).keys()
    assert one.secret != other.secret
