from collections.abc import MutableMapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.load import load_config, parse_overrides
from proxy.config.problems import MAX_PROBLEMS, ConfigError, Problem
from proxy.config.schema import KEYS, Config
from proxy.config.shapes import Address
from proxy.core.rate import Rate


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def _problems(file: Path | None, *, env: dict[str, str], overrides: dict[str, str]) -> tuple[Problem, ...]:
    """What is wrong; any other error passes through and fails the test."""
    try:
        load_config(file, env=env, overrides=overrides)
    except ConfigError as error:
        return error.problems
    return ()


def _messages(error: ConfigError, file: Path) -> list[str]:
    return [str(problem).replace(str(file), "FILE") for problem in error.problems]


def test_without_file_variables_and_flags_everything_is_the_default() -> None:
    loaded = load_config(None, env={"PATH": "/bin"}, overrides={})
    assert loaded.config == Config()
    assert set(loaded.origins.values()) == {"default"}
    assert list(loaded.origins) == [key.path for key in KEYS]


def test_an_empty_file_means_the_defaults(file: Path) -> None:
    file.write_bytes(b"")
    assert load_config(file, env={}, overrides={}).config == Config()


def test_the_file_wins_over_the_default(file: Path) -> None:
    file.write_text('[limits]\n\nquestions = "5/s"\n[flags]\nelicitation_percentage = 25\n', "utf-8")
    loaded = load_config(file, env={}, overrides={})
    assert loaded.config.limits.questions == Rate(5, 1, 0)
    assert loaded.config.flags.elicitation_percentage == 25.0
    assert loaded.config.limits.answers == Config().limits.answers
    assert loaded.origins["limits.questions"] == "file:3"
    assert loaded.origins["limits.answers"] == "default"


def test_command_line_wins_over_environment_and_environment_over_file(file: Path) -> None:
    file.write_text("[bridge]\npoll_burst = 1\nhold_s = 1\nrequest_timeout_s = 1\n", "utf-8")
    env = {"ELICIT_SIDECAR_BRIDGE_POLL_BURST": "2", "ELICIT_SIDECAR_BRIDGE_HOLD_S": "2.5"}
    loaded = load_config(file, env=env, overrides={"bridge.poll_burst": "3"})
    bridge = loaded.config.bridge
    assert (bridge.poll_burst, bridge.hold_s, bridge.request_timeout_s) == (3, 2.5, 1.0)
    assert loaded.origins["bridge.poll_burst"] == "command line"
    assert loaded.origins["bridge.hold_s"] == "environment ELICIT_SIDECAR_BRIDGE_HOLD_S"
    assert loaded.origins["bridge.request_timeout_s"] == "file:4"


def test_every_key_has_a_variable_that_reads_its_default() -> None:
    texts = {
        key.path: ",".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
        for key in KEYS
        for value in [getattr(getattr(Config(), key.section), key.name)]
    }
    env = {key.variable: texts[key.path] for key in KEYS}
    loaded = load_config(None, env=env, overrides={})
    assert loaded.config == Config()
    assert loaded.origins["flags.elicitation_percentage"] == "environment ELICIT_SIDECAR_FLAGS_ELICITATION_PERCENTAGE"
    assert load_config(None, env={}, overrides=texts).config == Config()


def test_lists_are_comma_separated_outside_the_file() -> None:
    env = {"ELICIT_SIDECAR_FLAGS_ELICITATION_WHITELIST": "alice, canary_agents"}
    config = load_config(None, env=env, overrides={"listen.allowed_hosts": "One.example,two.example"}).config
    assert config.flags.elicitation_whitelist == ("alice", "canary_agents")
    assert config.listen.allowed_hosts == ("one.example", "two.example")


def test_groups_come_from_all_three_places(file: Path) -> None:
    file.write_text('[groups]\ncanary_agents = ["alice"]\n"eu.west" = []\n', "utf-8")
    loaded = load_config(file, env={"ELICIT_SIDECAR_GROUPS_BETA": "bob"}, overrides={"groups.Late.ones": "carol,dave"})
    expected = {"canary_agents": ("alice",), "eu.west": (), "beta": ("bob",), "Late.ones": ("carol", "dave")}
    assert loaded.config.groups == expected
    assert loaded.origins["groups.eu.west"] == "file:3"
    assert loaded.origins["groups.Late.ones"] == "command line"


def test_port_0_may_stand_for_both_addresses() -> None:
    config = load_config(None, env={}, overrides={"listen.data": "127.0.0.1:0", "listen.admin": "127.0.0.1:0"}).config
    assert config.listen.data == config.listen.admin == Address("127.0.0.1", 0)


def test_the_configuration_cannot_be_changed(file: Path) -> None:
    file.write_text('[groups]\na = ["b"]\n', "utf-8")
    config = load_config(file, env={}, overrides={}).config
    with pytest.raises(AttributeError):
        setattr(config.bridge, "url", "http://elsewhere")  # noqa: B010 - mypy refuses the plain assignment
    assert not isinstance(config.groups, MutableMapping)


