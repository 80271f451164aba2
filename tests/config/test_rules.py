import pytest

from proxy.config.problems import Unfit
from proxy.config.rules import Choice, Number, Rule, Switch, Text, TextList, Whole
from proxy.core.errors import InvalidInput


def _word(text: str) -> str:
    if text == "invalid":
        raise InvalidInput("never invalid")
    if not text.isalpha():
        raise Unfit("letters only")
    return text.upper()


WHOLE, NUMBER = Whole(1, 10), Number(0.5, 10, decimals=3)
CHOICE = Choice(("a", "b", "c"), later=("d",))
TEXT, TEXTS = Text(_word, "a word"), TextList(_word, "words")


@pytest.mark.parametrize(
    ("rule", "value", "result"),
    [
        (Switch(), True, True),
        (WHOLE, 1, 1),
        (WHOLE, 10, 10),
        (NUMBER, 10, 10.0),
        (NUMBER, 0.5, 0.5),
        (NUMBER, 1.234, 1.234),
        (Number(0, 9), 1.23456, 1.23456),
        (CHOICE, "b", "b"),
        (TEXT, "ab", "AB"),
        (TEXTS, [], ()),
        (TEXTS, ["a", "b"], ("A", "B")),
    ],
)
def test_a_fitting_value_is_taken(rule: Rule, value: object, result: object) -> None:
    taken = rule.from_value(value)
    assert taken == result
    assert type(taken) is type(result)


@pytest.mark.parametrize(
    ("rule", "text", "result"),
    [
        (Switch(), " True ", True),
        (Switch(), "0", False),
        (WHOLE, " 7 ", 7),
        (WHOLE, "+7", 7),
        (NUMBER, "7", 7.0),
        (NUMBER, ".5", 0.5),
        (NUMBER, "1e1", 10.0),
        (CHOICE, "a", "a"),
        (TEXT, "ab", "AB"),
        (TEXTS, "  ", ()),
        (TEXTS, "a, b", ("A", "B")),
    ],
)
def test_a_fitting_text_is_taken(rule: Rule, text: str, result: object) -> None:
    assert rule.from_text(text) == result


@pytest.mark.parametrize(
    ("rule", "value", "hint"),
    [
        (Switch(), 1, ""),
        (Switch(), "true", "write it without quotes"),
        (WHOLE, 0, ""),
        (WHOLE, 11, ""),
        (WHOLE, 2.0, ""),
        (WHOLE, True, "true and false are not numbers"),
        (WHOLE, "2", "write the number without quotes"),
        (NUMBER, 0.4, ""),
        pytest.param(NUMBER, 16**5000, "", id="huge"),
        (NUMBER, True, "true and false are not numbers"),
        (NUMBER, [1], ""),
        (NUMBER, float("nan"), "the number must be finite"),
        (NUMBER, float("-inf"), "the number must be finite"),
        (NUMBER, 1.2345, "at most 3 decimals count"),
        (CHOICE, "A", ""),
        (CHOICE, 1, "write it as text in quotes"),
        (CHOICE, "d", "not available in this release; use a, b or c"),
        (TEXT, 1, "write it as text in quotes"),
        (TEXT, "a1", "letters only"),
        (TEXT, "invalid", "never invalid"),
        (TEXTS, "a", "write it as a list in square brackets"),
        (TEXTS, [1], "every item is text in quotes"),
        (TextList(_word, "words", most=2), ["a", "b", "c"], "at most 2 items"),
        (TEXTS, ["a1"], "letters only"),
        (TEXTS, ["invalid"], "never invalid"),
    ],
)
def test_another_value_is_refused_with_a_hint(rule: Rule, value: object, hint: str) -> None:
    with pytest.raises(Unfit) as caught:
        rule.from_value(value)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Switch(), "yes"),
        (WHOLE, "2.0"),
        (WHOLE, "٣"),
        (WHOLE, "1_0"),
        (WHOLE, "9" * 5000),
        (NUMBER, "nan"),
        (NUMBER, "inf"),
        (NUMBER, "1e400"),
        (NUMBER, "0x1"),
        (NUMBER, "1__0"),
        (NUMBER, ""),
        (CHOICE, ""),
        (TEXT, ""),
        (TEXTS, "a,"),
        (TEXTS, "a,,b"),
    ],
)
def test_another_text_is_refused(rule: Rule, text: str) -> None:
    with pytest.raises(Unfit):
        rule.from_text(text)


def test_a_refused_item_is_named_with_its_place() -> None:
    with pytest.raises(Unfit) as caught:
        TEXTS.from_value(["a", "b2"])
    assert caught.value.got == "'b2' as item 2"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Switch(), "true or false"),
        (WHOLE, "a whole number from 1 to 10"),
        (NUMBER, "a number from 0.5 to 10"),
        (CHOICE, "a, b or c"),
        (Choice(("off",)), "off"),
        (TEXT, "a word"),
        (TEXTS, "words"),
    ],
)
def test_a_rule_says_what_it_expects(rule: Rule, words: str) -> None:
    assert rule.expected == words
