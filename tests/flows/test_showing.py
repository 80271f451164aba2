"""How messages of the log are shown: each send in one form, and each answer to one, whatever comes when."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.bookkeeping import Note, NoteKind
from proxy.core.bookkeeping import marked as marked_message
from proxy.core.breaker import Breaker
from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.errors import BridgeTimeout
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message, parse_wait_reply
from proxy.core.pace import Pace
from proxy.core.questions import QuestionBook
from proxy.core.second_copies import second_copies
from proxy.core.secret import Secret
from proxy.core.send_marks import marked
from proxy.core.send_replies import reply_data, sealed
from proxy.core.sends import DualSends
from proxy.core.sent_questions import SentQuestions
from proxy.core.sequences import SequenceMap
from proxy.flows.agent_sessions import AgentSessions
from proxy.flows.errands import Errands
from proxy.flows.feed_parts import FeedParts
from proxy.flows.naming import AnswerNames
from proxy.flows.sends_under_way import SendsUnderWay
from proxy.flows.showing import MAX_COMPARED, may_have_been_asked, see_second_copies, show
from proxy.flows.waiter import Parcel
from tests.support.fake_bridge import FakeBridge
from tests.support.fake_recorder import FakeRecorder
from tests.support.manual_clock import ManualClock

ALICE, BOB, CAROL = AgentId("alice"), AgentId("bob"), AgentId("carol")
E1 = ElicitationId("elicit_1")
SCHEMA = {"type": "object", "properties": {"reply": {"type": "string"}}}
SENT, NOTED, ANSWERED, REPLIED = 1, 2, 3, 4
"""The numbers of the send, of the note of its question, of the note of the answer and of the message that brings it."""


def _parts() -> FeedParts:
    clock, sent = ManualClock(), SentQuestions()
    book = QuestionBook(redeliver_s=30.0, write=sent.hear, withholds=sent.withholds)
    bridge = FakeBridge(clock)
    errands = Errands(lambda _work, _name: pytest.fail("nothing is begun here"))
    return FeedParts(
        bridge=bridge,
        book=book,
        breaker=Breaker(failures=3, cooldown_s=10.0, incapable_s=30.0),
        sequences=SequenceMap(),
        names=AnswerNames(book, clock),
        clock=clock,
        recorder=FakeRecorder(),
        spawn=lambda _work, _name: pytest.fail("nothing is begun here"),
        errands=errands,
        sessions=AgentSessions(bridge, errands.begin),
        new_pace=lambda: Pace(per_minute=60, burst=10, fast_s=0.1, idle_s=2.0),
        hold_s=20.0,
        sent=sent,
        under_way=SendsUnderWay(DualSends.ASKING),
    )


def _question(parts: FeedParts) -> Elicitation:
    wall = parts.clock.wall()
    return Elicitation(
        elicitation_id=E1,
        from_agent="alice",
        to_agent=BOB,
        message="Ship it?",
        schema=SCHEMA,
        created_at=wall,
        expires_at=wall + 300.0,
        made_from=SENT,
    )


YES = Answer(elicitation_id=E1, kind=AnswerKind.ACCEPT, content={"reply": "yes"})


def _log(question: Elicitation) -> list[Message]:
    asked = {"from_agent": "alice", "to_agent": "bob", "message": "Ship it?", "schema": marked(SCHEMA, SENT)}
    content = sealed(YES, question).content
    told = [
        ("alice", {"to_agent": "bob", "message": "Ship it?", "expects_reply": True}),
        ("alice", {"elicitation_type": "elicitation_requested", **asked}),
        ("bob", {"elicitation_type": "elicitation_accepted", "responding_agent": "bob", "response_data": content}),
        ("bob", reply_data(question, YES)),
    ]
    items = [
        {"sequence": place, "event_type": "custom", "source_agent": source, "data": data}
        for place, (source, data) in enumerate(told, start=1)
    ]
    return list(parse_wait_reply(orjson.dumps({"events": items})))


@dataclass
class Reader:
    """One agent with its cursor; what it has received is by number."""

    agent_id: AgentId
    parts: FeedParts
    cursor: int = 0
    had: list[tuple[int, bytes]] = field(default_factory=list)
    has_read_note_unaware: bool = False
    """It read the Bridge's note of a question of which nothing was known here."""

    def read(self, log: list[Message], *, on_elicitation: bool, is_lost: bool = False) -> None:
        """One wait on one of the ways, which brings all that the log has by now."""
        batch = [message for message in log if message.sequence > self.cursor]
        if not batch:
            return
        self.parts.sent.saw_copies(self.agent_id, second_copies(batch, self.agent_id))
        if on_elicitation:
            self.parts.names.learn(self.agent_id, [(message.sequence, message) for message in batch])
        else:
            self.parts.names.passes_as_legacy(self.agent_id, self.cursor)
        shown = [show(self.parts, self.agent_id, _parcel(message), message)[on_elicitation] for message in batch]
        if is_lost:
            return
        for parcel in shown:
            if parcel is not None:
                self.had.append((parcel.sequence, parcel.body))
                self.cursor = parcel.sequence
                is_unaware = parcel.sequence == NOTED and not self.parts.sent.is_party(self.agent_id)
                self.has_read_note_unaware = self.has_read_note_unaware or is_unaware

    def kinds(self, *numbers: int) -> list[object]:
        """What it has of these."""
        return [orjson.loads(body)["event_type"] for number, body in self.had if number in numbers]


