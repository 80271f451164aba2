"""What of a changed configuration a running sidecar can take up."""

from collections.abc import Mapping

import pytest

from proxy.config.changes import LIVE_KEYS, LIVE_SECTIONS, Changes, changes_between
from proxy.config.load import load_config
from proxy.config.schema import GROUPS, KEYS, Config


def _config(**overrides: str) -> Config:
    return load_config(None, env={}, overrides={key.replace("__", "."): text for key, text in overrides.items()}).config


@pytest.mark.requirement("config.reload")
def test_a_configuration_that_is_the_same_has_no_changes() -> None:
    changes = changes_between(_config(), _config())
    assert not changes
    assert changes == Changes(live=(), at_restart=(), at_first_start=())


@pytest.mark.requirement("config.reload")
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"log__level": "debug"}, Changes(live=("log.level",), at_restart=(), at_first_start=())),
        ({"breaker__failures": "9"}, Changes(live=("breaker.failures",), at_restart=(), at_first_start=())),
        ({"groups__canary": "bob"}, Changes(live=("groups.canary",), at_restart=(), at_first_start=())),
        ({"listen__data": "127.0.0.1:1"}, Changes(live=(), at_restart=("listen.data",), at_first_start=())),
        ({"wait__mcp_hold_s": "9"}, Changes(live=(), at_restart=("wait.mcp_hold_s",), at_first_start=())),
        (
            {"flags__elicitation_percentage": "5", "wait__max_parked": "7"},
            Changes(live=("wait.max_parked",), at_restart=(), at_first_start=("flags.elicitation_percentage",)),
        ),
    ],
)
def test_each_changed_key_is_told_with_what_becomes_of_it(overrides: Mapping[str, str], expected: Changes) -> None:
    assert changes_between(_config(), _config(**overrides)) == expected
    assert changes_between(_config(**overrides), _config()) == expected


def test_the_keys_that_take_effect_at_once_are_keys_of_the_configuration() -> None:
    assert {key.path for key in KEYS} >= LIVE_KEYS
    assert {key.section for key in KEYS} | {GROUPS} >= LIVE_SECTIONS
