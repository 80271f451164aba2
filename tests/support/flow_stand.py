"""The flows in one piece on a manual clock, a fake Bridge and a store in memory, as most tests of flows need them."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import orjson

from proxy.core.answers import GivenAnswer
from proxy.core.breaker import Breaker
from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.flags import FlagSet
from proxy.core.ids import AgentId, ElicitationId, Sequence
from proxy.core.inbox import Inbox
from proxy.core.journal import Change
from proxy.core.legacy import WaitAsk
from proxy.core.limits import QUESTIONS
from proxy.core.pace import Pace
from proxy.core.questions import QuestionBook
from proxy.core.secret import Secret
from proxy.core.sends import DualSends
from proxy.core.sent_questions import SentQuestions
from proxy.core.sequences import SequenceMap
from proxy.core.told_questions import ToldQuestions
from proxy.flows.agent_sessions import AgentSessions
from proxy.flows.errands import Errands
from proxy.flows.feed_parts import FeedParts
from proxy.flows.feeds import Feeds
from proxy.flows.flags import FlagBoard
from proxy.flows.naming import AnswerNames
from proxy.flows.respond import Answers, AnswerTaken
from proxy.flows.send_replies import SendReplies
from proxy.flows.sends import SendRule, Sends
from proxy.flows.sends_under_way import SendsUnderWay
from proxy.flows.wait import WaitServed, serve_peek, serve_wait
from proxy.stores.memory import MemoryFlagStore
from tests.support.admissions import QUESTIONS_ONLY, admission_of
from tests.support.crash_journal import CrashJournal
from tests.support.fake_bridge import FakeBridge
from tests.support.fake_recorder import FakeRecorder
from tests.support.manual_clock import ManualClock, settle

EVERYBODY = FlagSet(elicitation_enabled=True, elicitation_percentage=100.0)

Item = dict[str, object]


class World:
    """What outlives a process: time, the Bridge, what was recorded, and the journal."""

    def __init__(self, *, writes_notes: bool = False) -> None:
        self.clock = ManualClock()
        self.bridge = FakeBridge(self.clock, writes_notes=writes_notes)
        self.recorder = FakeRecorder()
        self.journal = CrashJournal()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowStand:
    """All flows of one sidecar."""

    clock: ManualClock
    bridge: FakeBridge
    recorder: FakeRecorder
    board: FlagBoard
    breaker: Breaker
    feeds: Feeds
    answers: Answers
    sends: Sends
    replies: SendReplies
    group: asyncio.TaskGroup

    @property
    def book(self) -> QuestionBook:
        """The open questions."""
        return self.feeds.parts.book

    def spawn(self, work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
        """Start a task of the house."""
        return self.group.create_task(work, name=name)

    async def wait(
        self, agent_id: str, credential: Secret, *, since: int = 0, timeout_s: int = 30
    ) -> "asyncio.Task[WaitServed]":
        """Begin a wait and let everything run that can."""
        ask = WaitAsk(agent_id=AgentId(agent_id), since=Sequence(since), timeout_s=timeout_s)
        decision = self.board.decide(ask.agent_id, self.breaker.way(self.clock.now()))
        may_fall_back = self.board.flags.legacy_fallback
        task = self.group.create_task(
            serve_wait(self.feeds, ask, decision, credential, may_fall_back=may_fall_back), name="wait"
        )
        await settle()
        return task

    async def known(self, tokens: Mapping[str, Secret]) -> None:
        """Let the Bridge accept these tokens once, by a wait of a second; then let the pace of polls recover."""
        for agent_id, token in tokens.items():
            _ = await self.wait(agent_id, token, timeout_s=1)
        await self.clock.advance(4)

    async def peek(self, agent_id: str, credential: Secret, *, since: int = 0) -> WaitServed | None:
        """A wait of zero seconds."""
        ask = WaitAsk(agent_id=AgentId(agent_id), since=Sequence(since), timeout_s=0)
        decision = self.board.decide(ask.agent_id, self.breaker.way(self.clock.now()))
        async with asyncio.timeout(5):
            return await serve_peek(self.feeds, ask, decision, credential)

    def give(
        self,
        elicitation_id: ElicitationId,
        credential: Secret,
        content: Item | None = None,
        *,
        agent_id: str = "bob",
        kind: AnswerKind = AnswerKind.ACCEPT,
    ) -> "asyncio.Task[AnswerTaken]":
        """Begin to give an answer."""
        answer = Answer(
            elicitation_id=elicitation_id, kind=kind, content=(content or {}) if kind is AnswerKind.ACCEPT else None
        )
        given = GivenAnswer(answer=answer, agent_id=AgentId(agent_id))
        return self.group.create_task(_awaited(self.answers.give(given, credential)), name="give")


async def _awaited(work: Coroutine[object, object, AnswerTaken]) -> AnswerTaken:
    return await work


def items(task: "asyncio.Task[WaitServed]") -> list[Item]:
    """What a wait that has ended delivered."""
    return read(task.result())


def read(served: WaitServed) -> list[Item]:
    """The items of a reply."""
    found: list[Item] = orjson.loads(served.body)["events"]
    return found


def ids(found: list[Item]) -> list[object]:
    """The elicitation ids in a reply, in order."""
    return [data["elicitation_id"] for item in found if isinstance(data := item["data"], dict)]


def sequences(found: list[Item]) -> list[object]:
    """The sequences in a reply, in order."""
    return [item["sequence"] for item in found]


@asynccontextmanager
async def flow_stand(
    *,
    flags: FlagSet = EVERYBODY,
    breaker_failures: int = 3,
    max_parked: int = 100,
    hold_s: float = 20.0,
    redeliver_s: float = 30.0,
    world: World | None = None,
    dual_sends: DualSends = DualSends.ASKING,
) -> AsyncIterator[FlowStand]:
    """Flows that end with the block; in a `world` that outlives them they go on where an earlier process was."""
    world = world or World()
    clock, bridge, recorder, write = world.clock, world.bridge, world.recorder, world.journal.write
    sent, told, numbers = SentQuestions(), ToldQuestions(write), SequenceMap(write=write)

    def heard(change: Change) -> None:
        sent.hear(change)
        told.hear(change)
        write(change)

    def withholds(question: Elicitation) -> bool:
        return sent.withholds(question) or told.withholds(question)

    book = QuestionBook(redeliver_s=redeliver_s, write=heard, withholds=withholds)
    names, inbox, found = AnswerNames(book, clock, write), Inbox(write=write), world.journal.begin()
    if found.numbering is not None:
        numbers.restore(found.numbering)
    sent.restore(found.questions)
    told.restore(found.told, found.questions)
    book.restore(found.questions, now=clock.now())
    names.restore(found.names)
    inbox.restore(found)
    breaker = Breaker(failures=breaker_failures, cooldown_s=10.0, incapable_s=30.0)
    board = FlagBoard(MemoryFlagStore(), clock, salt="", groups={})
    await board.open(flags)
    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[None]] = []

        def spawn(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
            tasks.append(group.create_task(work, name=name))
            return tasks[-1]

        errands = Errands(spawn)
        parts = FeedParts(
            bridge=bridge,
            book=book,
            breaker=breaker,
            sequences=numbers,
            names=names,
            clock=clock,
            recorder=recorder,
            spawn=spawn,
            errands=errands,
            sessions=AgentSessions(bridge, errands.begin),
            new_pace=lambda: Pace(per_minute=60, burst=10, fast_s=0.1, idle_s=2.0),
            hold_s=hold_s,
            inbox=inbox,
            synced=world.journal.synced,
            sent=sent,
            told=told,
            under_way=SendsUnderWay(dual_sends),
        )
        feeds = Feeds(parts, board, max_parked=max_parked)
        rule = SendRule(mode=dual_sends, life_s=300.0)
        admission = admission_of(clock, recorder, QUESTIONS_ONLY)
        replies = SendReplies(feeds, bridge)
        stand = FlowStand(
            clock=clock,
            bridge=bridge,
            recorder=recorder,
            board=board,
            breaker=breaker,
            feeds=feeds,
            answers=Answers(feeds, replies.tell),
            sends=Sends(feeds, board, rule, bridge=bridge, bus=None, grants=partial(admission.grants, QUESTIONS)),
            replies=replies,
            group=group,
        )
        try:
            yield stand
        finally:
            feeds.drain()
            await settle()
            feeds.close()
            await settle()
        assert [task.get_name() for task in tasks if not task.done()] == []
