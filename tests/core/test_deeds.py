"""What an audit trail tells of cannot hold a secret."""

import math
from types import NoneType, UnionType
from typing import Union, get_args, get_origin, get_type_hints

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.cohort import Cohort
from proxy.core.deeds import (
    MAX_WORDS,
    AgentForced,
    CallRefused,
    Deed,
    FlagsChanged,
    OperatorActed,
    Refusal,
    RolloutMove,
    RolloutMoved,
    Word,
    details_of,
    parse_word,
)
from proxy.core.errors import InvalidInput
from proxy.core.secret import Secret

pytestmark = pytest.mark.requirement("audit.no_secrets")


@pytest.mark.parametrize(
    ("deed", "details"),
    [
        (FlagsChanged(version=3, flags=(Word("b"), Word("a"))), '{"flags":["b","a"],"version":3}'),
        (AgentForced(cohort=Cohort.LEGACY, until=12.5), '{"cohort":"legacy","until":12.5}'),
        (AgentForced(cohort=None, until=None), '{"cohort":null,"until":null}'),
        (RolloutMoved(move=RolloutMove.PROMOTED, percentage=25.0), '{"move":"promoted","percentage":25.0}'),
        (
            CallRefused(why=Refusal.LIMIT, rule=Word("questions"), calls=2),
            '{"calls":2,"rule":"questions","why":"limit"}',
        ),
    ],
)
def test_a_deed_is_written_with_its_fields_in_order(deed: Deed, details: str) -> None:
    assert details_of(deed) == details


def _leaves(hint: object) -> set[object]:
    if get_origin(hint) in {UnionType, Union, tuple}:
        return set().union(*(_leaves(part) for part in get_args(hint) if part is not Ellipsis))
    return {hint}


@pytest.mark.parametrize("kind", get_args(Deed))
def test_no_field_of_any_deed_takes_free_text(kind: type) -> None:
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name != "what"}
    leaves = set().union(*(_leaves(hint) for hint in hints.values()))
    closed = {leaf for leaf in leaves if hasattr(leaf, "__members__")}
    assert leaves - closed <= {Word, int, float, NoneType}


def test_each_kind_has_a_name_of_its_own() -> None:
    names = [kind.what for kind in get_args(Deed)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("text", ["", "two words", "Bearer abc", "a/b", "é", "x" * 65, "-a", "a\n", "a=b", "{}"])
def test_what_is_no_word_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput, match="a word of 1 to 64") as refusal:
        details_of(OperatorActed(action=Word(text)))
    assert len(text) < 3 or text not in refusal.value.detail


@pytest.mark.parametrize("value", [Secret("hunter2-hunter2"), b"octets", {"a": 1}, math.nan, math.inf, 2**53, object()])
def test_a_value_that_has_no_place_there_is_refused_and_not_repeated(value: object) -> None:
    deed = FlagsChanged(version=value, flags=())  # type: ignore[arg-type]  # what a mistake would do
    with pytest.raises(InvalidInput) as refusal:
        details_of(deed)
    assert "hunter2" not in str(refusal.value)


def test_too_many_words_are_refused() -> None:
    words = (Word("a"),) * (MAX_WORDS + 1)
    assert details_of(FlagsChanged(version=1, flags=words[1:]))
    with pytest.raises(InvalidInput, match="at most 64 words, got 65"):
        details_of(FlagsChanged(version=1, flags=words))


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", fullmatch=True), st.integers(-(2**53) + 1, 2**53 - 1))
def test_every_word_and_number_can_be_read_again(word: str, version: int) -> None:
    deed = FlagsChanged(version=version, flags=(parse_word(word),))
    assert orjson.loads(details_of(deed)) == {"version": version, "flags": [word]}
