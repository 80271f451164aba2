"""The numbers of the story, and the line that a reader may paste into a shell."""

import shlex
from pathlib import Path

from proxy.demo.story import Exchange, Places, Tale

PLACES = Places(
    bridge="http://127.0.0.1:1", data="http://127.0.0.1:2", admin="http://127.0.0.1:3", token_file=Path("/a b/tokens")
)


def _exchange(cohort: str, seen_ms: float, answer_ms: float) -> Exchange:
    return Exchange(cohort=cohort, seen_ms=seen_ms, answer_ms=answer_ms, arrived_as="custom", content={"x": 1})


def test_ratios_say_how_many_times_sooner() -> None:
    tale = Tale(legacy=_exchange("legacy", 500, 1000), elicitation=_exchange("elicitation", 5, 20), places=PLACES)
    assert (tale.seen_ratio(), tale.answer_ratio()) == (100, 50)
    told = tale.as_json()
    assert told["ratio"] == {"seen": 100, "answer": 50}
    assert told["legacy"] == {"seen_ms": 500, "answer_ms": 1000, "arrived_as": "custom", "content": {"x": 1}}


def test_the_flags_line_is_one_shell_command_that_reads_the_token_from_its_file() -> None:
    words = shlex.split(PLACES.flags_line())
    assert words[:5] == ["curl", "-sS", "-X", "POST", "http://127.0.0.1:3/feature_flags"]
    assert words[6] == "Authorization: Bearer $(cut -d' ' -f2 '/a b/tokens')"
