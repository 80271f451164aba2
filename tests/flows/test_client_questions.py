"""Questions open at clients: put on a stream, answered apart, in time, late, or by a stranger."""

import asyncio
import itertools
from dataclasses import dataclass, field

import orjson
import pytest

from proxy.core.elicitation import AnswerKind
from proxy.core.errors import SchemaRefused
from proxy.flows.client_questions import NO_WORDS, Afterwards, ClientLine, ClientQuestions
from proxy.mcp import correlation
from proxy.mcp.ask import Answered, CannotBeAsked, FormQuestion, Reply, UrlQuestion
from proxy.mcp.correlation import Asked, Seat, Verdict
from proxy.mcp.jsonrpc import Response, parse
from proxy.mcp.revisions import R2025_03_26, R2025_06_18, Mode, Revision
from tests.support.manual_clock import START_S, ManualClock, settle

pytestmark = pytest.mark.requirement("mcp.elicit.handshake")

SEAT, OTHER = Seat("ann", "s1"), Seat("eve", "s1")
COLOUR = FormQuestion("Which colour?", {"type": "object", "properties": {"colour": {"type": "string"}}})
RED = Answered(AnswerKind.ACCEPT, {"colour": "red"})
FORM = frozenset({Mode.FORM})


@dataclass(slots=True)
class Made:
    """Questions on a manual clock, and what was written and came late."""

    clock: ManualClock = field(default_factory=ManualClock)
    written: list[dict[str, object]] = field(default_factory=list)
    late: list[tuple[Seat, Asked, Reply]] = field(default_factory=list)
    afterwards: list[Reply] = field(default_factory=list)
    is_broken: bool = False
    questions: ClientQuestions = field(init=False)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.questions = ClientQuestions(
            self.clock,
            lambda size: next(numbers).to_bytes(size, "big"),
            late=lambda seat, asked, reply: self.late.append((seat, asked, reply)),
        )

    async def write(self, message: bytes) -> bool:
        self.written.append(orjson.loads(message))
        return not self.is_broken

    def line(self, seat: Seat = SEAT, revision: Revision = R2025_06_18, call_id: int = 7) -> ClientLine:
        return ClientLine(seat=seat, call_id=call_id, revision=revision, modes=FORM, write=self.write)

    def then(self, until: float = START_S + 100) -> Afterwards:
        return Afterwards(until=until, take=self.afterwards.append)

    async def begin(
        self, *, ref: str = "q1", line: ClientLine | None = None, afterwards: Afterwards | None = None
    ) -> "asyncio.Task[Reply | None]":
        """Ask, and let everything run that can."""
        asking = self.questions.ask(line or self.line(), COLOUR, ref=ref, until=START_S + 10, afterwards=afterwards)
        task = asyncio.get_running_loop().create_task(asking)
        await settle()
        return task

    def answer(self, number: int, seat: Seat = SEAT, result: object = None) -> Verdict | None:
        """Answer the question of this number."""
        told = result or {"action": "accept", "content": {"colour": "red"}}
        response = parse(orjson.dumps({"jsonrpc": "2.0", "id": _id(number), "result": told}))
        assert isinstance(response, Response)
        return self.questions.take(seat, response)

    @property
    def cancelled(self) -> list[object]:
        """Ids of the questions that were cancelled at the client."""
        params = [message["params"] for message in self.written if message["method"] == "notifications/cancelled"]
        return [one["requestId"] for one in params if isinstance(one, dict)]


def _id(number: int) -> str:
    return f"esc-{number:032x}"


async def test_an_answer_ends_the_asking() -> None:
    made = Made()
    task = await made.begin()
    assert (made.written[0]["id"], made.written[0]["method"]) == (_id(1), "elicitation/create")
    assert made.questions.is_asking(SEAT, "q1")
    assert not made.questions.is_asking(OTHER, "q1")
    assert not made.questions.is_asking(SEAT, "q2")
    assert made.answer(1) is None
    assert await task == RED
    assert made.answer(1) is Verdict.LATE
    assert not made.questions.is_asking(SEAT, "q1")
    assert (made.clock.waiting(), made.cancelled, made.late) == ([], [], [])


async def test_an_answer_of_a_stranger_changes_nothing() -> None:
    made = Made()
    task = await made.begin()
    assert made.answer(1, OTHER) is Verdict.STRANGER
    assert made.answer(2) is Verdict.LATE
    assert not task.done()
    made.answer(1)
    assert await task == RED


