"""Exchange book, inbox and numbering over any walk with crashes between any two writes, on the flows themselves.

The machine drives one agent, one sidecar and a Bridge that may lose its log. A crash keeps any prefix of what was
written that holds what was synced. A ledger outside of the sidecar knows what there is to deliver.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from proxy.core.elicitation import AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import BridgeUnavailable, SidecarError
from proxy.core.ids import AgentId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.replay import replay
from proxy.core.secret import Secret
from proxy.flows.wait import WaitServed
from tests.support.answering import RED, give
from tests.support.flow_stand import FlowStand, World, flow_stand, read
from tests.support.manual_clock import settle

BOB = AgentId("bob")
STANDS = {ElicitationOutcome.ACCEPTED, ElicitationOutcome.DUPLICATE}


async def _bounded(work: Coroutine[object, object, object]) -> None:
    async with asyncio.timeout(20):
        await work


async def _ended(life: "asyncio.Task[None]") -> None:
    await life


def _texts(served: WaitServed) -> list[tuple[int, str]]:
    """Number and text of the messages in a reply."""
    return [
        (int(str(item["sequence"])), str(data["text"]))
        for item in read(served)
        if isinstance(data := item["data"], dict) and "text" in data
    ]


LOST = st.sampled_from([0, 1, 2, 3, 5, 8, 30, 10**6])
"""How many of the last writes a crash takes along, as far as they were not synced."""


class CrashWalk(RuleBasedStateMachine):
    """One world; the sidecar in it dies and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.runner.get_loop()
        self.world = World()
        self.made: FlowStand | None = None
        self.stop = asyncio.Event()
        self.life: asyncio.Task[None] | None = None
        self.token = Secret("Bearer none:bob")
        self.cursor = 0
        self.got: dict[str, int] = {}
        """Text of a message to the number the agent saw."""
        self.stored = 0
        self.owed: set[str] = set()
        """Texts of logs that are gone, which the sidecar had read and the agent has not got."""
        self.asked: dict[str, Elicitation] = {}
        self.answered: Counter[str] = Counter()

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
        self.token = self.world.bridge.token("bob")

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
            self.owed |= self._copies() & self._texts_in_log()
        bridge.come_back(keeps_log=keeps_log)
        if not keeps_log:
            self._store(1)
        self.token = bridge.token("bob")
        await self.world.clock.advance(3)

    def _texts_in_log(self) -> set[str]:
        return {message.raw.decode().split('"text":"')[1].split('"')[0] for message in self.world.bridge.log}

    def _copies(self) -> set[str]:
        """What the sidecar holds for bob above his cursor."""
        copies = self._flows().feeds.parts.inbox.after(BOB, self.cursor, 2**53)
        return {copy.body.decode().split('"text":"')[1].split('"')[0] for copy in copies}

    @rule(lost=LOST, count=st.integers(0, 5))
    def both_die(self, lost: int, count: int) -> None:
        self.run(self._both_die(lost, count))

    async def _both_die(self, lost: int, count: int) -> None:
        """The Bridge goes first and its log with it, so that what the next process reads is numbered from 1 again."""
        bridge = self.world.bridge
        bridge.go_down()
        await settle()
        in_hand = self._copies() & self._texts_in_log()
        self.world.journal.crash(lost=lost)
        kept = replay(self.world.journal.changes).messages
        self.owed = (self.owed | in_hand) & {copy.body.decode().split('"text":"')[1].split('"')[0] for copy in kept}
        self.stop.set()
        assert self.life is not None
        await self.life
        bridge.come_back(keeps_log=False)
        self._store(1 + count)
        await self._start()
        self.token = bridge.token("bob")

    @rule(lost=LOST)
    def the_sidecar_is_killed(self, lost: int) -> None:
        self.run(self._crash(lost))

    async def _crash(self, lost: int) -> None:
        self.world.journal.crash(lost=lost)
        copies = replay(self.world.journal.changes).messages
        self.owed &= {copy.body.decode().split('"text":"')[1].split('"')[0] for copy in copies}
        self.stop.set()
        assert self.life is not None
        await self.life
        await self._start()

    # What the agent does

    @rule(arrives=st.booleans())
    def the_agent_waits(self, *, arrives: bool) -> None:
        self.run(self._wait(arrives=arrives))

    async def _wait(self, *, arrives: bool, seconds: int = 3) -> bool:
        """One wait; whether it brought anything."""
        made = self._flows()
        task = await made.wait("bob", self.token, since=self.cursor, timeout_s=seconds)
        await made.clock.advance(seconds)
        served = task.result()
        if served.status == 403:
            self.token = self.world.bridge.token("bob")
            return True
        if not arrives:
            made.feeds.take_back(served.found.elicitation_ids)
            return True
        found = _texts(served)
        for number, text in found:
            assert number > self.cursor, "below the cursor"
            assert self.got.setdefault(text, number) == number, "one message under two numbers"
            self.owed.discard(text)
        numbers = [number for number, _ in found]
        assert numbers == sorted(set(numbers))
        self.cursor = max([self.cursor, *numbers])
        return bool(read(served))

    @rule()
    def somebody_asks(self) -> None:
        question = self.world.bridge.ask("bob", timeout_s=1e6, shape={"colour": {"type": "string"}})
        self.asked[question.elicitation_id] = question
        self._flows().feeds.question_created(question)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), fate=st.sampled_from(["arrives", "cut after", "cut before", "killed after", "killed before"]))
    def the_agent_answers(self, data: st.DataObject, fate: str) -> None:
        self.run(self._answer(self.asked[data.draw(st.sampled_from(sorted(self.asked)))], fate))

    async def _answer(self, question: Elicitation, fate: str) -> None:
        made, bridge = self._flows(), self.world.bridge
        if not made.answers.knows(question.elicitation_id):
            return
        if fate.startswith("cut"):
            bridge.fails("respond", lambda: BridgeUnavailable("cut"), times=1, after=fate == "cut after")
        if fate.startswith("killed"):
            gate = bridge.gate("respond", after=fate == "killed after")
            call = made.group.create_task(give(made, question, RED, token=self.token))
            await settle()
            if gate.arrived and fate == "killed before":
                self.world.journal.crash(lost=10**6)
                bridge.go_down()
            bridge.ungate("respond", after=fate == "killed after")
            if gate.arrived:
                self.world.journal.crash(lost=10**6)
            await call
            bridge.is_down = False
            await self._crash(0)
            return
        outcome = await give(made, question, RED, token=self.token)
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

    async def _settle_everything(self) -> None:
        """Whatever happened: what is owed is delivered, and every answer that is given again ends as a success."""
        bridge = self.world.bridge
        for question in self.asked.values():
            if self._flows().answers.knows(question.elicitation_id):
                outcome = await give(self._flows(), question, RED, token=self.token)
                assert outcome in STANDS, outcome
                assert bridge.states[question.elicitation_id] is BridgeStatus.ACCEPTED
        idle = 0
        for _ in range(200):
            idle = 0 if await self._wait(arrives=True) else idle + 1
            if idle > 2:
                break
        assert self.owed == set(), "read here, and delivered to nobody"
        assert self._texts_in_log() - self.got.keys() == set(), "in the log, and delivered to nobody"
        taken = Counter(answer.elicitation_id for answer in bridge.answers)
        assert all(count == 1 for count in taken.values())
        assert all(answer.kind is AnswerKind.ACCEPT for answer in bridge.answers)
        # Sent again only where the Bridge had said that the question was still open.
        assert bridge.count("respond") <= len(self.asked) + bridge.count("status")


