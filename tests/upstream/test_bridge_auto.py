"""A Bridge whose elicitation is found out: what tells, when it is asked again, and what a change leaves open."""

import pytest

from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import BridgeFault, BridgeRefused, BridgeTimeout, BridgeUnavailable
from proxy.core.ids import AgentId
from proxy.core.secret import Secret
from proxy.upstream.bridge_auto import AutoBridge
from tests.support.bus_log import ask
from tests.support.fake_bridge import refused
from tests.support.fake_bus import FakeLog, bus_on
from tests.support.manual_clock import ManualClock

pytestmark = pytest.mark.requirement("bus.auto")

ALICE, BOB = AgentId("alice"), AgentId("bob")
REPROBE_S = 30.0


class Line:
    """A Bridge that may learn elicitation, as one sidecar finds it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = FakeLog(self.clock, is_patient=False)
        self.bus = bus_on(self.log)
        self.auto = AutoBridge(self.log, self.bus, self.clock, reprobe_s=REPROBE_S)
        self.alice, self.bob = self.log.token("alice"), self.log.token("bob")

    def has_none(self, status: int = 404) -> None:
        """The Bridge has no elicitation."""
        self.log.fails("pending", lambda: refused(status, b'{"detail":"Not Found"}'))

    def learns(self) -> None:
        """From now on it has."""
        self.log.fails("pending", lambda: refused(404), times=0)

    async def pending(self) -> tuple[Elicitation, ...]:
        return await self.auto.pending(BOB, self.bob)

    def probes(self) -> int:
        return self.log.count("pending")


@pytest.fixture
def line() -> Line:
    return Line()


def _answer(asked: Elicitation) -> Answer:
    return Answer(elicitation_id=asked.elicitation_id, kind=AnswerKind.ACCEPT, content={"colour": "red"})


async def test_a_bridge_that_has_elicitation_is_asked_itself(line: Line) -> None:
    asked = line.log.ask("bob")
    assert await line.pending() == (asked,)
    assert not await line.auto.carries(line.bob)
    await line.auto.respond(_answer(asked), BOB, line.bob)
    assert await line.auto.status(asked.elicitation_id, line.bob) is BridgeStatus.ACCEPTED
    assert line.log.count("wait") == 0


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_bridge_that_has_none_carries_questions_as_events(line: Line, status: int) -> None:
    line.has_none(status)
    assert await line.auto.carries(line.alice)
    asked = await line.auto.ask(ask(), line.alice)
    assert await line.pending() == (asked,)
    await line.auto.respond(_answer(asked), BOB, line.bob)
    assert await line.auto.status(asked.elicitation_id, line.bob) is BridgeStatus.ACCEPTED
    assert (await line.pending(), line.probes()) == ((), 1)


async def test_it_is_asked_again_after_a_while_and_once_for_all(line: Line) -> None:
    line.has_none()
    await line.pending()
    await line.clock.advance(REPROBE_S - 1)
    await line.pending()
    assert line.probes() == 1
    await line.clock.advance(1)
    await line.pending()
    await line.pending()
    assert line.probes() == 2


async def test_a_question_on_the_bus_is_answered_after_the_bridge_has_learned_elicitation(line: Line) -> None:
    line.has_none()
    await line.pending()
    old = await line.auto.ask(ask(), line.alice)
    line.learns()
    await line.clock.advance(REPROBE_S)
    new = line.log.ask("bob")
    assert await line.pending() == (new, old)
    assert not await line.auto.carries(line.alice)
    assert line.auto.has_open()
    assert await line.auto.find(old.elicitation_id, line.alice) == old
    await line.auto.respond(_answer(old), BOB, line.bob)
    await line.auto.respond(_answer(new), BOB, line.bob)
    assert (await line.pending(), line.auto.has_open()) == ((), False)
    assert line.log.answers == [_answer(new)]


async def test_a_question_that_another_sidecar_still_puts_on_the_bus_is_listed(line: Line) -> None:
    await line.pending()
    late = await bus_on(line.log).ask(ask(), line.alice)
    assert await line.pending() == ()
    [read] = await line.auto.wait(BOB, line.bob, since=0, hold_s=5)
    assert await line.pending() == (late,)
    assert line.auto.judge(read) == read
    await line.auto.withdraw(late.elicitation_id, ALICE, line.alice)
    assert await line.pending() == ()


async def test_a_bridge_that_loses_elicitation_is_noticed_at_the_next_poll(line: Line) -> None:
    asked = line.log.ask("bob")
    assert await line.pending() == (asked,)
    line.has_none()
    assert await line.pending() == ()
    assert await line.auto.carries(line.bob)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_bridge_that_refuses_the_token_for_it_has_elicitation(line: Line, status: int) -> None:
    line.has_none()
    await line.pending()
    line.has_none(status)
    await line.clock.advance(REPROBE_S)
    with pytest.raises(BridgeRefused):
        await line.pending()
    line.learns()
    assert not await line.auto.carries(line.bob)


@pytest.mark.parametrize("fault", [BridgeTimeout("late"), BridgeUnavailable("gone"), refused(500)], ids=repr)
async def test_a_failure_tells_nothing(line: Line, fault: BridgeFault) -> None:
    line.log.fails("pending", lambda: fault)
    with pytest.raises(type(fault)):
        await line.pending()
    line.has_none()
    await line.clock.advance(REPROBE_S)
    asked = await line.auto.ask(ask(), line.alice)
    assert await line.pending() == (asked,)
    line.log.fails("pending", lambda: fault)
    await line.clock.advance(REPROBE_S)
    assert await line.pending() == (asked,), "what was known stays"


async def test_without_a_name_in_the_token_the_bridge_is_asked_in_nobodys(line: Line) -> None:
    line.log.tokens.add("Bearer opaque")
    line.has_none()
    assert await line.auto.carries(Secret("Bearer opaque"))
    assert line.log.calls[-1].agent_id == "elicit-sidecar"
    assert await line.auto.pending(BOB, await line.auto.open_session(BOB)) == ()
