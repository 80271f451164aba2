"""The fake recorder itself."""

from proxy.core.outcome import Door, ElicitationOutcome, Outcome, Result
from proxy.ports import Recorder
from tests.support.fake_recorder import FakeRecorder


def test_it_keeps_what_it_is_told_in_order() -> None:
    kept = FakeRecorder()
    recorder: Recorder = kept
    outcome = Outcome(door=Door.WAIT, result=Result.DELIVERED, seconds=0.5)
    error = ValueError("x")
    recorder.record(outcome)
    recorder.elicitation(ElicitationOutcome.SEEN, "bob")
    recorder.elicitation(ElicitationOutcome.SEEN, "carol")
    recorder.lost_messages("bob", 3)
    recorder.defect("feed", error)
    assert kept.outcomes == [outcome]
    assert kept.elicitations == [(ElicitationOutcome.SEEN, "bob"), (ElicitationOutcome.SEEN, "carol")]
    assert kept.counted() == {ElicitationOutcome.SEEN: 2}
    assert kept.lost == [("bob", 3)]
    assert kept.defects == [("feed", error)]
