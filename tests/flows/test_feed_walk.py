"""Random walks over waits, messages, questions and outages: nothing is lost, doubled or out of order."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.routing import Route
from proxy.core.secret import Secret
from proxy.flows.wait import WaitServed
from tests.support.flow_stand import FlowStand, flow_stand, ids, read
from tests.support.manual_clock import settle

THREADS = 3
STEPS = st.one_of(
    st.tuples(st.just("wait"), st.integers(0, THREADS - 1)),
    st.tuples(st.just("hang up"), st.integers(0, THREADS - 1)),
    st.tuples(st.just("store"), st.integers(1, 12)),
    st.tuples(st.just("store before our eyes"), st.integers(1, 3)),
    st.tuples(st.just("note"), st.integers(1, 12)),
    st.tuples(st.just("ask"), st.just(1)),
    st.tuples(st.just("ask before our eyes"), st.just(1)),
    st.tuples(st.just("turns"), st.integers(0, 6)),
    st.tuples(st.just("pass"), st.sampled_from([1, 5, 20, 70])),
    st.tuples(st.just("blip"), st.sampled_from([0, 1, 8])),
)


@dataclass
class Thread:
    """One loop of a legacy agent: its own cursor, one wait at a time, and what it has read."""

    token: Secret
    cursor: int = 0
    task: "asyncio.Task[WaitServed] | None" = None
    read: list[int] = field(default_factory=list)


class Walk:
    """One agent under test, and what it must have got in the end."""

    def __init__(self, made: FlowStand) -> None:
        self.made = made
        token = made.bridge.token("bob")
        self.threads = [Thread(token) for _ in range(THREADS)]
        self.messages: list[int] = []
        self.notes: set[int] = set()
        self.asked: set[object] = set()
        self.offered: set[object] = set()

    async def step(self, name: str, number: int) -> None:
        """One step of the walk."""
        steps: dict[str, Callable[[int], Awaitable[None]]] = {
            "wait": lambda thread: self.wait(self.threads[thread]),
            "hang up": self._hang_up,
            "store": self._store,
            "store before our eyes": self._store_here,
            "note": self._note,
            "ask": self._ask,
            "ask before our eyes": self._ask_here,
            "turns": self._turns,
            "pass": self.made.clock.advance,
            "blip": self._blip,
        }
        await steps[name](number)
        self.collect()

    async def _store(self, count: int) -> None:
        self.messages += [self.made.bridge.store({}) for _ in range(count)]

    async def _store_here(self, count: int) -> None:
        await self._store(count)
        self.made.feeds.message_stored("bob")

    async def _note(self, count: int) -> None:
        note = {"elicitation_type": "elicitation_requested"}
        self.notes.update(self.made.bridge.store(note) for _ in range(count))

    async def _ask(self, _count: int) -> None:
        self.asked.add(self.made.bridge.ask("bob", timeout_s=1e6).elicitation_id)

    async def _ask_here(self, _count: int) -> None:
        question = self.made.bridge.ask("bob", timeout_s=1e6)
        self.asked.add(question.elicitation_id)
        self.made.feeds.question_created(question)

    async def _turns(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def _blip(self, seconds: int) -> None:
        self.made.bridge.go_down()
        await self.made.clock.advance(seconds)
        self.made.bridge.come_back(keeps_log=True)

    async def _hang_up(self, number: int) -> None:
        """End a wait from the agent's side; what was in its reply is given back, as the door does."""
        thread = self.threads[number]
        if thread.task is None:
            return
        if thread.task.done():
            self.made.feeds.take_back(thread.task.result().found.elicitation_ids)
        thread.task.cancel()
        thread.task = None

    async def wait(self, thread: Thread, *, timeout_s: int = 30) -> None:
        """Begin a wait, unless one is under way."""
        if thread.task is None:
            thread.task = await self.made.wait("bob", thread.token, since=thread.cursor, timeout_s=timeout_s)

    def collect(self) -> None:
        """Read the replies that are there."""
        for thread in self.threads:
            if thread.task is not None and thread.task.done():
                served, thread.task = thread.task.result(), None
                self.take(thread, served)

    def take(self, thread: Thread, served: WaitServed) -> None:
        """Read one reply as an agent does, and check what holds for each."""
        if served.status == 403:  # its own token died; it opens another Bridge session
            thread.token = self.made.bridge.token("bob")
            return
        assert served.status == 200
        found = read(served)
        questions = [item for item in found if item["event_type"] == "elicitation_request"]
        numbers = [int(str(item["sequence"])) for item in found[len(questions) :]]
        assert found[: len(questions)] == questions
        assert [item["sequence"] for item in questions] == [thread.cursor] * len(questions)
        assert numbers == sorted(set(numbers))
        assert all(number > thread.cursor for number in numbers)
        assert len(found) <= 10
        self.offered.update(ids(questions))
        # Only a wait that fell back shows the Bridge's notes.
        assert served.exchange.route is Route.LEGACY or self.notes.isdisjoint(numbers)
        thread.read += [number for number in numbers if number not in self.notes]
        thread.cursor = max([thread.cursor, *numbers])

    async def finish(self) -> None:
        """Let every loop read on for as long as it takes, and compare."""
        for _ in range(60):
            for thread in self.threads:
                await self.wait(thread, timeout_s=5)
            await self.made.clock.advance(10)
            self.collect()
            if self.offered >= self.asked and all(thread.read == self.messages for thread in self.threads):
                break
        assert [thread.read for thread in self.threads] == [self.messages] * THREADS
        assert self.offered == self.asked


async def _walk(steps: list[tuple[str, int]]) -> None:
    async with flow_stand(redeliver_s=15) as made:
        walk = Walk(made)
        for name, number in steps:
            await walk.step(name, number)
            tokens = len(list(made.feeds.of("bob")))
            await settle()
            assert made.bridge.running["wait"] <= max(1, tokens)
        await walk.finish()
        assert made.recorder.defects == []
        assert made.feeds.parked == sum(thread.task is not None for thread in walk.threads)


@pytest.mark.requirement("feed.lower_cursor")
@pytest.mark.requirement("questions.at_least_once")
@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=25))
def test_whatever_happens_every_loop_reads_every_message_once_and_every_question_is_offered(
    steps: list[tuple[str, int]],
) -> None:
    asyncio.run(_walk(steps))
