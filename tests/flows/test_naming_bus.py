"""What agents read of elicitations over a bus, which name their questions themselves."""

import orjson
import pytest

from proxy.core.bookkeeping import Note, NoteKind, marked
from proxy.core.bus import answer_data
from proxy.core.elicitation import AnswerKind
from proxy.core.ids import AgentId
from proxy.core.journal import QuestionState
from proxy.core.questions import QuestionBook
from proxy.flows.naming import AnswerNames
from tests.support.bus_log import WALL, answer, bus_id, message, question
from tests.support.manual_clock import ManualClock

pytestmark = pytest.mark.requirement("bus.named")

ALICE, BOB, CAROL = AgentId("alice"), AgentId("bob"), AgentId("carol")
STORED = message(answer_data(answer(), question()), source="bob", sequence=7)
ANSWERED = Note(
    kind=NoteKind.ANSWER,
    addressee=BOB,
    responding_agent=BOB,
    answer_kind=AnswerKind.ACCEPT,
    content={"colour": "red"},
    elicitation_id=bus_id(),
    asker=ALICE,
)


def _names(book: QuestionBook | None = None) -> AnswerNames:
    return AnswerNames(book or QuestionBook(redeliver_s=30), ManualClock())


def test_the_asker_reads_the_answer_under_its_questions_name() -> None:
    told = _names().translate(ALICE, marked(STORED, ANSWERED), STORED.raw, sequence=7)
    assert told is not None
    item = orjson.loads(told)
    assert (item["sequence"], item["event_type"], item["source_agent"]) == (7, "elicitation_response", "bob")
    assert item["data"] == {
        "elicitation_id": bus_id(),
        "in_reply_to": bus_id(),
        "response_type": "accept",
        "data": {"colour": "red"},
    }


@pytest.mark.parametrize("reader", [BOB, CAROL])
def test_nobody_else_reads_it(reader: AgentId) -> None:
    assert _names().translate(reader, marked(STORED, ANSWERED), STORED.raw, sequence=7) is None


@pytest.mark.parametrize("kind", [NoteKind.QUESTION, NoteKind.OTHER])
def test_questions_are_items_of_their_own_and_no_messages(kind: NoteKind) -> None:
    note = Note(kind=kind, addressee=BOB, elicitation_id=bus_id(), asker=ALICE)
    for reader in (ALICE, BOB, CAROL):
        assert _names().translate(reader, marked(STORED, note), STORED.raw, sequence=7) is None


def test_an_answer_that_was_not_judged_is_passed_on_as_it_is() -> None:
    assert _names().translate(ALICE, STORED, STORED.raw, sequence=7) == STORED.raw


def test_a_question_whose_answer_its_asker_has_read_is_over() -> None:
    book = QuestionBook(redeliver_s=30)
    book.add(question())
    _names(book).learn(ALICE, [(7, marked(STORED, ANSWERED))])
    listed = book.listed(bus_id())
    assert listed is not None
    assert listed.state is QuestionState.ANSWERED
    assert book.open_count(WALL) == 0
