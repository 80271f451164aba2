"""The ledger of the chaos run: histories written by hand, each with one thing in it that must be found, or nothing."""

from collections import defaultdict
from collections.abc import Mapping

import msgspec
import pytest

from bench.chaos_ledger import (
    DISORDERED,
    DOUBLED,
    LOST,
    MANAGER,
    MISDELIVERED,
    ODD,
    OTHER_ID,
    REFUSED,
    Ledger,
    LogEvent,
    Verdict,
)
from bench.chaos_records import (
    Answered,
    AnyRecord,
    Asking,
    Heard,
    Odd,
    Received,
    Sending,
    Stored,
    Tick,
    Told,
    Unsent,
    spans_of,
)

QUESTION = "a.q0.1"


def _event(sequence: int, data: Mapping[str, object], **draft: object) -> LogEvent:
    kept = {"source_component": "http_server", "aggregate_id": f"n{sequence}", "data": data, **draft}
    return msgspec.convert({"sequence": sequence, "draft": kept}, LogEvent)


def _message(sequence: int, message: str, to_agent: str, **more: object) -> LogEvent:
    return _event(sequence, {"id": message, "to_agent": to_agent, **more})


def _asked(sequence: int, elicitation: str = "e1", question: str = QUESTION) -> LogEvent:
    data = {
        "elicitation_type": "elicitation_requested",
        "from_agent": "a",
        "to_agent": "b",
        "message": question,
    }
    return _event(sequence, data, source_component=MANAGER, aggregate_id=elicitation)


def _taken(sequence: int, elicitation: str = "e1", question: str = QUESTION, agent: str = "b") -> LogEvent:
    data = {
        "elicitation_type": "elicitation_accepted",
        "responding_agent": agent,
        "response_data": {"question": question},
    }
    return _event(sequence, data, source_component=MANAGER, aggregate_id=elicitation)


def _read(agent: str, *numbers: int, mine: tuple[tuple[int, str], ...] = ()) -> Received:
    return Received(agent, 0, spans_of(list(numbers)), list(mine))


def _judge(log: list[LogEvent], *records: AnyRecord) -> Verdict:
    by_agent: dict[str, list[AnyRecord]] = defaultdict(list)
    for record in (*records, Tick("", 1.0)):
        by_agent[record.agent].append(record)
    return Ledger(log, by_agent).judge()


SENT = (Sending("a", "a.0.1"), Stored("a", "a.0.1", 1), Sending("a", "a.0.2"), Stored("a", "a.0.2", 2))
TWO = [_message(1, "a.0.1", "b"), _message(2, "a.0.2", "b")]
MINE = ((1, "a.0.1"), (2, "a.0.2"))
ALL_READ = (_read("a", 1, 2), _read("b", 1, 2, mine=MINE))

EXCHANGE = [_asked(1), _taken(2)]
EXCHANGED = (
    Asking("a", QUESTION),
    Told("b", QUESTION, "e1", 0, 9.0),
    Answered("b", QUESTION, "e1", 200),
    Heard("a", QUESTION, "e1", 2, "b"),
)


def test_messages_that_everybody_got_once_are_clean() -> None:
    verdict = _judge(TWO, *SENT, *ALL_READ)
    assert verdict.is_clean
    assert (verdict.counts["messages sent"], verdict.counts["messages delivered"]) == (2, 4)
    assert verdict.counts["duplicates delivered"] == 0


def test_an_exchange_from_question_to_answer_is_clean() -> None:
    verdict = _judge(EXCHANGE, *EXCHANGED)
    assert verdict.is_clean
    assert (verdict.counts["exchanges begun"], verdict.counts["exchanges completed"]) == (1, 1)


@pytest.mark.parametrize(
    "heard", [Heard("a", QUESTION, "e1", 2, "b"), Heard("a", QUESTION, "", 2, "b")], ids=["by its id", "as a note"]
)
def test_an_answer_is_heard_by_its_id_or_as_the_note_of_it(heard: Heard) -> None:
    assert _judge(EXCHANGE, *EXCHANGED[:3], heard).is_clean


