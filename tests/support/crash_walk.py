"""A walk of two agents through any crashes, on the flows themselves, judged by a ledger outside of the sidecar.

The machine drives the agents, one sidecar and a Bridge that may lose its log. A crash keeps any prefix of what was
written that holds what was synced. The ledger knows what there is to deliver, and what became of each answer sent.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import BridgeRefused, BridgeUnavailable, SidecarError
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.replay import replay
from proxy.core.secret import Secret
from proxy.flows.wait import WaitServed
from tests.support.answering import RED, give
from tests.support.fake_bridge import FakeBridge
from tests.support.flow_stand import FlowStand, World, flow_stand, read
from tests.support.manual_clock import ManualClock, settle

BOB, CAROL = AgentId("bob"), AgentId("carol")
STANDS = {ElicitationOutcome.ACCEPTED, ElicitationOutcome.DUPLICATE}


async def _bounded(work: Coroutine[object, object, object]) -> None:
    async with asyncio.timeout(20):
        await work


async def _ended(life: "asyncio.Task[None]") -> None:
    await life


def _text_of(body: bytes) -> str:
    return body.decode().split('"text":"')[1].split('"')[0]


def _texts(served: WaitServed) -> list[tuple[int, str]]:
    """Number and text of the messages in a reply."""
    return [
        (int(str(item["sequence"])), str(data["text"]))
        for item in read(served)
        if isinstance(data := item["data"], dict) and "text" in data
    ]


class WatchedBridge(FakeBridge):
    """A Bridge that takes down which answers were sent again before anybody asked what became of them."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.unclear: set[ElicitationId] = set()
        """Questions whose answer was sent, and since then nobody has heard that they are still open."""
        self.sent_blindly: list[ElicitationId] = []

    async def respond(self, answer: Answer, agent_id: AgentId, credential: Secret) -> None:
        """Take an answer; one whose token is refused was read by nobody."""
        question = answer.elicitation_id
        if question in self.unclear:
            self.sent_blindly.append(question)
        try:
            await super().respond(answer, agent_id, credential)
        except BridgeRefused as refusal:
            if refusal.bridge_status != 403:
                self.unclear.add(question)
            raise
        except BaseException:
            self.unclear.add(question)
            raise
        self.unclear.add(question)

    async def status(self, elicitation_id: ElicitationId, credential: Secret) -> BridgeStatus | None:
        """State of one elicitation."""
        status = await super().status(elicitation_id, credential)
        if status is BridgeStatus.PENDING:
            self.unclear.discard(elicitation_id)
        return status


LOST = st.sampled_from([0, 1, 2, 3, 5, 8, 30, 10**6])
"""How many of the last writes a crash takes along, as far as they were not synced."""


@dataclass(slots=True)
class Reader:
    """One agent, and what the ledger has of it."""

    agent_id: AgentId
    token: Secret = field(default_factory=lambda: Secret("Bearer none"))
    cursor: int = 0
    got: dict[str, int] = field(default_factory=dict)
    """Text of a message to the number the agent saw."""
    owed: set[str] = field(default_factory=set)
    """Texts of logs that are gone, which the sidecar had read and the agent has not got."""

    def reads(self, served: WaitServed) -> None:
        """Take a reply that arrived."""
        found = _texts(served)
        for number, text in found:
            assert number > self.cursor, "below the cursor"
            assert self.got.setdefault(text, number) == number, "one message under two numbers"
            self.owed.discard(text)
        numbers = [number for number, _ in found]
        assert numbers == sorted(set(numbers))
        self.cursor = max([self.cursor, *numbers])


