"""A note of an answer is never read under the name of a question that it cannot belong to."""

from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.ids import AgentId
from proxy.core.questions import QuestionBook
from proxy.flows.naming import AnswerNames
from tests.support.fake_bridge import FakeBridge
from tests.support.manual_clock import ManualClock

RED = {"colour": "red"}
ALICE = AgentId("alice")


def _settled(book: QuestionBook, question: Elicitation, clock: ManualClock) -> None:
    answer = Answer(elicitation_id=question.elicitation_id, kind=AnswerKind.ACCEPT, content=RED)
    book.claim(answer, question.to_agent, wall=clock.wall())
    book.settle(question.elicitation_id, now=clock.now())


async def _named(*, is_doubted: bool, is_late: bool) -> object:
    """What the note of a first answer is read as, once a second question got the same answer."""
    clock = ManualClock()
    bridge, book = FakeBridge(clock), QuestionBook(redeliver_s=30)
    names = AnswerNames(book, clock)
    first = bridge.ask("bob")
    book.add(first)
    if is_doubted:
        answer = Answer(elicitation_id=first.elicitation_id, kind=AnswerKind.ACCEPT, content=RED)
        book.doubt(first.elicitation_id, answer.digest())
    data = {"elicitation_type": "elicitation_accepted", "responding_agent": "bob", "response_data": RED}
    if not is_late:
        bridge.store(data, source="bob")
        await clock.advance(1)
    second = bridge.ask("bob")
    book.add(second)
    _settled(book, second, clock)
    if is_late:
        await clock.advance(1)
        bridge.store(data, source="bob")
    (note,) = bridge.log
    names.learn(ALICE, [(note.sequence, note)])
    told = names.translate(ALICE, note, note.raw, sequence=note.sequence)
    assert told is not None
    return b"elicitation_response" in told and second.elicitation_id.encode() in told


async def test_a_note_from_before_a_question_does_not_name_it() -> None:
    assert not await _named(is_doubted=False, is_late=False)


async def test_a_note_that_may_be_of_an_answer_in_doubt_names_no_other_question() -> None:
    assert not await _named(is_doubted=True, is_late=True)


async def test_a_note_after_the_answer_names_its_question() -> None:
    assert await _named(is_doubted=False, is_late=True)
