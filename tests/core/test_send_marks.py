"""The mark of questions that were made from sends: put on, taken off, left alone where it is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.ids import MAX_SEQUENCE
from proxy.core.send_marks import MARK, marked, marked_sequence, unmarked

SCHEMAS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=4)


@given(schema=SCHEMAS, sequence=st.integers(1, MAX_SEQUENCE))
def test_what_is_put_on_comes_off_again(schema: dict[str, object], sequence: int) -> None:
    assert unmarked(marked(schema, sequence)) == (schema, sequence)


@given(schema=SCHEMAS)
def test_a_schema_without_a_mark_stays_the_very_same(schema: dict[str, object]) -> None:
    assert unmarked(schema) == (schema, None)


@pytest.mark.parametrize(
    "mark", [None, 7, "7", [], {}, {"sequence": "7"}, {"sequence": True}, {"sequence": 0}, {"sequence": 2**63}]
)
def test_what_is_no_mark_of_ours_stays_where_it_is(mark: object) -> None:
    schema = {"type": "object", MARK: mark}
    assert unmarked(schema) == (schema, None)
    assert marked_sequence(mark) is None