def _parcel(message: Message) -> Parcel:
    return Parcel(sequence=message.sequence, body=message.raw, created_at=message.created_at)


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["grow", "known", "answer", "expire"]),
        st.tuples(st.sampled_from(["alice", "bob"]), st.booleans(), st.booleans()),
    ),
    max_size=14,
)


class _Walk:
    """A send, its question and its answer, in an order that the test chooses."""

    def __init__(self) -> None:
        self.parts = _parts()
        self.question = _question(self.parts)
        self.log, self.length = _log(self.question), 0
        self.alice, self.bob = Reader(ALICE, self.parts), Reader(BOB, self.parts)

    def step(self, step: str | tuple[str, bool, bool]) -> None:
        if isinstance(step, tuple):
            who, on_elicitation, is_lost = step
            reader = self.alice if who == "alice" else self.bob
            reader.read(self.log[: self.length], on_elicitation=on_elicitation, is_lost=is_lost)
        else:
            getattr(self, step)()

    def grow(self) -> None:
        # The note of an answer is there only after the answer, which takes a question that is known.
        most = len(self.log) if self.is_answered() else NOTED
        self.length = min(self.length + 1, most)

    def known(self) -> None:
        if self.length >= SENT and self.parts.book.add(self.question):
            self.parts.sent.believe(E1)

    def answer(self) -> None:
        if self.bob.kinds(SENT) and self.parts.book.still_asks(E1, wall=self.parts.clock.wall()):
            self.parts.book.claim(YES, BOB, wall=self.parts.clock.wall())
            self.parts.book.settle(E1, now=self.parts.clock.now())

    def expire(self) -> None:
        clock = self.parts.clock
        assert isinstance(clock, ManualClock)
        clock.step_wall(400.0)

    def finish(self) -> Iterator[str | tuple[str, bool, bool]]:
        """What brings every exchange to its end."""
        yield from ("grow", "grow")
        yield "bob", True, False
        yield from ("known", "answer", "grow", "grow")
        yield "bob", False, False
        yield "alice", True, False
        yield "alice", False, False

    def is_answered(self) -> bool:
        listed = self.parts.book.listed(E1)
        return listed is not None and listed.state == "answered"


@pytest.mark.requirement("dual.one_copy")
@pytest.mark.requirement("dual.flips")
@settings(max_examples=400)
@given(steps=STEPS)
def test_in_every_order_a_send_is_received_in_one_form_and_its_answer_once(
    steps: list[str | tuple[str, bool, bool]],
) -> None:
    walk = _Walk()
    for step in steps:
        walk.step(step)
    for step in walk.finish():
        walk.step(step)
    copies = walk.bob.kinds(SENT, NOTED)
    assert len(copies) == 1 + walk.bob.has_read_note_unaware, copies
    replies = [
        orjson.loads(body)["data"]
        for number, body in walk.alice.had
        if number == REPLIED or (number == ANSWERED and b'"elicitation_response"' in body)
    ]
    assert len(replies) == walk.is_answered(), replies
    assert all((reply["in_reply_to"], reply["elicitation_id"]) == (SENT, E1) for reply in replies)


