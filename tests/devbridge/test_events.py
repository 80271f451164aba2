"""The event log and its lines on disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.devbridge.events import Draft, EventLog, read_line, stored_type, write_line


def draft(number: int = 0) -> Draft:
    return Draft(
        event_type="custom",
        data={"n": number},
        source_agent="alice",
        source_component="test",
        aggregate_id="a",
        aggregate_type="t",
    )


def filled(count: int) -> EventLog:
    log = EventLog()
    for number in range(1, count + 1):
        log.append(draft(number), 0.0, number)
    return log


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("AGENT_HEARTBEAT", "agent_heartbeat"),
        ("custom", "custom"),
        ("Shadow_Annotation_Updated", "shadow_annotation_updated"),
        ("my_own", "system_started"),
        ("", "system_started"),
    ],
)
def test_an_unknown_type_is_stored_as_system_started(asked: str, stored: str) -> None:
    assert stored_type(asked) == stored


def test_numbers_start_at_one_and_have_no_gaps() -> None:
    assert [event.sequence for event in filled(5).everything()] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("since", "first"), [(-3, 1), (0, 1), (5, 6), (25, None), (99, None)])
def test_a_look_returns_the_next_ten_ascending(since: int, first: int | None) -> None:
    found = [event.sequence for event in filled(25).after(since, 10)]
    assert found == ([] if first is None else list(range(first, first + 10)))


def test_a_query_shows_the_oldest_thousand_at_most() -> None:
    log = filled(1101)
    assert len(log) == 1101
    assert [event.sequence for event in log.oldest(5000)] == list(range(1, 1001))
    assert len(log.oldest(3)) == 3


def test_an_item_of_a_wait_has_no_id_but_its_sequence() -> None:
    item = EventLog().append(draft(), 0.0).wait_item()
    assert item == {
        "sequence": 1,
        "event_type": "custom",
        "source_agent": "alice",
        "timestamp": "1970-01-01T00:00:00+00:00",
        "data": {"n": 0},
    }


def test_an_item_of_a_query_shows_everything() -> None:
    item = EventLog().append(draft(), 0.0, 7).query_item()
    assert item["event_id"] == {"timestamp_ns": 7, "sequence": 0, "node_id": "lighthouse-01"}
    assert item["aggregate_id"] == "a"
    assert item["source_component"] == "test"


@given(st.dictionaries(st.text(), st.integers(0, 2**53) | st.text() | st.none()), st.floats(0, 2e9))
def test_a_line_of_the_state_file_reads_back_as_it_was_written(data: dict[str, object], now: float) -> None:
    event = EventLog().append(
        Draft(
            event_type="custom",
            data=data,
            source_agent=None,
            source_component="t",
            aggregate_id="a",
            aggregate_type="t",
        ),
        now,
        3,
    )
    assert read_line(write_line(event), 1) == event


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b'{"draft":{}}', b'{"sequence":1,"draft":{"x":1}}'])
def test_a_line_of_something_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="line 4 of the state file is not an event"):
        read_line(line, 4)


def test_a_line_with_another_number_is_refused() -> None:
    line = write_line(EventLog().append(draft(), 0.0))
    with pytest.raises(ValueError, match="line 2 of the state file holds event 1"):
        read_line(line, 2)
