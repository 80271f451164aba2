"""The crash walk notices a defect of each kind that it is there for: planted on purpose, one at a time."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from proxy.core.inbox import Inbox
from proxy.core.questions import QuestionBook
from proxy.core.sequences import SequenceMap
from proxy.flows.feed import Feed
from proxy.flows.respond import Answers
from tests.support.crash_walk import CrashWalk
from tests.support.planted import plant

SAME_EVERY_TIME = settings(
    max_examples=100,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
"""Without making the walk that fails a short one: that it fails is enough."""

DEFECTS = [
    pytest.param(
        Answers,
        "_send",
        ("self._feeds.parts.book.doubted(given.answer.elicitation_id) is not None", "False"),
        id="after a crash an answer in doubt is sent again and its status not asked for",
    ),
    pytest.param(
        QuestionBook,
        "restore",
        ("self.doubt(each.question.elicitation_id, each.digest)", "pass"),
        id="after a crash nobody knows of an answer that was on its way",
    ),
    pytest.param(
        Feed, "_put_on_record", ("await self._parts.synced()", "True"), id="a number is shown that is not on the disk"
    ),
    pytest.param(
        SequenceMap,
        "restore",
        ("kept.reserved, kept", "0, kept"),
        id="after a crash numbers are given that the process before may have shown",
    ),
    pytest.param(Answers, "_deliver", ("await parts.synced()", "pass"), id="an answer goes up that is not on the disk"),
    pytest.param(Inbox, "restore", ("in kept.messages:", "in ():"), id="copies of messages are dropped at a restart"),
    pytest.param(
        Answers,
        "_failed",
        ("return None if await self._stands(given, secret, fault) else fault", "return fault"),
        id="an answer that broke off on the way is sent again at once",
    ),
    pytest.param(
        Answers, "_claimed", ("return claim is Claim.SEND", "return True"), id="an answer that stands goes up again"
    ),
    pytest.param(
        Feed,
        "_leave_gone_logs",
        ("inbox.after(self.agent_id, since, ended) if is_own else ()", "()"),
        id="what was read of a log that is gone is not delivered",
    ),
    pytest.param(
        Inbox, "keep", ("self.write(message)", "pass"), id="copies of messages are kept in memory and not written"
    ),
]


@pytest.mark.requirement("journal.walk_notices")
@pytest.mark.parametrize(("owner", "name", "change"), DEFECTS)
def test_the_walk_fails_when_a_defect_is_planted(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, change: tuple[str, str]
) -> None:
    plant(monkeypatch, owner, name, instead_of=change[0], stands=change[1])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(CrashWalk, settings=SAME_EVERY_TIME)


def test_without_a_defect_the_very_same_walks_end_well() -> None:
    run_state_machine_as_test(CrashWalk, settings=SAME_EVERY_TIME)