def test_a_note_that_is_answered_with_a_message_is_clean() -> None:
    log = [_asked(1), _message(2, "b.re1.1", "a", in_reply_to=1)]
    records = (
        Asking("a", QUESTION),
        Told("b", QUESTION, "", 1, 9.0),
        Sending("b", "b.re1.1"),
        Stored("b", "b.re1.1", 2),
        Heard("a", QUESTION, "", 2, "b"),
        _read("a", 1, 2, mine=((2, "b.re1.1"),)),
        _read("b", 1, 2),
    )
    assert _judge(log, *records).is_clean


def test_a_message_that_answers_a_note_may_be_taken_as_the_answer_to_the_elicitation() -> None:
    sent = (Sending("b", "b.re1.1"), Stored("b", "b.re1.1", 0))
    assert _judge(EXCHANGE, EXCHANGED[0], Told("b", QUESTION, "", 1, 9.0), *sent, EXCHANGED[3]).is_clean
    assert _breaches(EXCHANGE[:1], EXCHANGED[0], *sent) == {LOST: 2}


def test_a_duplicate_under_the_same_number_is_counted_and_allowed() -> None:
    verdict = _judge(TWO, *SENT, *ALL_READ, _read("b", 2, mine=MINE[1:]))
    assert (verdict.is_clean, verdict.counts["duplicates delivered"]) == (True, 1)


def test_a_question_told_twice_under_its_id_is_counted_and_allowed() -> None:
    verdict = _judge(EXCHANGE, *EXCHANGED, EXCHANGED[1])
    assert (verdict.is_clean, verdict.counts["questions told again"]) == (True, 1)


def test_what_was_stored_again_after_a_try_of_unknown_outcome_is_counted_and_allowed() -> None:
    log = [*TWO[:1], _message(2, "a.0.1", "b")]
    mine = ((1, "a.0.1"), (2, "a.0.1"))
    sent = (
        Sending("a", "a.0.1"),
        Unsent("a", "a.0.1", is_certain=False),
        Sending("a", "a.0.1"),
        Stored("a", "a.0.1", 2),
    )
    verdict = _judge(log, *sent, _read("a", 1, 2), _read("b", 1, 2, mine=mine))
    assert verdict.is_clean
    assert verdict.counts["messages that their agent stored again"] == 1


def test_what_comes_after_the_end_of_the_run_need_not_arrive() -> None:
    log = [*TWO, _event(3, {"closing": True}), _message(4, "a.0.3", "b"), _asked(5), _taken(6)]
    records = (Sending("a", "a.0.3"), Stored("a", "a.0.3", 4), _read("a", 1, 2, 3), _read("b", 1, 2, 3, mine=MINE))
    assert _judge(log, *SENT, *records).is_clean


def _breaches(log: list[LogEvent], *records: AnyRecord) -> dict[str, int]:
    return dict(_judge(log, *records).breaches)


def test_a_message_that_one_agent_never_got_is_lost() -> None:
    assert _breaches(TWO, *SENT, _read("a", 1, 2), _read("b", 1, mine=MINE[:1])) == {LOST: 1}
    assert _breaches(TWO, *SENT, _read("a", 2), ALL_READ[1]) == {LOST: 1}


def test_a_message_that_was_taken_and_is_not_in_the_log_is_lost() -> None:
    assert _breaches(TWO, *SENT, Sending("a", "a.0.3"), Stored("a", "a.0.3", 3), *ALL_READ) == {LOST: 1}


def test_a_message_that_is_more_often_in_the_log_than_it_was_sent_is_doubled() -> None:
    log = [*TWO, _message(3, "a.0.2", "b")]
    records = (_read("a", 1, 2, 3), _read("b", 1, 2, 3, mine=(*MINE, (3, "a.0.2"))))
    assert _breaches(log, *SENT, *records) == {DOUBLED: 1}