@pytest.fixture(name="walk")
def _walk() -> Iterator[_Walk]:
    with ExitStack():
        made = _Walk()
        made.length = NOTED
        made.known()
        yield made


@pytest.mark.requirement("dual.one_copy")
def test_on_the_elicitation_way_the_question_has_the_place_of_the_event(walk: _Walk) -> None:
    walk.bob.read(walk.log[:NOTED], on_elicitation=True)
    ((number, body),) = walk.bob.had
    item = orjson.loads(body)
    assert (number, item["sequence"], item["event_type"]) == (SENT, SENT, "elicitation_request")
    assert item["data"]["elicitation_id"] == E1
    assert item["data"]["sent"]["message"] == "Ship it?"


@pytest.mark.requirement("dual.one_copy")
def test_on_the_legacy_way_the_event_comes_and_the_note_of_its_question_does_not(walk: _Walk) -> None:
    walk.bob.read(walk.log[:NOTED], on_elicitation=False)
    assert walk.bob.had == [(SENT, walk.log[0].raw)]


def test_for_everybody_else_nothing_is_changed(walk: _Walk) -> None:
    carol = Reader(CAROL, walk.parts)
    carol.read(walk.log, on_elicitation=False)
    assert [number for number, _ in carol.had] == [SENT, NOTED, ANSWERED, REPLIED]
    watching = Reader(CAROL, walk.parts)
    watching.read(walk.log, on_elicitation=True)
    assert watching.had == [(SENT, walk.log[0].raw), (REPLIED, walk.log[3].raw)]


@pytest.mark.requirement("dual.one_copy")
@pytest.mark.parametrize("kind", [NoteKind.QUESTION, NoteKind.OTHER], ids=["open", "over"])
def test_on_a_bus_the_event_of_the_question_does_not_come_either(walk: _Walk, kind: NoteKind) -> None:
    note = Note(kind=kind, addressee="bob", elicitation_id=E1, asker="alice", made_from=SENT)
    walk.log[1] = marked_message(walk.log[1], note)
    walk.bob.read(walk.log[:NOTED], on_elicitation=False)
    assert walk.bob.had == [(SENT, walk.log[0].raw)]


@pytest.mark.requirement("dual.expired")
def test_a_question_that_can_no_longer_be_answered_is_the_event_again(walk: _Walk) -> None:
    walk.expire()
    walk.bob.read(walk.log[:NOTED], on_elicitation=True)
    assert walk.bob.had == [(SENT, walk.log[0].raw)]


def test_one_that_the_book_had_no_room_for_is_the_event(walk: _Walk) -> None:
    walk.parts.book.withdraw(E1)
    walk.parts.sent.restore([])
    walk.bob.read(walk.log[:NOTED], on_elicitation=True)
    assert walk.bob.kinds(SENT) == ["custom"]


def test_once_itis_answered_neither_comes_again(walk: _Walk) -> None:
    walk.bob.read(walk.log[:NOTED], on_elicitation=True)
    walk.answer()
    walk.bob.cursor = 0
    walk.bob.had.clear()
    walk.bob.read(walk.log[:NOTED], on_elicitation=True)
    assert walk.bob.had == []


def test_of_a_log_that_is_gone_the_event_is_delivered(walk: _Walk) -> None:
    message = walk.log[0]
    walk.parts.sequences.offset = 1000
    raw, asked = show(walk.parts, BOB, _parcel(message), message)
    assert raw == asked == _parcel(message)
    again = replace(_parcel(message), sequence=1000 + SENT)
    _, asked = show(walk.parts, BOB, again, message)
    assert asked is not None
    assert (asked.sequence, asked.elicitation_id) == (1000 + SENT, E1)