class CrashWalk(RuleBasedStateMachine):
    """One world; the sidecar in it dies and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.runner.get_loop()
        self.world = World()
        self.world.bridge = self.bridge = WatchedBridge(self.world.clock)
        self.made: FlowStand | None = None
        self.stop = asyncio.Event()
        self.life: asyncio.Task[None] | None = None
        self.bob = Reader(BOB)
        self.readers = (self.bob, Reader(CAROL))
        self.stored = 0
        self.asked: dict[str, Elicitation] = {}

    def run(self, work: Coroutine[object, object, object]) -> None:
        """Run to the end, but not for ever: a walk that goes wrong may leave somebody waiting."""
        self.runner.run(_bounded(work))

    @initialize()
    def begin(self) -> None:
        self.run(self._start())

    async def _start(self) -> None:
        up = asyncio.Event()
        self.stop = asyncio.Event()
        self.life = asyncio.get_running_loop().create_task(self._live(up))
        await up.wait()
        if not self.world.bridge.log:
            self._store(1)
        self._open_sessions()

    def _open_sessions(self) -> None:
        for reader in self.readers:
            reader.token = self.bridge.token(reader.agent_id)

    async def _live(self, up: asyncio.Event) -> None:
        async with flow_stand(world=self.world) as made:
            self.made = made
            up.set()
            await self.stop.wait()

    def _flows(self) -> FlowStand:
        assert self.made is not None
        return self.made

    def _store(self, count: int) -> None:
        for _ in range(count):
            self.stored += 1
            self.world.bridge.store({"text": f"m{self.stored}"})

    # What the world does

    @rule(count=st.integers(1, 12))
    def messages_are_stored(self, count: int) -> None:
        self._store(count)
        self.run(settle())

    @rule(keeps_log=st.booleans())
    def the_bridge_restarts(self, *, keeps_log: bool) -> None:
        self.run(self._restart_bridge(keeps_log=keeps_log))

    async def _restart_bridge(self, *, keeps_log: bool) -> None:
        bridge = self.world.bridge
        bridge.go_down()
        await self.world.clock.advance(7)
        if not keeps_log:
            # What a poll has read is the sidecar's business from here on; what it has not is lost with the log.
            for reader in self.readers:
                reader.owed |= self._in_hand(reader)
        bridge.come_back(keeps_log=keeps_log)
        if not keeps_log:
            self._store(1)
        self._open_sessions()
        await self.world.clock.advance(3)

    def _texts_in_log(self) -> set[str]:
        return {_text_of(message.raw) for message in self.bridge.log}

    def _in_hand(self, reader: Reader) -> set[str]:
        """What the sidecar holds of the present log for an agent above its cursor."""
        copies = self._flows().feeds.parts.inbox.after(reader.agent_id, reader.cursor, 2**53)
        return {_text_of(copy.body) for copy in copies} & self._texts_in_log()

    def _lose(self, lost: int) -> None:
        """Cut the journal off; what is owed goes with it, but nothing where every write has come to the disk."""
        self.world.journal.crash(lost=lost)
        if lost:
            kept = replay(self.world.journal.changes).messages
            for reader in self.readers:
                reader.owed &= {_text_of(copy.body) for copy in kept if copy.agent_id == reader.agent_id}

    @rule(lost=LOST, count=st.integers(0, 5))
    def both_die(self, lost: int, count: int) -> None:
        self.run(self._both_die(lost, count))

    async def _both_die(self, lost: int, count: int) -> None:
        """The Bridge goes first and its log with it, so that what the next process reads is numbered from 1 again."""
        bridge = self.world.bridge
        bridge.go_down()
        await settle()
        for reader in self.readers:
            reader.owed |= self._in_hand(reader)
        self._lose(lost)
        self.stop.set()
        assert self.life is not None
        await self.life
        bridge.come_back(keeps_log=False)
        self._store(1 + count)
        await self._start()

    @rule(lost=LOST)
    def the_sidecar_is_killed(self, lost: int) -> None:
        self.run(self._crash(lost))

    async def _crash(self, lost: int) -> None:
        self._lose(lost)
        self.stop.set()
        assert self.life is not None
        await self.life
        await self._start()

    # What the agents do

    @rule(arrives=st.booleans())
    def the_agent_waits(self, *, arrives: bool) -> None:
        self.run(self._wait(self.bob, arrives=arrives))

    @rule(arrives=st.booleans())
    def another_agent_waits(self, *, arrives: bool) -> None:
        self.run(self._wait(self.readers[1], arrives=arrives))

    async def _wait(self, reader: Reader, *, arrives: bool, seconds: int = 3) -> bool:
        """One wait; whether it brought anything."""
        made = self._flows()
        task = await made.wait(reader.agent_id, reader.token, since=reader.cursor, timeout_s=seconds)
        await made.clock.advance(seconds)
        served = task.result()
        if served.status == 403:
            reader.token = self.bridge.token(reader.agent_id)
            return True
        if not arrives:
            made.feeds.take_back(served.found.elicitation_ids)
            return True
        reader.reads(served)
        return bool(read(served))

    @rule()
    def somebody_asks(self) -> None:
        question = self.world.bridge.ask("bob", timeout_s=1e6, shape={"colour": {"type": "string"}})
        self.asked[question.elicitation_id] = question
        self._flows().feeds.question_created(question)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), fate=st.sampled_from(["arrives", "cut after", "cut before", "killed after", "killed before"]))
    def the_agent_answers(self, data: st.DataObject, fate: str) -> None:
        self.run(self.answer(self.asked[data.draw(st.sampled_from(sorted(self.asked)))], fate))

    async def answer(self, question: Elicitation, fate: str) -> None:
        """The agent answers, and on its way the answer or the sidecar may end."""
        made, bridge = self._flows(), self.world.bridge
        if not made.answers.knows(question.elicitation_id):
            return
        if fate.startswith("cut"):
            bridge.fails("respond", lambda: BridgeUnavailable("cut"), times=1, after=fate == "cut after")
        if fate.startswith("killed"):
            gate = bridge.gate("respond", after=fate == "killed after")
            call = made.group.create_task(give(made, question, RED, token=self.bob.token))
            await settle()
            if gate.arrived and fate == "killed before":
                self.world.journal.crash(lost=10**6)
                bridge.go_down()
            bridge.ungate("respond", after=fate == "killed after")
            if gate.arrived:
                self.world.journal.crash(lost=10**6)
            await call
            bridge.is_down = False
            await self._crash(10**6)
            return
        outcome = await give(made, question, RED, token=self.bob.token)
        assert isinstance(outcome, SidecarError) or outcome in STANDS
        bridge.fails("respond", RuntimeError, times=0, after=True)

    def teardown(self) -> None:
        try:
            if self.made is not None:
                self.run(self._settle_everything())
        finally:
            if self.life is not None:
                self.stop.set()
                self.run(_ended(self.life))
            self.runner.close()

    async def _answer_all(self, questions: Iterable[Elicitation]) -> None:
        for question in questions:
            if self._flows().answers.knows(question.elicitation_id):
                outcome = await give(self._flows(), question, RED, token=self.bob.token)
                assert outcome in STANDS, outcome
                assert self.bridge.states[question.elicitation_id] is BridgeStatus.ACCEPTED

    async def _settle_everything(self) -> None:
        """Whatever happened: what is owed is delivered, and every answer that is given again ends as a success."""
        bridge = self.bridge
        await self._answer_all(self.asked.values())
        for reader in self.readers:
            idle = 0
            for _ in range(200):
                idle = 0 if await self._wait(reader, arrives=True) else idle + 1
                if idle > 2:
                    break
            assert reader.owed == set(), "read here, and delivered to nobody"
            assert self._texts_in_log() - reader.got.keys() == set(), "in the log, and delivered to nobody"
        still_open = [
            each for each in self.asked.values() if bridge.states[each.elicitation_id] is BridgeStatus.PENDING
        ]
        assert all(self._flows().answers.knows(each.elicitation_id) for each in still_open), "asked, and not known"
        await self._answer_all(still_open)
        taken = Counter(answer.elicitation_id for answer in bridge.answers)
        assert all(count == 1 for count in taken.values())
        assert all(answer.kind is AnswerKind.ACCEPT for answer in bridge.answers)
        # Sent again only where the Bridge had said since then that the question was still open.
        assert self.bridge.sent_blindly == []