def test_problems_of_all_places_come_at_once(file: Path) -> None:
    file.write_text("[log]\nlevel = 1\nlevl = 2\n[bridge]\nhold_s = 0\n", "utf-8")
    env = {"ELICIT_SIDECAR_BRIDGE_URLL": "geheim", "ELICIT_SIDECAR_FLAGS_LEGACY_SUPPORT": "maybe"}
    with pytest.raises(ConfigError) as caught:
        load_config(file, env=env, overrides={"wait.path": "/x", "bridge.hold_s": "5", "zz": "geheim"})
    assert _messages(caught.value, file) == [
        "FILE:2: log.level: expected debug, info, warning or error, got 1; write it as text in quotes",
        "FILE:3: log.levl: expected a known key, got an unknown one; did you mean log.level?",
        "FILE:5: bridge.hold_s: expected a number from 1 to 300, got 0",
        (
            "environment ELICIT_SIDECAR_BRIDGE_URLL: expected a variable that names a key, "
            "got an unknown one; did you mean ELICIT_SIDECAR_BRIDGE_URL?"
        ),
        "environment ELICIT_SIDECAR_FLAGS_LEGACY_SUPPORT: flags.legacy_support: expected true or false, got 'maybe'",
        "command line: wait.path: expected a known key, got an unknown one; did you mean wait.paths?",
        *_messages(ConfigError([problem for problem in caught.value.problems if problem.key == "zz"]), file),
    ]
    assert caught.value.problems[-1].hint.startswith("did you mean ")


def test_a_clash_is_blamed_on_the_place_that_made_it() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, env={"ELICIT_SIDECAR_BRIDGE_POLL_FAST_MS": "5000"}, overrides={})
    (problem,) = caught.value.problems
    assert problem.source == "environment ELICIT_SIDECAR_BRIDGE_POLL_FAST_MS"
    assert problem.key == "bridge.poll_fast_ms"


def test_no_clash_is_guessed_from_values_that_could_not_be_read(file: Path) -> None:
    file.write_text('[listen]\ndata = "nowhere"\nadmin = "127.0.0.1:8766"\n', "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, env={}, overrides={})
    assert [problem.key for problem in caught.value.problems] == ["listen.data"]
    file.write_text("[listen", "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, env={}, overrides={"listen.admin": "127.0.0.1:8766"})
    assert [problem.key for problem in caught.value.problems] == [""]


def test_a_file_of_wrong_keys_is_reported_up_to_the_bound(file: Path) -> None:
    file.write_text("".join(f"[t{n}]\n" for n in range(9000)) + "".join(f"k{n} = 1\n" for n in range(9000)), "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, env={}, overrides={})
    assert len(caught.value.problems) == MAX_PROBLEMS + 1
    assert "more not shown" in str(caught.value.problems[-1])


def test_settings_are_split_at_the_first_equal_sign_and_the_last_one_counts() -> None:
    assert parse_overrides(["flags.salt=a=b", "log.level=info", " log.level =debug"]) == {
        "flags.salt": "a=b",
        "log.level": "debug",
    }


def test_a_setting_without_key_or_equal_sign_is_refused_unseen() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides(["geheim", "=geheim", "log.level=info"])
    assert [str(problem) for problem in caught.value.problems] == [
        "command line: --set: expected KEY=VALUE, got a word without key or '='"
    ] * 2


TOML_LIKE = st.lists(
    st.sampled_from(
        [
            *"[]{}=.,# \n'",
            '"',
            '"""',
            "\\u0000",
            "flags",
            "groups",
            "salt",
            "url",
            "state",
            "bridge",
            "1",
            "1e999",
            "-inf",
            "true",
            "2026-01-01",
            "redis://a:b@c",
        ]
    ),
    max_size=40,
).map("".join)


@given(st.one_of(st.binary(max_size=200), TOML_LIKE.map(str.encode), st.text(max_size=100).map(str.encode)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_arbitrary_bytes_are_a_configuration_or_a_config_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    problems = _problems(file, env={}, overrides={})
    assert all("\n" not in str(problem) for problem in problems)


NAMES = st.text(st.characters(exclude_categories=[]), max_size=30)


@given(
    st.dictionaries(st.one_of(NAMES, NAMES.map("ELICIT_SIDECAR_".__add__), st.sampled_from(KEYS).map(str)), NAMES),
    st.dictionaries(st.one_of(NAMES, NAMES.map("groups.".__add__), st.sampled_from(KEYS).map(lambda k: k.path)), NAMES),
)
@settings(deadline=None)
def test_arbitrary_variables_and_flags_are_taken_or_a_config_error(
    env: dict[str, str], overrides: dict[str, str]
) -> None:
    problems = _problems(None, env=env, overrides=overrides)
    assert all(str(problem).isprintable() for problem in problems)
