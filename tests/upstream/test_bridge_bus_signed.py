"""Questions on the log of a Bridge that stores events in any name, between sidecars that sign and verify them."""

import pytest

from proxy.core.bus import answer_data, question_data
from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus
from proxy.core.event_seal import EventSeal
from proxy.core.identity import Mode
from proxy.core.ids import AgentId
from proxy.core.key_ring import KeyRing
from proxy.upstream.bridge_bus import BusBridge
from tests.support.bus_log import ask, question
from tests.support.fake_bus import FakeLog
from tests.support.manual_clock import ManualClock
from tests.support.signing import key_of, signer_of

pytestmark = pytest.mark.requirement("signatures.bus")
RING = KeyRing([key_of("alice"), key_of("bob")])
ALICE, BOB = AgentId("alice"), AgentId("bob")


class _Line:
    def __init__(self, mode: Mode = "enforce") -> None:
        self.mode = mode
        self.clock = ManualClock()
        self.log = FakeLog(self.clock, is_patient=False)
        self.alice, self.bob = self.log.token("alice"), self.log.token("bob")

    def bus(self, agent_id: str, *, signs: bool = True) -> BusBridge:
        """The bus as the sidecar of an agent has it."""
        seal = EventSeal(lambda: RING, mode=self.mode, signer=signer_of(RING, agent_id) if signs else None)
        return BusBridge(self.log, self.log.clock, mint=lambda: f"{next(self.log.ids):032x}", seal=seal)


async def test_a_whole_exchange_stands_also_for_a_sidecar_that_reads_it_later() -> None:
    line = _Line()
    asked = await line.bus("alice").ask(ask(), line.alice)
    beside_bob = line.bus("bob")
    assert [each.elicitation_id for each in await beside_bob.pending(BOB, line.bob)] == [asked.elicitation_id]
    red = Answer(elicitation_id=asked.elicitation_id, kind=AnswerKind.ACCEPT, content={"colour": "red"})
    await beside_bob.respond(red, BOB, line.bob)
    await line.clock.advance(3600)
    for agent_id in ("alice", "bob"):
        assert await line.bus(agent_id).status(asked.elicitation_id, line.alice) is BridgeStatus.ACCEPTED


async def test_a_withdrawal_is_signed_too() -> None:
    line = _Line()
    beside_alice = line.bus("alice")
    asked = await beside_alice.ask(ask(), line.alice)
    await beside_alice.withdraw(asked.elicitation_id, ALICE, line.alice)
    assert await line.bus("bob").pending(BOB, line.bob) == ()


@pytest.mark.parametrize("mode", ["observe", "enforce"])
async def test_a_forged_question_is_none_where_signatures_are_enforced(mode: Mode) -> None:
    line = _Line(mode)
    line.log.store(question_data(question()), source="alice")
    assert bool(await line.bus("bob").pending(BOB, line.bob)) is (mode == "observe")


async def test_a_forged_answer_ends_nothing_and_the_true_one_does() -> None:
    line = _Line()
    asked = await line.bus("alice").ask(ask(), line.alice)
    forged = Answer(elicitation_id=asked.elicitation_id, kind=AnswerKind.ACCEPT, content={"colour": "black"})
    line.log.store(answer_data(forged, asked), source="bob")
    line.log.store({"in_reply_to": asked.elicitation_id, "colour": "black"}, source="bob")
    beside_alice = line.bus("alice")
    assert await beside_alice.status(asked.elicitation_id, line.alice) is BridgeStatus.PENDING
    red = Answer(elicitation_id=asked.elicitation_id, kind=AnswerKind.ACCEPT, content={"colour": "red"})
    await line.bus("bob").respond(red, BOB, line.bob)
    assert await beside_alice.status(asked.elicitation_id, line.alice) is BridgeStatus.ACCEPTED


async def test_a_question_that_is_stored_again_is_the_same_question() -> None:
    line = _Line()
    asked = await line.bus("alice").ask(ask(), line.alice)
    line.log.log.append(line.log.log[-1])
    assert [each.elicitation_id for each in await line.bus("bob").pending(BOB, line.bob)] == [asked.elicitation_id]


async def test_a_sidecar_that_does_not_sign_asks_nobody_who_enforces() -> None:
    line = _Line()
    await line.bus("alice", signs=False).ask(ask(), line.alice)
    assert await line.bus("bob").pending(BOB, line.bob) == ()