@pytest.mark.parametrize("has_plans", [False, True])
async def test_an_answer_after_the_time_is_late_and_counts_once(*, has_plans: bool) -> None:
    made = Made()
    task = await made.begin(afterwards=made.then() if has_plans else None)
    await made.clock.advance(10)
    assert await task is None
    assert made.cancelled == [_id(1)]
    assert made.answer(1) is None
    assert made.answer(1) is Verdict.LATE
    if has_plans:
        assert (made.afterwards, made.late) == ([RED], [])
    else:
        assert [(seat, asked.ref, reply) for seat, asked, reply in made.late] == [(SEAT, "q1", RED)]
    assert not made.clock.waiting()


async def test_a_question_that_has_ended_takes_no_late_answer() -> None:
    made = Made()
    first = await made.begin(afterwards=made.then(START_S + 20))
    await made.clock.advance(10)
    assert await first is None
    await made.clock.advance(10)
    assert made.answer(1) is Verdict.LATE
    assert not made.afterwards
    second = await made.begin(ref="q2", afterwards=made.then())
    made.questions.settle(SEAT, "q2")
    assert await second is None
    assert made.answer(2) is Verdict.LATE


async def test_a_question_that_is_settled_is_not_waited_for() -> None:
    made = Made()
    task = await made.begin()
    made.questions.settle(SEAT, "q1")
    assert await task is None
    assert made.cancelled == [_id(1)]


async def test_a_question_put_twice_is_over_with_its_first_answer() -> None:
    made = Made()
    first = await made.begin()
    second = await made.begin()
    made.answer(2)
    assert await second == RED
    assert await first is None
    assert made.cancelled == [_id(1)]


async def test_a_stream_that_is_broken_is_not_waited_for() -> None:
    made = Made(is_broken=True)
    task = await made.begin(afterwards=made.then())
    assert await task is None
    assert made.answer(1) is None  # it may have arrived all the same
    assert made.afterwards == [RED]


async def test_a_cancelled_asker_leaves_the_question_open_and_says_so() -> None:
    made = Made()
    task = await made.begin(afterwards=made.then())
    other = await made.begin(ref="q2", line=made.line(call_id=8))
    task.cancel()
    await settle()
    assert made.questions.left_open(SEAT, 7) == (_id(1),)
    assert made.questions.left_open(OTHER, 7) == ()
    assert made.answer(1) is None
    assert made.afterwards == [RED]
    assert not other.done()
    made.questions.close(SEAT)
    assert await other is None


async def test_an_answer_that_came_as_its_asker_was_cancelled_is_not_lost() -> None:
    made = Made()
    task = await made.begin(afterwards=made.then())
    made.answer(1)
    task.cancel()
    await settle()
    assert task.cancelled()
    assert made.afterwards == [RED]


async def test_an_answer_that_came_as_its_time_was_over_is_late() -> None:
    made = Made()
    task = await made.begin(afterwards=made.then())
    made.questions.drain()
    assert made.answer(1) is None
    assert await task is None
    assert made.afterwards == [RED]


async def test_the_end_of_a_session_ends_all_that_is_open_in_it() -> None:
    made = Made()
    left = await made.begin(afterwards=made.then())
    await made.clock.advance(10)
    assert await left is None
    made.questions.close(SEAT)
    made.questions.close(OTHER)
    assert made.answer(1) is Verdict.LATE
    assert not made.clock.waiting()


async def test_a_stopping_sidecar_waits_for_nobody_and_asks_nobody() -> None:
    made = Made()
    task = await made.begin()
    made.questions.drain()
    assert await task is None
    assert await (await made.begin(ref="q2")) is None
    assert len(made.written) == 2


async def test_a_client_without_words_for_it_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made()
    assert await (await made.begin(line=made.line(revision=R2025_03_26))) is NO_WORDS
    url = UrlQuestion("Open it", "https://example.org", "e1")
    assert await made.questions.ask(made.line(), url, ref="q1", until=START_S + 1) is NO_WORDS
    monkeypatch.setattr(correlation, "MAX_QUESTIONS_PER_SEAT", 0)
    assert isinstance(await (await made.begin()), CannotBeAsked)
    huge = FormQuestion("?", {"type": "object", "title": "x" * 70_000})
    with pytest.raises(SchemaRefused):
        await made.questions.ask(made.line(), huge, ref="q1", until=START_S + 1)
    assert not made.written


async def test_what_is_no_question_of_ours_is_passed_on() -> None:
    made = Made()
    response = parse(b'{"jsonrpc":"2.0","id":1,"result":{}}')
    assert isinstance(response, Response)
    assert made.questions.take(SEAT, response) is Verdict.FORWARD