def test_a_message_that_was_refused_and_stored_all_the_same_is_doubled() -> None:
    log = [*TWO, _message(3, "a.0.2", "b")]
    again = (Sending("a", "a.0.2"), Unsent("a", "a.0.2", is_certain=True))
    records = (_read("a", 1, 2, 3), _read("b", 1, 2, 3, mine=(*MINE, (3, "a.0.2"))))
    assert _breaches(log, *SENT, *again, *records) == {DOUBLED: 1}


def test_a_message_that_nobody_sent_is_misdelivered() -> None:
    log = [*TWO, _message(3, "c.0.1", "b")]
    records = (_read("a", 1, 2, 3), _read("b", 1, 2, 3, mine=(*MINE, (3, "c.0.1"))))
    assert _breaches(log, *SENT, *records) == {MISDELIVERED: 1}


@pytest.mark.parametrize(
    "mine", [((1, "a.0.2"), (2, "a.0.1")), ((1, "a.0.1"), (2, "c.0.7"))], ids=["swapped", "made up"]
)
def test_a_message_under_the_number_of_another_is_misdelivered(mine: tuple[tuple[int, str], ...]) -> None:
    assert MISDELIVERED in _breaches(TWO, *SENT, _read("a", 1, 2), _read("b", 1, 2, mine=mine))


def test_a_message_taken_for_somebody_elses_is_misdelivered() -> None:
    assert _breaches(TWO, *SENT, ALL_READ[0], _read("b", 1, 2, mine=MINE[:1])) == {MISDELIVERED: 1}
    assert _breaches(TWO, *SENT, _read("a", 1, 2, mine=MINE[:1]), ALL_READ[1]) == {MISDELIVERED: 1}


def test_a_number_that_the_log_does_not_have_is_misdelivered() -> None:
    assert _breaches(TWO, *SENT, *ALL_READ, _read("b", 3)) == {MISDELIVERED: 1}


def test_an_older_message_that_comes_later_is_out_of_order() -> None:
    records = (_read("a", 1, 2), _read("b", 2, mine=MINE[1:]), _read("b", 1, mine=MINE[:1]))
    assert _breaches(TWO, *SENT, *records) == {DISORDERED: 1}


def test_messages_of_one_lane_that_are_the_wrong_way_round_in_the_log_are_out_of_order() -> None:
    log = [_message(1, "a.0.2", "b"), _message(2, "a.0.1", "b")]
    sent = (Sending("a", "a.0.1"), Stored("a", "a.0.1", 2), Sending("a", "a.0.2"), Stored("a", "a.0.2", 1))
    records = (_read("a", 1, 2), _read("b", 1, 2, mine=((1, "a.0.2"), (2, "a.0.1"))))
    assert _breaches(log, *sent, *records) == {DISORDERED: 1}


def test_a_question_that_came_to_another_agent_or_with_other_words_is_misdelivered() -> None:
    assert _breaches(EXCHANGE, *EXCHANGED, Told("c", QUESTION, "e1", 0, 9.0)) == {MISDELIVERED: 1}
    assert _breaches(EXCHANGE, *EXCHANGED, Told("b", "a.q0.2", "e1", 0, 9.0)) == {MISDELIVERED: 1}
    assert _breaches(EXCHANGE, *EXCHANGED, Told("b", QUESTION, "e9", 0, 9.0)) == {MISDELIVERED: 1}


def test_a_question_told_as_an_elicitation_and_as_a_note_has_come_under_another_id() -> None:
    assert _breaches(EXCHANGE, *EXCHANGED, Told("b", QUESTION, "", 1, 9.0)) == {OTHER_ID: 1}


def test_two_answers_in_the_log_are_a_double_effect() -> None:
    assert _breaches([*EXCHANGE, _taken(3)], *EXCHANGED) == {DOUBLED: 1}


