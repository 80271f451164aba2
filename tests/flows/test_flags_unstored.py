"""Changes of flags while nothing can be stored: refused, with the reason and with what to do."""

from collections.abc import Mapping

import pytest

from proxy.core.cohort import Cohort
from proxy.core.errors import StateUnavailable
from proxy.core.flags import FlagSet, parse_patch
from proxy.core.ids import AgentId
from proxy.flows.flags import HOW_TO_RETREAT, FlagBoard
from proxy.stores.memory import MemoryFlagStore
from tests.support.manual_clock import ManualClock

pytestmark = pytest.mark.requirement("flags.unstored")

BEFORE = FlagSet(elicitation_enabled=True, elicitation_percentage=50.0)


class FullStore(MemoryFlagStore):
    """A store that can be read and takes nothing."""

    __slots__ = ()

    async def compare_and_set(self, *_: object, **__: object) -> None:
        raise StateUnavailable("the disk is full", retry_after_s=10)

    async def force(self, *_: object, **__: object) -> None:
        raise StateUnavailable("the disk is full", retry_after_s=10)


async def _board() -> FlagBoard:
    board = FlagBoard(FullStore(), ManualClock(), salt="", groups={})
    await board.open(BEFORE)
    return board


@pytest.mark.parametrize(
    ("patch", "is_retreat"),
    [
        ({"elicitation_enabled": False}, True),
        ({"elicitation_percentage": 25}, True),
        ({"elicitation_percentage": 75}, False),
        ({"elicitation_whitelist": ["bob"]}, False),
    ],
)
async def test_nothing_changes_and_who_takes_elicitation_back_is_told_how_else(
    patch: Mapping[str, object], *, is_retreat: bool
) -> None:
    board = await _board()
    with pytest.raises(StateUnavailable) as caught:
        await board.change(parse_patch(patch), author="op", expected=None)
    assert board.flags == BEFORE
    error = caught.value
    assert (error.status, error.retry_after_s) == (503, 10)
    assert error.detail.startswith("nothing has changed, as it cannot be stored: the disk is full; make it again when")
    assert (HOW_TO_RETREAT in error.detail) is is_retreat


@pytest.mark.parametrize(("cohort", "is_retreat"), [(Cohort.LEGACY, True), (Cohort.ELICITATION, False)])
async def test_the_same_holds_for_a_single_agent(cohort: Cohort, *, is_retreat: bool) -> None:
    board = await _board()
    with pytest.raises(StateUnavailable) as caught:
        await board.force(AgentId("bob"), cohort)
    assert board.forced() == {}
    assert (HOW_TO_RETREAT in caught.value.detail) is is_retreat
