"""The allowance of one feed: questions keep the pace, messages run one burst ahead, nobody is silenced."""

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.pace import Pace
from proxy.flows.budget import Budget
from tests.support.manual_clock import ManualClock


def _budget(clock: ManualClock) -> Budget:
    return Budget(Pace(per_minute=60, burst=10, fast_s=0.1, idle_s=1.0), clock)


async def test_the_first_poll_of_each_kind_goes_up_at_once() -> None:
    budget = _budget(ManualClock())
    assert (budget.until_question(), budget.until_message()) == (0.0, 0.0)


async def test_questions_are_polled_fast_while_something_happens_and_slowly_otherwise() -> None:
    clock = ManualClock()
    budget = _budget(clock)
    budget.spend()
    budget.asked()
    assert budget.until_question() == 1.0
    budget.stir()
    assert budget.until_question() == 0.1
    await clock.advance(6)
    assert budget.until_question() == 0.0
    budget.spend()
    budget.asked()
    assert budget.until_question() == 1.0


async def test_messages_wait_only_when_the_debt_is_a_burst_and_questions_never_longer_than_that() -> None:
    clock = ManualClock()
    budget = _budget(clock)
    for _ in range(20):
        assert budget.until_message() == 0.0
        budget.spend()
    assert budget.until_message() == 1.0
    budget.asked()
    assert budget.until_question() == 11.0
    await clock.advance(1)
    assert budget.until_message() == 0.0


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), min_size=1, max_size=60))
def test_whoever_keeps_to_it_stays_under_the_bridges_rule(steps: list[tuple[float, bool]]) -> None:
    """However both kinds are mixed, a minute never sees more than the allowance and two bursts."""
    clock = ManualClock()
    budget = _budget(clock)
    sent: list[float] = []
    for idle_s, is_message in steps:
        clock._move(clock.now() + idle_s)
        clock._move(clock.now() + (budget.until_message() if is_message else budget.until_question()))
        budget.stir()
        budget.spend()
        sent.append(clock.now())
        if not is_message:
            budget.asked()
        within = sum(at > clock.now() - 60 for at in sent)
        assert within <= 60 + 2 * 10 + 1