def test_an_answer_and_a_message_that_answers_the_note_are_a_double_effect() -> None:
    log = [*EXCHANGE, _message(3, "b.re1.1", "a", in_reply_to=1)]
    records = (
        *(Sending("b", "b.re1.1"), Stored("b", "b.re1.1", 3)),
        *(_read("a", 3, mine=((3, "b.re1.1"),)), _read("b", 3)),
    )
    assert _breaches(log, *EXCHANGED, *records) == {DOUBLED: 1}


def test_an_answer_that_its_asker_never_heard_is_lost() -> None:
    again = [_asked(3, "e2"), _taken(4, "e2")]
    assert _breaches([*EXCHANGE, *again], *EXCHANGED) == {LOST: 1}


def test_an_answer_that_was_taken_and_is_not_in_the_log_is_lost() -> None:
    log = [*EXCHANGE, _asked(3, "e2")]
    assert _breaches(log, *EXCHANGED, Answered("b", QUESTION, "e2", 200)) == {LOST: 1}


def test_a_question_that_was_never_answered_is_lost() -> None:
    assert _breaches(EXCHANGE, *EXCHANGED, Asking("a", "a.q0.2")) == {LOST: 1}


def test_an_answer_heard_by_another_agent_or_for_another_question_is_misdelivered() -> None:
    assert _breaches(EXCHANGE, *EXCHANGED, Heard("c", QUESTION, "e1", 2, "b")) == {MISDELIVERED: 1}
    assert _breaches(EXCHANGE, *EXCHANGED, Heard("a", "a.q0.2", "e1", 2, "b")) == {MISDELIVERED: 1}
    assert _breaches(EXCHANGE, *EXCHANGED, Heard("a", QUESTION, "e1", 2, "c")) == {MISDELIVERED: 1}
    assert _breaches(EXCHANGE, *EXCHANGED, Heard("a", QUESTION, "", 9, "b")) == {MISDELIVERED: 1}


def test_an_answer_heard_under_the_id_of_a_question_that_nobody_answered_is_misdelivered_and_the_real_one_lost() -> (
    None
):
    log = [*EXCHANGE, _asked(3, "e2")]
    assert _breaches(log, *EXCHANGED[:3], Heard("a", QUESTION, "e2", 2, "b")) == {MISDELIVERED: 1, LOST: 1}


def test_an_answer_given_by_another_agent_or_with_other_words_is_misdelivered() -> None:
    assert MISDELIVERED in _breaches([_asked(1), _taken(2, agent="c")], *EXCHANGED)
    assert MISDELIVERED in _breaches([_asked(1), _taken(2, question="a.q0.7")], *EXCHANGED)


def test_an_answer_that_stands_and_was_refused_is_told() -> None:
    refused = Answered("b", QUESTION, "e1", 409)
    assert _breaches(EXCHANGE, *EXCHANGED[:2], refused, EXCHANGED[3]) == {REFUSED: 1}


def test_an_answer_that_was_refused_and_does_not_stand_or_was_given_up_is_counted() -> None:
    log = [*EXCHANGE, _asked(3, "e2"), _asked(4, "e3")]
    ends = (Answered("b", QUESTION, "e2", 410), Answered("b", QUESTION, "e3", 0))
    verdict = _judge(log, *EXCHANGED, *ends)
    assert verdict.is_clean
    assert (verdict.counts["answers refused 410"], verdict.counts["answers given up"]) == (1, 1)
    assert verdict.counts["elicitations that ended unseen"] == 2


def test_an_odd_reply_is_told_with_its_words() -> None:
    verdict = _judge(TWO, *SENT, *ALL_READ, Odd("a", "store answered 418"))
    assert verdict.examples[ODD] == ["a: store answered 418"]


def test_of_many_breaches_all_are_counted_and_some_are_told() -> None:
    log = [_message(number, f"a.0.{number}", "b") for number in range(1, 101)]
    sent = [Sending("a", f"a.0.{number}") for number in range(1, 101)]
    verdict = _judge(log, *sent, _read("a", *range(1, 101)), _read("b", 1, mine=((1, "a.0.1"),)))
    assert verdict.breaches == {LOST: 99}
    assert len(verdict.examples[LOST]) == 20