@pytest.mark.requirement("restart.messages")
@pytest.mark.requirement("restart.answers")
@pytest.mark.requirement("journal.numbering")
def test_over_crashes_between_any_two_writes_nothing_is_lost_doubled_or_renumbered() -> None:
    run_state_machine_as_test(CrashWalk, settings=settings(max_examples=60, stateful_step_count=20, deadline=None))


@contextmanager
def _walk() -> Iterator[CrashWalk]:
    """One walk by hand, which is judged at its end as any other."""
    walk = CrashWalk()
    walk.begin()
    try:
        yield walk
    finally:
        walk.teardown()


@pytest.mark.requirement("journal.numbering")
def test_a_number_that_was_shown_is_not_given_again_after_a_crash_that_takes_all_along_and_a_new_log() -> None:
    with _walk() as walk:
        walk.messages_are_stored(count=3)
        walk.the_agent_waits(arrives=True)
        walk.both_die(lost=10**6, count=3)
        walk.the_agent_waits(arrives=True)


@pytest.mark.requirement("restart.answers")
@pytest.mark.parametrize("fate", ["killed after", "killed before", "cut after", "cut before"])
def test_an_answer_that_was_on_its_way_at_a_crash_is_a_success_when_it_comes_again(fate: str) -> None:
    with _walk() as walk:
        walk.somebody_asks()
        walk.the_agent_waits(arrives=True)
        (question,) = walk.asked.values()
        walk.run(walk._answer(question, fate))
