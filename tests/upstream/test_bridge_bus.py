"""Elicitation over a log that only stores and hands out events: what it costs, and what can go wrong."""

from collections.abc import Mapping

import orjson
import pytest

from proxy.core.bookkeeping import Marked, NoteKind, read_note
from proxy.core.bus import MAX_DATA_BYTES, MAX_LIFE_S, READER, answer_data, question_data
from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import AnswerForbidden, BridgeRefused, BridgeTimeout, BridgeUnavailable, InvalidInput
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.secret import Secret
from proxy.upstream.bridge_bus import BusBridge
from tests.support.bus_log import COLOUR, answer, ask, bus_id, question
from tests.support.fake_bus import FakeLog, bus_on
from tests.support.manual_clock import ManualClock

ALICE, BOB, MALLORY = AgentId("alice"), AgentId("bob"), AgentId("mallory")


class Line:
    """A log and the bus over it, as one sidecar sees it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = FakeLog(self.clock, is_patient=False)
        self.bus = bus_on(self.log)
        self.alice, self.bob = self.log.token("alice"), self.log.token("bob")

    def another(self) -> BusBridge:
        """The bus as another sidecar, or one that was started anew, sees it."""
        return bus_on(self.log)

    async def ask(self, *, timeout_s: float = 60.0) -> Elicitation:
        return await self.bus.ask(ask(timeout_s=timeout_s), self.alice)

    def chatter(self, count: int) -> None:
        for number in range(count):
            self.log.store({"word": number}, source="carol")

    def stored(self, place: int = -1) -> Mapping[str, object]:
        data: Mapping[str, object] = orjson.loads(self.log.log[place].data)
        return data

    def calls(self) -> int:
        return len(self.log.calls)


@pytest.fixture
def line() -> Line:
    return Line()


def _red(asked: Elicitation, kind: AnswerKind = AnswerKind.ACCEPT) -> Answer:
    content = {"colour": "red"} if kind is AnswerKind.ACCEPT else None
    return Answer(elicitation_id=asked.elicitation_id, kind=kind, content=content)


def _words(error: BridgeRefused) -> object:
    return orjson.loads(error.body)["detail"]


@pytest.mark.requirement("bus.words")
async def test_a_question_is_one_event_in_the_askers_name(line: Line) -> None:
    asked = await line.ask()
    stored = line.log.log[-1]
    assert (stored.source_agent, stored.event_type) == ("alice", "custom")
    assert line.stored() == question_data(asked)


async def test_a_question_lives_a_day_at_most(line: Line) -> None:
    asked = await line.ask(timeout_s=1e9)
    assert asked.expires_at - asked.created_at == MAX_LIFE_S


async def test_a_question_beyond_the_bound_is_refused_before_it_is_stored(line: Line) -> None:
    with pytest.raises(InvalidInput, match="at most"):
        await line.bus.ask(ask(message="x" * MAX_DATA_BYTES), line.alice)
    assert line.calls() == 0


@pytest.mark.requirement("bus.budget")
async def test_a_poll_for_questions_is_one_call_that_is_answered_at_once(line: Line) -> None:
    line.chatter(3)
    await line.bus.pending(BOB, line.bob)
    for expected in range(2, 6):
        await line.bus.pending(BOB, line.bob)
        assert line.calls() == expected
    assert line.log.barren == 0, "none of them waited for news"
    assert {(call.method, call.agent_id) for call in line.log.calls} == {("wait", READER)}


@pytest.mark.requirement("bus.budget")
@pytest.mark.parametrize("length", [0, 9, 10, 50, 700])
async def test_a_start_before_a_long_log_stays_within_the_allowance(line: Line, length: int) -> None:
    asked = await line.ask(timeout_s=6000)
    line.chatter(length)
    started, polls, began_at = line.another(), 1, line.clock.now()
    before = line.calls()
    while await started.pending(BOB, line.bob) != (asked,):
        polls += 1
        await line.clock.advance(1.0)
    beyond = line.calls() - before - polls
    assert beyond <= 10 + (line.clock.now() - began_at) / 4 + 1
    assert polls < 400


async def test_a_question_is_read_at_the_end_of_a_long_log_before_its_past(line: Line) -> None:
    line.chatter(700)
    asked = await line.ask()
    started = line.another()
    _ = await started.wait(BOB, line.bob, since=695, hold_s=5)
    assert await started.pending(BOB, line.bob) == (asked,)


async def test_what_a_wait_brings_is_known_at_once_and_keeps_its_bytes(line: Line) -> None:
    asked = await line.ask()
    other = line.another()
    [message] = await other.wait(BOB, line.bob, since=0, hold_s=5)
    assert isinstance(message, Marked)
    assert message.raw == line.log.log[0].raw
    assert other.open_for(BOB) == (asked,)
    assert other.has_open()


@pytest.mark.parametrize("kind", AnswerKind)
async def test_an_answer_reaches_the_askers_sidecar_under_its_questions_name(line: Line, kind: AnswerKind) -> None:
    asked = await line.ask()
    other = line.another()
    await other.pending(BOB, line.bob)
    await other.respond(_red(asked, kind), BOB, line.bob)
    [answered] = await line.bus.wait(ALICE, line.alice, since=1, hold_s=5)
    note = read_note(answered)
    assert note is not None
    assert (note.kind, note.elicitation_id, note.answer_kind) == (NoteKind.ANSWER, asked.elicitation_id, kind)
    assert await line.bus.pending(BOB, line.bob) == ()


@pytest.mark.requirement("bus.budget")
async def test_an_answer_costs_two_calls(line: Line) -> None:
    asked = await line.ask()
    await line.bus.pending(BOB, line.bob)
    before = line.calls()
    await line.bus.respond(_red(asked), BOB, line.bob)
    assert [call.method for call in line.log.calls[before:]] == ["store_event", "wait"]


@pytest.mark.requirement("bus.first_answer")
async def test_of_two_sidecars_only_the_first_in_the_logs_order_has_answered(line: Line) -> None:
    asked = await line.ask()
    first, second = line.another(), line.another()
    await first.pending(BOB, line.bob)
    await second.pending(BOB, line.bob)
    blue = Answer(elicitation_id=asked.elicitation_id, kind=AnswerKind.ACCEPT, content={"colour": "blue"})
    await first.respond(_red(asked), BOB, line.bob)
    with pytest.raises(BridgeRefused, match="Failed to respond"):
        await second.respond(blue, BOB, line.bob)
    messages = await line.bus.wait(ALICE, line.alice, since=1, hold_s=5)
    assert [isinstance(message, Marked) for message in messages] == [True, False]
    with pytest.raises(BridgeRefused, match="Failed to respond"):
        await second.respond(blue, BOB, line.bob)
    assert len(line.log.log) == 3, "the second time nothing is stored"


@pytest.mark.requirement("bus.only_the_addressee")
async def test_nobody_speaks_in_anothers_name(line: Line) -> None:
    asked = await line.ask()
    mallory = line.log.token("mallory")
    with pytest.raises(AnswerForbidden):
        await line.bus.ask(ask(), mallory)
    with pytest.raises(BridgeRefused, match="Invalid agent session token"):
        await line.bus.respond(_red(asked), BOB, mallory)
    with pytest.raises(BridgeRefused, match="Invalid agent session token"):
        await line.bus.withdraw(asked.elicitation_id, ALICE, mallory)
    with pytest.raises(BridgeRefused, match="not authorized"):
        await line.bus.respond(_red(asked), MALLORY, mallory)
    with pytest.raises(BridgeRefused, match="Only alice can cancel"):
        await line.bus.withdraw(asked.elicitation_id, MALLORY, mallory)
    assert len(line.log.log) == 1


async def test_a_token_that_tells_no_name_is_the_bridges_to_judge(line: Line) -> None:
    line.log.tokens.add("Bearer opaque")
    await line.bus.ask(ask(), Secret("Bearer opaque"))
    assert len(line.log.log) == 1


async def test_an_answer_that_does_not_fit_is_refused_before_it_is_stored(line: Line) -> None:
    asked = await line.ask()
    with pytest.raises(BridgeRefused, match="does not match"):
        await line.bus.respond(Answer(elicitation_id=asked.elicitation_id, kind=AnswerKind.ACCEPT), BOB, line.bob)
    assert len(line.log.log) == 1


async def test_a_question_taken_back_is_over_for_everybody(line: Line) -> None:
    asked = await line.ask()
    other = line.another()
    assert await other.pending(BOB, line.bob) == (asked,)
    await line.bus.withdraw(asked.elicitation_id, ALICE, line.alice)
    assert await other.pending(BOB, line.bob) == ()
    for bus in (line.bus, other):
        assert await bus.status(asked.elicitation_id, line.alice) is BridgeStatus.CANCELLED
    with pytest.raises(BridgeRefused, match="Failed to respond"):
        await line.bus.withdraw(asked.elicitation_id, ALICE, line.alice)
    with pytest.raises(BridgeRefused, match="Failed to respond"):
        await line.bus.withdraw(bus_id(7), ALICE, line.alice)


async def test_an_expired_question_cannot_be_answered(line: Line) -> None:
    asked = await line.ask(timeout_s=1)
    await line.clock.advance(1)
    assert await line.bus.status(asked.elicitation_id, line.bob) is BridgeStatus.EXPIRED
    with pytest.raises(BridgeRefused, match="Failed to respond"):
        await line.bus.respond(_red(asked), BOB, line.bob)
    assert not line.bus.has_open()


async def test_a_question_in_the_past_of_a_long_log_is_looked_for_before_it_is_answered(line: Line) -> None:
    asked = await line.ask(timeout_s=6000)
    line.chatter(60)
    started = line.another()
    await started.respond(_red(asked), BOB, line.bob)
    assert await line.bus.status(asked.elicitation_id, line.bob) is BridgeStatus.ACCEPTED


async def test_what_cannot_be_told_yet_is_not_called_unknown(line: Line) -> None:
    line.chatter(90)
    asked = await line.ask(timeout_s=6000)
    line.chatter(700)
    started = line.another()
    with pytest.raises(BridgeUnavailable):
        await started.status(asked.elicitation_id, line.bob)
    with pytest.raises(BridgeRefused, match="try again"):
        await started.respond(_red(asked), BOB, line.bob)
    assert await started.status(ElicitationId("elicit_89ed0ddbe8fd492e"), line.bob) is None
    assert len(line.log.log) == 791


async def test_an_answer_is_named_though_its_question_stands_further_back(line: Line) -> None:
    asked = await line.ask(timeout_s=6000)
    line.chatter(60)
    line.log.store({"in_reply_to": asked.elicitation_id, "colour": "red"}, source="bob")
    started = line.another()
    messages = await started.wait(ALICE, line.alice, since=60, hold_s=5)
    assert [isinstance(message, Marked) for message in messages] == [False, True]


async def test_an_answer_whose_question_is_gone_is_an_ordinary_message(line: Line) -> None:
    line.log.store(answer_data(answer(), question()), source="bob")
    line.log.store(answer_data(answer(number=2), question(2, asker="carol")), source="bob")
    messages = await line.bus.wait(ALICE, line.alice, since=0, hold_s=5)
    assert not any(isinstance(message, Marked) for message in messages)


@pytest.mark.requirement("bus.bridge_restart")
async def test_an_open_question_outlives_a_bridge_that_loses_its_log(line: Line) -> None:
    line.chatter(20)
    asked = await line.ask()
    assert await line.bus.pending(BOB, line.bob)
    line.log.go_down()
    with pytest.raises(BridgeUnavailable):
        await line.bus.pending(BOB, line.bob)
    await line.clock.advance(1)
    line.log.come_back()
    line.chatter(3)
    alice, bob = line.log.token("alice"), line.log.token("bob")
    assert await line.bus.pending(BOB, bob) == (asked,)
    await line.bus.respond(_red(asked), BOB, bob)
    messages = await line.bus.wait(ALICE, alice, since=3, hold_s=5)
    assert [isinstance(message, Marked) for message in messages] == [True]
    assert await line.bus.pending(BOB, bob) == ()


@pytest.mark.requirement("bus.unclear_outcome")
async def test_an_answer_of_unknown_outcome_is_found_in_the_log(line: Line) -> None:
    asked = await line.ask()
    line.log.fails("store_event", lambda: BridgeTimeout("no answer in time"), times=1, after=True)
    with pytest.raises(BridgeTimeout):
        await line.bus.respond(_red(asked), BOB, line.bob)
    assert await line.bus.status(asked.elicitation_id, line.bob) is BridgeStatus.ACCEPTED
    line.log.fails("store_event", lambda: BridgeTimeout("no answer in time"), times=0)


@pytest.mark.requirement("bus.unclear_outcome")
async def test_an_answer_that_cannot_be_read_back_is_of_unknown_outcome(line: Line) -> None:
    asked = await line.ask()
    await line.bus.pending(BOB, line.bob)
    line.log.store_to_nowhere = True
    with pytest.raises(BridgeTimeout, match="cannot be read back"):
        await line.bus.respond(_red(asked), BOB, line.bob)


async def test_an_answer_that_came_too_late_by_the_bridges_clock_is_refused(line: Line) -> None:
    asked = await line.ask()
    line.log.clock_ahead_s = 100
    with pytest.raises(BridgeRefused, match="Failed to respond"):
        await line.bus.respond(_red(asked), BOB, line.bob)


@pytest.mark.requirement("bus.bridge_restart")
async def test_a_copy_of_a_message_of_a_log_that_is_gone_is_what_it_was(line: Line) -> None:
    asked = await line.ask()
    await line.bus.pending(BOB, line.bob)
    await line.bus.respond(_red(asked), BOB, line.bob)
    notes = [read_note(line.bus.judge(message)) for message in line.log.log]
    assert [note and note.kind for note in notes] == [NoteKind.OTHER, NoteKind.ANSWER]
    started = line.another()
    notes = [read_note(started.judge(message)) for message in line.log.log]
    assert [note and note.kind for note in notes] == [NoteKind.QUESTION, NoteKind.ANSWER]
    assert await started.status(asked.elicitation_id, line.bob) is BridgeStatus.ACCEPTED


async def test_the_bus_carries_every_question(line: Line) -> None:
    assert await line.bus.carries(line.bob)
    assert not line.bus.has_open()
    assert await line.bus.find(bus_id(7), line.bob) is None
    assert (await line.ask()).schema == COLOUR


async def test_a_session_is_the_bridges_own(line: Line) -> None:
    assert await line.bus.pending(BOB, await line.bus.open_session(BOB)) == ()
