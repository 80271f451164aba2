import tomllib
from pathlib import Path

import pytest

from proxy.config.load import load_config
from proxy.config.rules import Choice, Number, Whole
from proxy.config.schema import KEYS, SECTION_NAMES, Config, Key

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
UNITS = {"_s": "Seconds", "_ms": "Milliseconds", "_percentage": "Percent", "_per_min": "per minute"}


def _comment_above(key: Key) -> str:
    """The comment lines right above a key, joined."""
    lines = EXAMPLE.read_text("utf-8").splitlines()
    start = lines.index(f"[{key.section}]")
    at = next(n for n in range(start, len(lines)) if lines[n].startswith(f"{key.name} = "))
    comment: list[str] = []
    while lines[at - 1].startswith("#"):
        at -= 1
        comment.insert(0, lines[at].removeprefix("#").strip())
    return " ".join(comment)


def test_the_example_holds_every_key_and_nothing_else() -> None:
    document = tomllib.loads(EXAMPLE.read_text("utf-8"))
    assert list(document) == list(SECTION_NAMES)
    assert document.pop("groups") == {}
    assert [f"{table}.{name}" for table, content in document.items() for name in content] == [k.path for k in KEYS]


def test_the_example_means_the_defaults() -> None:
    loaded = load_config(EXAMPLE, env={}, overrides={})
    assert loaded.config == Config()
    assert "default" not in loaded.origins.values()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_each_key_is_explained_with_its_default_range_and_unit(key: Key) -> None:
    comment = _comment_above(key)
    line = next(
        line
        for line in EXAMPLE.read_text("utf-8").split(f"[{key.section}]\n")[1].splitlines()
        if line.startswith(f"{key.name} = ")
    )
    assert f"Default: {line.partition(' = ')[2]}." in comment
    rule = key.rule
    if isinstance(rule, Whole | Number):
        assert f"{rule.low:.10g} to {rule.high:.10g}" in comment
        assert any(unit in comment for end, unit in UNITS.items() if key.name.endswith(end)) or not any(
            key.name.endswith(end) for end in UNITS
        )
    if isinstance(rule, Choice):
        assert all(f'"{option}"' in comment for option in (*rule.options, *rule.later))


def test_the_example_names_a_group_that_can_be_uncommented(tmp_path: Path) -> None:
    text = EXAMPLE.read_text("utf-8")
    line = next(line for line in text.splitlines() if line.startswith("# canary_agents"))
    file = tmp_path / "config.toml"
    file.write_text(text.replace("[groups]\n", f"[groups]\n{line.removeprefix('# ')}\n"), "utf-8")
    assert load_config(file, env={}, overrides={}).config.groups == {"canary_agents": ("alice", "bob")}
