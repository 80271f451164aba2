"""The story as text and as one JSON object."""

import io
import json
from pathlib import Path

from proxy.demo.show import SERVING, JsonShow, TextShow
from proxy.demo.story import Exchange, Places, Tale

PLACES = Places(
    bridge="http://127.0.0.1:1", data="http://127.0.0.1:2", admin="http://127.0.0.1:3", token_file=Path("/state/tokens")
)


def _exchange(cohort: str, seen_ms: float, answer_ms: float) -> Exchange:
    return Exchange(cohort=cohort, seen_ms=seen_ms, answer_ms=answer_ms, arrived_as="custom", content={"x": 1})


TALE = Tale(legacy=_exchange("legacy", 500, 1000), elicitation=_exchange("elicitation", 5, 20), places=PLACES)


def test_away_from_a_terminal_the_text_is_plain_and_never_wrapped() -> None:
    stream = io.StringIO()
    show = TextShow(stream)
    show.say("a line [with] brackets :smile: " + "and much more " * 20)
    show.result(TALE)
    show.serving(PLACES)
    text = stream.getvalue()
    lines = [line.rstrip() for line in text.splitlines()]
    assert text.isascii()
    assert "\x1b" not in text
    assert lines[0].startswith("a line [with] brackets :smile: and much more")
    assert lines[0].endswith("and much more")
    assert any("500.0 ms" in line and " 5.0 ms" in line and "100 x" in line for line in lines)
    assert any("1000.0 ms" in line and "20.0 ms" in line and "50 x" in line for line in lines)
    assert any(line.startswith("metrics") and line.endswith("http://127.0.0.1:3/metrics") for line in lines)
    assert lines[-1] == SERVING


def test_as_json_standard_output_holds_one_object_and_nothing_else() -> None:
    stream, errors = io.StringIO(), io.StringIO()
    show = JsonShow(stream, errors)
    show.say("not this")
    show.result(TALE)
    show.serving(PLACES)
    assert json.loads(stream.getvalue()) == TALE.as_json()
    assert errors.getvalue() == SERVING + "\n"
