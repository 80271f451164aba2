"""What the NonceStore port promises, on every store."""

import asyncio
import itertools
import math
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.nonces import NonceBounds, NonceClaim
from proxy.ports import NonceStore
from proxy.stores.memory_nonces import MemoryNonceStore
from proxy.stores.sqlite_nonces import SqliteNonceStore
from proxy.stores.writer import SqliteWriter
from tests.support.manual_clock import START_WALL_S

NOW = START_WALL_S
END = NOW + 300
SMALL = NonceBounds(per_key=2, total=3, longest_s=600)
CLAIMED, REPLAYED, EXPIRED = NonceClaim.CLAIMED, NonceClaim.REPLAYED, NonceClaim.EXPIRED

Make = Callable[[NonceBounds], NonceStore]


@pytest.fixture(params=["memory", "sqlite"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    if request.param == "memory":
        yield MemoryNonceStore
        return
    writer = await asyncio.to_thread(SqliteWriter, tmp_path / "state.db")
    try:
        yield lambda bounds: SqliteNonceStore(writer, bounds)
    finally:
        await asyncio.to_thread(writer.close)


@pytest.fixture
def store(make: Make) -> NonceStore:
    return make(NonceBounds())


@pytest.mark.requirement("nonces.once")
async def test_a_nonce_is_claimed_once_for_each_key(store: NonceStore) -> None:
    assert await store.claim("k1", "n", expires=END, now=NOW) is CLAIMED
    assert await store.claim("k1", "n", expires=END, now=NOW) is REPLAYED
    assert await store.claim("k1", "n", expires=END + 9, now=NOW + 9) is REPLAYED
    assert await store.claim("k2", "n", expires=END, now=NOW) is CLAIMED
    assert await store.claim("k1", "n ", expires=END, now=NOW) is CLAIMED


@pytest.mark.requirement("nonces.once")
@given(claims=st.lists(st.tuples(st.sampled_from(["k1", "k2"]), st.text(max_size=2)), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_of_many_at_once_exactly_one_claims_each_nonce(store: NonceStore, claims: list[tuple[str, str]]) -> None:
    example = secrets.token_hex(8)  # the store lives on from one example to the next
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        tasks = [
            (claim, group.create_task(store.claim(claim[0], example + claim[1], expires=END, now=NOW)))
            for claim in claims
        ]
    found = [(claim, task.result()) for claim, task in tasks]
    assert {claimed for _, claimed in found} <= {CLAIMED, REPLAYED}
    assert sorted(claim for claim, claimed in found if claimed is CLAIMED) == sorted(set(claims))


@pytest.mark.requirement("nonces.window")
async def test_it_counts_until_its_very_end(store: NonceStore) -> None:
    assert await store.claim("k", "n", expires=END, now=NOW) is CLAIMED
    assert await store.claim("k", "n", expires=END, now=math.nextafter(END, 0)) is REPLAYED
    assert await store.claim("k", "n", expires=END, now=END) is EXPIRED
    assert await store.claim("k", "new", expires=END, now=END) is EXPIRED
    assert await store.claim("k", "n", expires=END + 300, now=END) is CLAIMED
    assert await store.claim("k", "n", expires=END + 300, now=END) is REPLAYED


@pytest.mark.requirement("nonces.window")
@pytest.mark.parametrize(("expires", "claimed"), [
    (NOW + 900, CLAIMED), (NOW + 900.5, NonceClaim.TOO_LONG), (math.inf, NonceClaim.TOO_LONG), (math.nan, EXPIRED),
    (NOW, EXPIRED), (-1.0, EXPIRED),
])  # fmt: skip
async def test_an_end_too_far_away_or_none_at_all_is_refused(
    store: NonceStore, expires: float, claimed: NonceClaim
) -> None:
    assert await store.claim("k", "n", expires=expires, now=NOW) is claimed


@pytest.mark.requirement("nonces.window")
async def test_a_clock_that_is_set_back_opens_nothing(store: NonceStore) -> None:
    assert await store.claim("k", "old", expires=END, now=NOW) is CLAIMED
    assert await store.claim("k", "next", expires=END + 300, now=END) is CLAIMED
    assert await store.claim("k", "old", expires=END, now=NOW) is EXPIRED
    assert await store.claim("k", "next", expires=END + 300, now=NOW) is REPLAYED


@pytest.mark.requirement("nonces.bound")
async def test_what_is_full_refuses_the_new_and_keeps_the_old(make: Make) -> None:
    store = make(SMALL)
    assert await store.claim("k1", "1", expires=END, now=NOW) is CLAIMED
    assert await store.claim("k1", "2", expires=END + 1, now=NOW) is CLAIMED
    assert await store.claim("k1", "3", expires=END, now=NOW) is NonceClaim.KEY_FULL
    assert await store.claim("k2", "3", expires=END, now=NOW) is CLAIMED
    for number in range(50):
        assert await store.claim(f"flood-{number}", "1", expires=END, now=NOW) is NonceClaim.FULL
    for keyid, nonce in (("k1", "1"), ("k1", "2"), ("k2", "3")):
        assert await store.claim(keyid, nonce, expires=END, now=NOW) is REPLAYED
    assert await store.claim("k1", "3", expires=END + 9, now=END) is CLAIMED
    assert await store.claim("k2", "4", expires=END + 9, now=END) is CLAIMED
    assert await store.claim("k2", "5", expires=END + 9, now=END) is NonceClaim.FULL


@pytest.mark.requirement("nonces.once")
async def test_any_text_is_a_key_and_a_nonce(store: NonceStore) -> None:
    texts = ["", "\0", "a\0b", "é", "e\u0301", "x" * 10_000]
    for keyid, nonce in itertools.product(texts, texts):
        assert await store.claim(keyid, nonce, expires=END, now=NOW) is CLAIMED
    for keyid, nonce in itertools.product(texts, texts):
        assert await store.claim(keyid, nonce, expires=END, now=NOW) is REPLAYED
