"""How many calls a token makes: under the Bridge's rule in every kind of weather, and nobody is starved by it.

Source: BRIDGE.md 2.1: more than 100 calls a minute on one token are refused; the agent's own calls count too.
"""

import asyncio
import itertools

import pytest

from proxy.core.elicitation import Answer, AnswerKind
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.secret import Secret
from tests.support.fake_bridge import FakeBridge
from tests.support.flow_stand import FlowStand, flow_stand, read, sequences
from tests.support.manual_clock import START_S, settle

MOST_PER_MINUTE = 90
MINUTES = 10


def _most_in_a_minute(bridge: FakeBridge, *, after_s: float = 0.0) -> int:
    """Most calls of one token in any minute; the first may be from `after_s` on."""
    most = 0
    for token in {call.token for call in bridge.calls if call.token}:
        times = [call.at for call in bridge.calls if call.token == token and call.at >= START_S + after_s]
        most = max([most, *(sum(at <= other < at + 60 for other in times) for at in times)])
    return most


class Agent:
    """Waits, reads, and waits again from where it stopped, as a legacy agent does."""

    def __init__(self, made: FlowStand, token: Secret, *, timeout_s: int = 30) -> None:
        self.made, self.token, self.timeout_s = made, token, timeout_s
        self.got: list[object] = []
        self.waits = 0
        self._cursor = 0

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            task = await self.made.wait("bob", self.token, since=self._cursor, timeout_s=self.timeout_s)
            found = sequences(read(await task))
            self.waits += 1
            self.got += [number for number in found if int(str(number)) > self._cursor]
            self._cursor = max([self._cursor, *(int(str(number)) for number in found)])


@pytest.mark.requirement("feed.rate")
@pytest.mark.parametrize("timeout_s", [300, 30, 1])
async def test_idle_waits_stay_under_the_rule(timeout_s: int) -> None:
    async with flow_stand() as made:
        made.bridge.tick_s = 1.0
        made.bridge.store({})
        agent = Agent(made, made.bridge.token("bob"), timeout_s=timeout_s)
        task = asyncio.get_running_loop().create_task(agent.run())
        await made.clock.advance(60 * MINUTES)
        task.cancel()
        await settle()
        assert _most_in_a_minute(made.bridge) <= MOST_PER_MINUTE
        assert _most_in_a_minute(made.bridge, after_s=60) <= 65
        # And the questions are still asked for at the idle pace.
        assert made.bridge.count("pending") >= 28 * MINUTES
        assert agent.waits >= 60 * MINUTES // timeout_s - 1


@pytest.mark.requirement("feed.rate")
@pytest.mark.parametrize("is_local", [False, True])
@pytest.mark.parametrize("gap_s", [1.0, 0.25])
async def test_a_busy_log_stays_under_the_rule_and_silences_nobody(gap_s: float, *, is_local: bool) -> None:
    async with flow_stand() as made:
        made.bridge.tick_s = 1.0
        agent = Agent(made, made.bridge.token("bob"))
        task = asyncio.get_running_loop().create_task(agent.run())
        stored = 0
        stored_at: dict[int, float] = {}
        waited: list[float] = []
        while made.clock.now() < START_S + 60 * MINUTES:
            await made.clock.advance(gap_s)
            stored = made.bridge.store({"n": stored})
            stored_at[stored] = made.clock.now()
            if is_local:
                made.feeds.message_stored("bob")
            await settle()
            waited += [made.clock.now() - stored_at.pop(int(str(number))) for number in agent.got[len(waited) :]]
        await made.clock.advance(5)
        task.cancel()
        await settle()
        assert agent.got == list(range(1, stored + 1))
        assert max(waited) <= 3.0
        assert _most_in_a_minute(made.bridge) <= MOST_PER_MINUTE
        assert _most_in_a_minute(made.bridge, after_s=60) <= 65
        asked = [call.at for call in made.bridge.calls if call.method == "pending"]
        assert max(b - a for a, b in itertools.pairwise(asked)) <= 12.0


@pytest.mark.requirement("feed.rate")
async def test_checks_of_questions_that_vanished_and_answers_to_be_named_count_too() -> None:
    async with flow_stand() as made:
        made.bridge.tick_s = 1.0
        made.bridge.writes_notes = True
        token, bob = made.bridge.token("alice"), made.bridge.token("bob")
        agent = Agent(made, token)
        task = asyncio.get_running_loop().create_task(agent.run())
        for _ in range(60 * MINUTES // 4):
            await made.clock.advance(4)
            # A question of bob's that answers itself elsewhere, and one to bob that ends without a word.
            mine = made.bridge.ask("carol", from_agent="bob")
            made.feeds.question_created(mine)
            vanishing = made.bridge.ask("bob")
            made.feeds.question_created(vanishing)
            await made.bridge.respond(_yes(mine.elicitation_id), AgentId("carol"), bob)
            await made.bridge.respond(_yes(vanishing.elicitation_id), AgentId("bob"), bob)
        task.cancel()
        await settle()
        ours = [call for call in made.bridge.calls if call.token == token.reveal()]
        assert {call.method for call in ours} >= {"wait", "pending", "status"}
        times = [call.at for call in ours]
        assert max(sum(at <= other < at + 60 for other in times) for at in times) <= MOST_PER_MINUTE


@pytest.mark.requirement("feed.rate")
async def test_waits_of_no_time_in_a_tight_loop_stay_under_the_rule() -> None:
    async with flow_stand() as made:
        token = made.bridge.token("bob")
        for _ in range(60 * MINUTES * 2):
            await made.peek("bob", token)
            await made.clock.advance(0.5)
        assert _most_in_a_minute(made.bridge) <= MOST_PER_MINUTE
        assert made.bridge.count("pending") >= 28 * MINUTES


def _yes(elicitation_id: ElicitationId) -> Answer:
    return Answer(elicitation_id=elicitation_id, kind=AnswerKind.ACCEPT, content={})
