import pytest

from proxy.core.answer_rights import GivenTo
from proxy.core.errors import BridgeRefused, BridgeUnavailable, ImpersonationRefused, SidecarError
from proxy.core.identity import Identity, Mode, Witness
from proxy.core.ids import AgentId
from proxy.core.suspicion import Breach
from proxy.flows.admission import Admission, AdmissionRules
from proxy.flows.answer_rights import AnswerRights
from proxy.stores.memory_limits import MemoryLimitStore
from proxy.stores.memory_nonces import MemoryNonceStore
from tests.support.fake_bridge import FakeBridge
from tests.support.fake_recorder import FakeRecorder
from tests.support.manual_clock import ManualClock

pytestmark = pytest.mark.requirement("ingress.answers")


class _Stand:
    def __init__(self, mode: Mode = "enforce") -> None:
        clock = ManualClock()
        self.bridge = FakeBridge(clock)
        self.recorder = FakeRecorder()
        admission = Admission(
            AdmissionRules(identity=mode),
            nonces=MemoryNonceStore(),
            limits=MemoryLimitStore(),
            of_strangers=MemoryLimitStore(),
            clock=clock,
            recorder=self.recorder,
        )
        self.rights = AnswerRights(admission, self.bridge)

    async def answer(self, agent_id: str, *question_ids: str, has_token: bool = True, **how: bool) -> None:
        """An answer of an agent, with its own token."""
        given = GivenTo(question_ids=question_ids, **({"is_answer": True} | how))
        caller = Identity(AgentId(agent_id), Witness.SIGNATURE)
        await self.rights.check(given, caller, self.bridge.token(agent_id) if has_token else None)

    @property
    def fouls(self) -> list[tuple[Breach, str, str, bool]]:
        """What was counted."""
        return [(each.breach, each.rule, each.agent_id, each.is_enforced) for each in self.recorder.suspicions]


async def test_an_answer_passes_from_the_agent_that_was_asked_and_from_no_other() -> None:
    stand = _Stand()
    question = stand.bridge.ask("bob")
    await stand.answer("bob", question.elicitation_id)
    with pytest.raises(ImpersonationRefused, match="put to the caller, got one to another's"):
        await stand.answer("mallory", question.elicitation_id)
    assert stand.fouls == [(Breach.IMPERSONATION, "answer", "mallory", True)]


async def test_what_was_seen_to_be_asked_is_not_asked_for_again() -> None:
    stand = _Stand()
    question = stand.bridge.ask("bob")
    stand.rights.noted(question)
    await stand.answer("bob", question.elicitation_id, has_token=False)
    await stand.answer("alice", question.elicitation_id, has_token=False, is_cancel=True)
    with pytest.raises(ImpersonationRefused):
        await stand.answer("mallory", question.elicitation_id, is_cancel=True)
    assert stand.bridge.calls == []


async def test_what_waits_for_an_agent_is_asked_for_once() -> None:
    stand = _Stand()
    first, second = stand.bridge.ask("bob"), stand.bridge.ask("bob")
    await stand.answer("bob", first.elicitation_id)
    await stand.answer("bob", second.elicitation_id)
    assert stand.bridge.count("pending") == 1


async def test_one_call_that_answers_two_questions_must_be_asked_both() -> None:
    stand = _Stand()
    own, foreign = stand.bridge.ask("mallory"), stand.bridge.ask("bob")
    with pytest.raises(ImpersonationRefused):
        await stand.answer("mallory", own.elicitation_id, foreign.elicitation_id)
    with pytest.raises(ImpersonationRefused):
        await stand.answer("mallory", own.elicitation_id, is_too_much=True)


async def test_without_a_token_nobody_can_look_and_nothing_passes() -> None:
    stand = _Stand()
    question = stand.bridge.ask("bob")
    with pytest.raises(ImpersonationRefused):
        await stand.answer("bob", question.elicitation_id, has_token=False)


async def test_words_that_name_no_question_of_the_bridge_pass_and_those_that_name_one_do_not() -> None:
    stand = _Stand()
    question = stand.bridge.ask("bob")
    await stand.answer("mallory", "another-conversation", is_answer=False)
    with pytest.raises(ImpersonationRefused):
        await stand.answer("mallory", question.elicitation_id, is_answer=False)
    with pytest.raises(ImpersonationRefused):
        await stand.answer("mallory", "unknown")


async def test_taking_back_what_was_not_seen_is_the_bridges_to_judge() -> None:
    stand = _Stand()
    question = stand.bridge.ask("bob")
    await stand.answer("alice", question.elicitation_id, is_cancel=True)


@pytest.mark.parametrize("status", [404, 405])
async def test_a_bridge_without_elicitation_has_no_questions_to_protect(status: int) -> None:
    stand = _Stand()
    stand.bridge.fails("status", lambda: BridgeRefused("none", bridge_status=status))
    await stand.answer("mallory", "e1", is_answer=False)
    stand.bridge.fails("pending", lambda: BridgeRefused("none", bridge_status=status))
    await stand.answer("mallory", "e1")


async def test_a_bridge_that_has_had_no_question_yet_is_told_from_one_that_has_too_much_to_do() -> None:
    stand = _Stand()
    words = b'{"detail":"Elicitation manager not initialized"}'
    stand.bridge.fails("status", lambda: BridgeRefused("none yet", bridge_status=503, body=words))
    await stand.answer("mallory", "e1", is_answer=False)
    for method in ("status", "pending"):
        stand.bridge.fails(method, lambda: BridgeRefused("busy", bridge_status=503, body=b"overloaded"))
        with pytest.raises(BridgeRefused):
            await stand.answer("mallory", "e1", is_answer=False)


@pytest.mark.parametrize("method", ["pending", "status"])
@pytest.mark.parametrize(
    "fault", [BridgeUnavailable("away"), BridgeRefused("no", bridge_status=403)], ids=["away", "refused"]
)
async def test_what_cannot_be_looked_up_is_refused_where_it_is_enforced(method: str, fault: SidecarError) -> None:
    stand, watching = _Stand(), _Stand("observe")
    for each in (stand, watching):
        each.bridge.fails(method, lambda: fault)
    with pytest.raises(type(fault)):
        await stand.answer("bob", "e1", is_answer=False)
    await watching.answer("bob", "e1", is_answer=False)
    assert watching.fouls == []


async def test_observing_counts_and_lets_through_and_off_does_not_look() -> None:
    watching, off = _Stand("observe"), _Stand("off")
    for each in (watching, off):
        await each.answer("mallory", each.bridge.ask("bob").elicitation_id)
    assert watching.fouls == [(Breach.IMPERSONATION, "answer", "mallory", False)]
    assert (off.fouls, off.bridge.calls) == ([], [])
    await watching.rights.check(GivenTo(question_ids=("e1",)), None, None)
