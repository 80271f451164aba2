from pathlib import Path

import msgspec
import pytest

from proxy.config.rules import Rule
from proxy.config.schema import KEYS, SECTION_NAMES, Config, StateConfig, group_key, sections


def _toml_value(value: object) -> object:
    if isinstance(value, tuple):
        return [str(item) for item in value]
    if value is None:  # no limit
        return ""
    return value if isinstance(value, bool | int | float) else str(value)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_the_default_of_each_key_obeys_its_own_rule(key: object) -> None:
    path, rule = getattr(key, "path", ""), getattr(key, "rule", None)
    section, name = path.split(".")
    default = getattr(getattr(Config(), section), name)
    assert rule is not None
    assert rule.from_value(_toml_value(default)) == default
    assert rule.expected


def test_every_table_but_the_groups_has_fixed_keys() -> None:
    assert set(SECTION_NAMES) - set(sections(Config())) == {"groups"}
    assert {key.section for key in KEYS} == set(sections(Config()))


def test_no_two_keys_share_a_variable() -> None:
    assert len({key.variable for key in KEYS}) == len(KEYS)


def test_a_table_takes_no_unknown_field() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"mode": "off", "made": 1}, type(Config().signatures))


def test_a_group_has_a_key_of_its_own() -> None:
    key = group_key("canary.agents")
    rule: Rule = key.rule
    assert key.path == "groups.canary.agents"
    assert rule.from_value(["alice"]) == ("alice",)


@pytest.mark.parametrize(("url", "path"), [("memory:", None), ("sqlite:///var/lib/x.db", Path("/var/lib/x.db"))])
def test_the_state_file_is_the_path_after_two_slashes(url: str, path: Path | None) -> None:
    assert StateConfig(url=url).sqlite_path == path
