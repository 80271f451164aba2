"""What an agent of the chaos run writes down, remembers, and reads; and the script, run to its end with little load."""

import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.chaos_calls import read_reply
from bench.chaos_past import remember
from bench.chaos_records import (
    Answered,
    AnyRecord,
    Asked,
    Asking,
    Heard,
    Journal,
    Received,
    Sending,
    Stored,
    Tick,
    Told,
    Unsent,
    mend,
    read_records,
    spans_of,
)
from bench.http_client import BadReplyError
from tests.support.nursery import unmeasured

ROOT = Path(__file__).resolve().parents[2]


@given(st.lists(st.integers(0, 50), unique=True).map(sorted))
def test_spans_cover_exactly_the_numbers_they_were_made_of(numbers: list[int]) -> None:
    spans = spans_of(numbers)
    assert [number for first, last in spans for number in range(first, last + 1)] == numbers
    assert all(first > last + 1 for (_, last), (first, _) in pairwise(spans))


def test_a_line_torn_by_a_kill_is_left_out_and_the_next_life_writes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    assert list(read_records(path)) == []
    mend(path)
    lines: list[AnyRecord] = [Sending("a", "a.0.1"), Received("a", 3, [(4, 6)], [(5, "b.0.1")])]
    first = Journal(path)
    for line in lines:
        first.write(line)
    first.close()
    with path.open("ab") as file:
        file.write(b'["stored","a","a.0')
    assert [record for record in read_records(path) if not isinstance(record, Tick)] == lines
    mend(path)
    second = Journal(path)
    second.write(Stored("a", "a.0.1", 7))
    second.close()
    kept = [record for record in read_records(path) if not isinstance(record, Tick)]
    assert kept == [*lines, Stored("a", "a.0.1", 7)]
    ticks = [record.at for record in read_records(path) if isinstance(record, Tick)]
    assert all(time.time() - 60 < at <= time.time() for at in ticks)


def test_a_life_goes_on_where_the_last_one_ended() -> None:
    told = Told("a", "b.q0.1", "e1", 0, 9.0)
    note = Told("a", "b.q0.2", "", 6, 9.0)
    past = remember(
        [
            *(Sending("a", "a.0.1"), Stored("a", "a.0.1", 4), Sending("a", "a.0.2")),
            *(Sending("a", "a.1.1"), Unsent("a", "a.1.1", is_certain=True)),
            *(told, note, Received("a", 0, [(1, 3)], []), Received("a", 3, [(4, 6)], [])),
            *(Asking("a", "a.q0.1"), Asked("a", "a.q0.1", "e2", 5.0), Heard("a", "a.q0.1", "e2", 5, "b")),
            *(Asking("a", "a.q0.2"), Asked("a", "a.q0.2", "e3", 7.0)),
        ]
    )["a"]
    assert past.cursor == 6
    assert past.last == {"a.0": 2, "a.1": 1, "a.q0": 2}
    assert (past.doubtful, past.open) == ({"a.0.2"}, {"a.1.1"})
    assert (past.unheard, past.heard) == ({"a.q0.2": 7.0}, {"a.q0.1"})
    assert past.untold == {"e1": told, "6": note}
    past.note(Answered("a", "b.q0.1", "e1", 200))
    past.note(Stored("a", "a.re6.1", 9))
    assert (past.untold, past.told) == ({}, {"e1", "6"})


def _reply(*items: dict[str, object]) -> bytes:
    return orjson.dumps({"events": items, "count": len(items)})


def _item(sequence: int, data: dict[str, object], event_type: str = "custom", sender: str = "b") -> dict[str, object]:
    return {"sequence": sequence, "event_type": event_type, "source_agent": sender, "data": data}


def test_a_reply_is_read_for_messages_questions_and_answers() -> None:
    reading = read_reply(
        "a",
        _reply(
            _item(3, {"elicitation_id": "e1", "message": "b.q0.1", "expires_at": 9.5}, "elicitation_request"),
            _item(4, {"id": "b.0.1", "to_agent": "a"}),
            _item(5, {"id": "b.0.2", "to_agent": "c"}),
            _item(6, {"elicitation_type": "elicitation_requested", "to_agent": "a", "message": "b.q0.2"}),
            _item(7, {"elicitation_type": "elicitation_requested", "to_agent": "c", "message": "b.q0.3"}),
            _item(8, {"elicitation_type": "elicitation_accepted", "response_data": {"question": "a.q0.1"}}),
            _item(9, {"elicitation_type": "elicitation_accepted", "response_data": {"question": "c.q0.1"}}),
            _item(10, {"elicitation_id": "e2", "data": {"question": "c.q0.2"}}, "elicitation_response"),
            _item(11, {"id": "b.re2.1", "to_agent": "a", "in_reply_to": 2, "content": {"question": "a.q0.2"}}),
            _item(12, {"closing": True}),
        ),
    )
    assert reading.numbers == [4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert reading.mine == [(4, "b.0.1"), (11, "b.re2.1")]
    assert reading.records == [
        Told("a", "b.q0.1", "e1", 0, 9.5),
        Told("a", "b.q0.2", "", 6, 0.0),
        Heard("a", "a.q0.1", "", 8, "b"),
        Heard("a", "c.q0.2", "e2", 10, "b"),
        Heard("a", "a.q0.2", "", 11, "b"),
    ]
    assert reading.is_closing


def test_a_message_under_a_false_name_is_odd() -> None:
    (odd,) = read_reply("a", _reply(_item(4, {"id": "b.0.1", "to_agent": "c"}, sender="c"))).records
    assert "came as from c" in str(odd)


def test_what_is_no_reply_of_a_wait_is_a_failed_wait() -> None:
    with pytest.raises(BadReplyError):
        read_reply("a", b'{"detail": "no"}')


@pytest.mark.e2e
def test_a_little_chaos_ends_clean_and_tells_its_figures(tmp_path: Path) -> None:
    to = tmp_path / "result.json"
    given = ["--messages", "80", "--agents", "4", "--waves", "2", "--kill-every", "0", "--fault-every", "0"]
    command = [sys.executable, str(ROOT / "bench" / "chaos.py"), *given, "--json", str(to)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=unmeasured())
    assert done.returncode == 0, done.stdout + done.stderr
    result = orjson.loads(to.read_bytes())
    assert (len(result["runs"]), result["total"]["breaches"]) == (2, {})
    assert result["total"]["counts"]["messages sent"] >= 80
    assert "0 lost, 0 misdelivered, 0 out of order, 0 double effects upstream" in done.stdout


@pytest.mark.parametrize("given", [["--agents", "1"], ["--messages", "0"], ["--most", "0"], ["--sidecars", "0"]])
def test_nonsense_is_a_usage_error(given: list[str]) -> None:
    command = [sys.executable, str(ROOT / "bench" / "chaos.py"), *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=unmeasured())
    assert done.returncode == 2
    assert "expected" in done.stderr
