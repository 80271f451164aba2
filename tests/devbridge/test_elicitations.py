"""The book of elicitations, without a server and without waiting."""

from dataclasses import replace

import pytest

from proxy.devbridge.elicitations import Answer, Ask, ElicitationBook
from proxy.devbridge.events import EventLog
from proxy.devbridge.wire import WireError

ASK = Ask(
    from_agent="alice",
    to_agent="bob",
    message="Which colour?",
    schema={"type": "object", "required": ["colour"]},
    timeout_s=30,
)


def started(log: EventLog, now: float = 0.0) -> ElicitationBook:
    book = ElicitationBook(log.append, b"key")
    book.start(log.everything(), now)
    return book


def answer(elicitation_id: str, /, **changes: object) -> Answer:
    whole = Answer(
        elicitation_id=elicitation_id,
        agent_id="bob",
        kind="accept",
        data={"colour": "red"},
        token_is_valid=True,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]  # the tests below name real fields


def refusal(book: ElicitationBook, said: Answer, now: float = 1.0) -> object:
    with pytest.raises(WireError) as refused:
        book.respond(said, now)
    assert refused.value.status == 500
    return refused.value.detail


def test_a_question_is_pending_for_its_target_without_secrets() -> None:
    book = started(EventLog())
    question = book.create(ASK, 5.0)
    assert book.pending("bob") == [
        {
            "id": question.elicitation_id,
            "from_agent": "alice",
            "message": "Which colour?",
            "schema": ASK.schema,
            "created_at": 5.0,
            "expires_at": 35.0,
        }
    ]
    assert book.pending("alice") == []
    assert book.status(question.elicitation_id) == {
        "status": "pending",
        "created_at": 5.0,
        "expires_at": 35.0,
    }


def test_a_question_leaves_an_event_with_nonce_and_key_but_without_its_id_in_the_data() -> None:
    log = EventLog()
    question = started(log).create(ASK, 5.0)
    draft = log.everything()[0].draft
    assert (draft.event_type, draft.source_agent, draft.aggregate_id) == (
        "custom",
        "alice",
        question.elicitation_id,
    )
    assert list(draft.data) == [
        "elicitation_type",
        "from_agent",
        "to_agent",
        "message",
        "schema",
        "nonce",
        "request_signature",
        "expected_response_key",
        "timeout_seconds",
        "created_at",
        "expires_at",
        "security_context",
    ]
    assert draft.data["elicitation_type"] == "elicitation_requested"


@pytest.mark.parametrize(
    ("kind", "by", "status"),
    [
        ("accept", "bob", "accepted"),
        ("decline", "bob", "declined"),
        ("cancel", "alice", "cancelled"),
    ],
)
def test_an_answer_completes_the_question_and_leaves_an_event(kind: str, by: str, status: str) -> None:
    log = EventLog()
    book = started(log)
    question = book.create(ASK, 0.0)
    book.respond(answer(question.elicitation_id, kind=kind, agent_id=by), 2.0)
    assert book.status(question.elicitation_id) == {
        "status": status,
        "created_at": 0.0,
        "responded_at": None,
    }
    assert book.pending("bob") == []
    draft = log.everything()[-1].draft
    assert draft.source_agent == by
    assert dict(draft.data) | {"response_signature": ""} == {
        "elicitation_type": f"elicitation_{status}",
        "responding_agent": by,
        "response_type": kind,
        "response_data": {"colour": "red"},
        "response_signature": "",
        "responded_at": 2.0,
        "security_context": {},
    }


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"token_is_valid": False}, "Invalid agent session token"),
        ({"elicitation_id": "elicit_0"}, "400: Failed to respond to elicitation"),
        ({"agent_id": "mallory"}, "Agent mallory not authorized to respond to elicitation for bob"),
        ({"kind": "cancel"}, "Only alice can cancel this elicitation"),
        ({"data": {"size": 1}}, "Response does not match requested schema"),
        ({"kind": "maybe"}, "'maybe'"),
    ],
)
def test_a_wrong_answer_is_refused_and_changes_nothing(changes: dict[str, object], text: str) -> None:
    log = EventLog()
    book = started(log)
    question = book.create(ASK, 0.0)
    assert refusal(book, answer(question.elicitation_id, **changes)) == text
    assert len(log) == 1
    assert len(book.pending("bob")) == 1


@pytest.mark.parametrize("data", [{}, None, {"colour": 5, "more": 1}])
def test_only_the_presence_of_required_names_is_checked_and_not_in_empty_data(data: object) -> None:
    book = started(EventLog())
    question = book.create(ASK, 0.0)
    book.respond(answer(question.elicitation_id, data=data), 1.0)
    assert book.status(question.elicitation_id)["status"] == "accepted"