@pytest.mark.requirement("dual.flips")
def test_the_answer_that_was_given_on_one_way_is_left_out_on_the_other(walk: _Walk) -> None:
    walk.bob.read(walk.log[:NOTED], on_elicitation=True)
    walk.answer()
    walk.alice.read(walk.log[:ANSWERED], on_elicitation=True)
    assert walk.alice.kinds(ANSWERED) == ["elicitation_response"]
    walk.alice.read(walk.log, on_elicitation=False)
    assert walk.alice.kinds(REPLIED) == []


@pytest.mark.requirement("dual.flips")
def test_the_answer_whose_reply_was_lost_comes_on_the_other_way(walk: _Walk) -> None:
    walk.bob.read(walk.log[:NOTED], on_elicitation=True)
    walk.answer()
    walk.alice.read(walk.log[:ANSWERED], on_elicitation=True, is_lost=True)
    walk.alice.read(walk.log, on_elicitation=False)
    assert walk.alice.kinds(REPLIED) == ["custom"]


def test_an_answer_under_a_wrong_name_is_left_as_it_came(walk: _Walk) -> None:
    forged = replace(walk.log[2], source_agent="mallory")
    walk.alice.read([*walk.log[:NOTED], forged], on_elicitation=True)
    assert walk.alice.had[-1] == (ANSWERED, forged.raw)


@pytest.mark.parametrize(("is_known", "may"), [(True, False), (False, True)])
def test_a_send_that_nothing_is_known_of_may_have_been_asked(*, is_known: bool, may: bool) -> None:
    walk = _Walk()
    walk.length = SENT
    if is_known:
        walk.known()
    assert may_have_been_asked(walk.parts, BOB, walk.log[:1]) is may
    assert not may_have_been_asked(walk.parts, CAROL, walk.log[:1])


# Notes that come alone


@dataclass(frozen=True)
class Lone:
    """A note whose event was read before, of a question that is not known here."""

    parts: FeedParts
    bridge: FakeBridge
    token: Secret

    async def see(self, messages: list[Message]) -> bool:
        """Whether the note is recognised as a second copy."""
        async with asyncio.timeout(5):
            await see_second_copies(self.parts, BOB, self.token, messages)
        return self.parts.sent.is_copy(BOB, NOTED)


@pytest.fixture(name="lone")
def _lone() -> Lone:
    parts = _parts()
    assert isinstance(parts.bridge, FakeBridge)
    return Lone(parts, parts.bridge, parts.bridge.token("bob"))


def _note_of(lone: Lone) -> list[Message]:
    return _log(_question(lone.parts))[SENT:NOTED]


@pytest.mark.requirement("dual.one_copy")
async def test_a_note_that_comes_alone_is_compared_with_its_event_once(lone: Lone) -> None:
    lone.bridge.store({"to_agent": "bob", "message": "Ship it?"})
    assert await lone.see(_note_of(lone))
    assert await lone.see(_note_of(lone))
    assert lone.bridge.count("wait") == 1


@pytest.mark.requirement("dual.mark")
async def test_a_note_of_another_question_is_shown(lone: Lone) -> None:
    lone.bridge.store({"to_agent": "bob", "message": "Lunch?"})
    assert not await lone.see(_note_of(lone))


async def test_one_whose_event_cannot_be_read_now_is_shown(lone: Lone) -> None:
    lone.bridge.store({"to_agent": "bob", "message": "Ship it?"})
    lone.bridge.fails("wait", lambda: BridgeTimeout("slow"))
    assert not await lone.see(_note_of(lone))


async def test_one_whose_question_is_known_needs_no_comparing(lone: Lone) -> None:
    lone.parts.book.add(_question(lone.parts))
    lone.parts.sent.believe(E1)
    assert not await lone.see(_note_of(lone))
    assert lone.bridge.count("wait") == 0


async def test_not_more_than_a_few_events_are_read_for_one_batch(lone: Lone) -> None:
    lone.bridge.store({"to_agent": "bob", "message": "Lunch?"})
    (note,) = _note_of(lone)
    await lone.see([replace(note, sequence=NOTED + more) for more in range(2 * MAX_COMPARED)])
    assert lone.bridge.count("wait") == MAX_COMPARED
