"""The flag store in memory: what only it promises; the rest is in the contract suite."""

from proxy.core.cohort import Cohort
from proxy.core.flags import FlagSet, describe_change, parse_patch
from proxy.core.ids import AgentId
from proxy.stores.memory import MemoryFlagStore


async def test_two_stores_share_nothing() -> None:
    one, other = MemoryFlagStore(), MemoryFlagStore()
    before = FlagSet()
    after = before.patched(parse_patch({"elicitation_enabled": True}))
    await one.compare_and_set(after, describe_change(before, after, at=0.0, author="", reason=""), expected=1)
    await one.force(AgentId("alice"), Cohort.LEGACY, until=None)
    assert await other.load() is None
    assert list(await other.history(1)) == []
    assert await other.forced() == {}