def test_a_schema_whose_required_is_no_list_is_not_checked() -> None:
    book = started(EventLog())
    question = book.create(replace(ASK, schema={"required": "colour"}), 0.0)
    book.respond(answer(question.elicitation_id, data={"size": 1}), 1.0)


def test_a_second_answer_is_refused() -> None:
    book = started(EventLog())
    question = book.create(ASK, 0.0)
    book.respond(answer(question.elicitation_id), 1.0)
    assert refusal(book, answer(question.elicitation_id)) == "400: Failed to respond to elicitation"


def test_expiry_is_judged_at_once_by_respond_but_shown_only_after_the_sweep() -> None:
    log = EventLog()
    book = started(log)
    question = book.create(replace(ASK, timeout_s=1), 0.0)
    assert refusal(book, answer(question.elicitation_id), 1.5) == "400: Failed to respond to elicitation"
    book.sweep(9.9)
    assert book.status(question.elicitation_id)["status"] == "pending"
    assert len(book.pending("bob")) == 1
    book.sweep(10.0)
    assert book.status(question.elicitation_id)["status"] == "expired"
    assert book.pending("bob") == []
    draft = log.everything()[-1].draft
    assert draft.source_agent == "system"
    assert draft.data == {"elicitation_type": "elicitation_expired", "expired_at": 10.0}


def test_a_sweep_before_the_start_does_nothing() -> None:
    log = EventLog()
    ElicitationBook(log.append, b"key").sweep(1000.0)
    assert len(log) == 0


def test_an_unknown_question_has_no_status() -> None:
    with pytest.raises(WireError) as refused:
        started(EventLog()).status("elicit_0")
    assert (refused.value.status, refused.value.detail) == (404, "Elicitation not found")


def test_thirteen_creates_a_minute_are_allowed() -> None:
    book = started(EventLog())
    for _ in range(13):
        book.create(ASK, 0.0)
    with pytest.raises(WireError, match="Rate limit exceeded for agent alice"):
        book.create(ASK, 59.0)
    book.create(ASK, 59.0, rate_limits=False)
    book.create(ASK, 60.0)


def test_twenty_three_responses_a_minute_are_allowed() -> None:
    book = started(EventLog())
    questions = [book.create(ASK, 0.0, rate_limits=False) for _ in range(25)]
    for question in questions[:23]:
        book.respond(answer(question.elicitation_id), 1.0)
    said = answer(questions[23].elicitation_id)
    assert refusal(book, said) == "Response rate limit exceeded for agent bob"
    book.respond(said, 1.0, rate_limits=False)


def test_metrics_count_what_happened() -> None:
    book = started(EventLog())
    first, _, _, _ = (book.create(replace(ASK, timeout_s=at), 0.0) for at in (30, 1, 60, 60))
    book.respond(answer(first.elicitation_id), 1.0)
    book.sweep(10.0)
    metrics = book.metrics()
    performance, security, activity = metrics["performance"], metrics["security"], metrics["activity"]
    assert isinstance(performance, dict)
    assert (performance["delivery_rate"], performance["timeout_rate"]) == (0.25, 0.25)
    assert security == {"impersonation_attempts": 0, "replay_attempts": 0, "rate_limit_violations": 0}
    assert activity == {"active_elicitations": 2, "pending_elicitations": 2}


def test_after_a_restart_open_questions_reappear_but_nobody_can_answer_them() -> None:
    log = EventLog()
    before = started(log)
    done = before.create(ASK, 0.0)
    before.respond(answer(done.elicitation_id), 1.0)
    left = before.create(ASK, 2.0)
    after = started(log, 3.0)
    assert [item["id"] for item in after.pending("bob")] == [left.elicitation_id]
    assert after.status(done.elicitation_id)["status"] == "accepted"
    assert refusal(after, answer(left.elicitation_id), 4.0) == "Replay attack detected"


def test_events_of_others_do_not_disturb_a_restart() -> None:
    log = EventLog()
    before = started(log)
    question = before.create(ASK, 0.0)
    kept = log.everything()[0].draft
    log.append(replace(kept, source_component="http_server"), 1.0)
    log.append(replace(kept, aggregate_id="elicit_0", data={"elicitation_type": "elicitation_accepted"}), 1.0)
    assert [item["id"] for item in started(log, 2.0).pending("bob")] == [question.elicitation_id]
