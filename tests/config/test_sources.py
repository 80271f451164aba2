from pathlib import Path

import pytest

from proxy.config.sources import (
    MAX_FILE_BYTES,
    find_key,
    gather_environment,
    gather_file,
    gather_overrides,
    parse_document,
)


def test_a_missing_file_is_one_clear_problem(tmp_path: Path) -> None:
    path = tmp_path / "no.toml"
    (problem,) = gather_file(path).problems
    assert problem.got == "No such file or directory"
    assert problem.expected == "a readable file"
    assert problem.source == str(path)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (problem,) = gather_file(tmp_path).problems
    assert problem.got == "Is a directory"


def test_a_path_the_system_cannot_take_is_a_problem() -> None:
    (problem,) = gather_file(Path("a\x00b")).problems
    assert str(problem) == "a\\x00b: expected a readable file, got embedded null byte"


def test_a_file_beyond_one_mebibyte_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"#" * MAX_FILE_BYTES)
    assert not gather_file(path).problems
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    (problem,) = gather_file(path).problems
    assert problem.expected == f"at most {MAX_FILE_BYTES} bytes"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\nb = '\xff'\n", "f:2: expected UTF-8 text, got byte 0xff at offset 11"),
        (b"\xef\xbb\xbfa = 1", "f: expected UTF-8 text without byte order mark, got a byte order mark at the start"),
        (b"a = " + b"[" * 100_000, "f: expected brackets nested a few levels deep, got far too many levels"),
        (b"a = " + b"{b=" * 100_000, "f: expected brackets nested a few levels deep, got far too many levels"),
        (b"a = " + b"1" * 5000, "f: expected numbers of a sensible length, got a number with thousands of digits"),
    ],
)
def test_a_file_that_is_no_toml_is_one_clear_problem(content: bytes, message: str) -> None:
    gathered = parse_document("f", content)
    assert [str(problem) for problem in gathered.problems] == [message]
    assert not gathered.settings


@pytest.mark.parametrize(
    ("text", "line", "column"), [("a = ", 1, 5), ("a = 1\nb = [", 2, 6), ("a = [1\n", 2, 1), ("\n\na b", 3, 3)]
)
def test_a_syntax_error_has_line_and_column(text: str, line: int, column: int) -> None:
    (problem,) = parse_document("f", text.encode()).problems
    assert (problem.line, problem.column) == (line, column)
    assert problem.source == f"f:{line}:{column}"


def test_settings_know_their_line() -> None:
    gathered = parse_document("f.toml", b'[log]\n\nlevel = "info"\n')
    (setting,) = gathered.settings
    assert (setting.key.path, setting.value, setting.line) == ("log.level", "info", 3)
    assert (setting.origin, setting.source) == ("file:3", "f.toml:3")


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("[flags]\nelicitation_percentge = 1", "flags.elicitation_percentage"),
        ("[flags]\nELICITATION_ENABLED = 1", "flags.elicitation_enabled"),
        ("[bridge]\ncooldown_s = 1", "breaker.cooldown_s"),
        ("[state]\ntoken_file = 'x'", "admin.token_file"),
        ("[listen]\nurl = 'x'", "state.url"),
        ("[brigde]", "[bridge]"),
        ("groups = 1\nsalt = 1", "flags.salt"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(text: str, nearest: str) -> None:
    problem = parse_document("f", text.encode()).problems[-1]
    assert problem.hint == f"did you mean {nearest}?"


def test_only_variables_with_our_prefix_are_looked_at() -> None:
    gathered = gather_environment({"HOME": "/", "ELICIT_SIDECAR": "x", "elicit_sidecar_x": "y"})
    assert not gathered.settings
    assert not gathered.problems


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("ELICIT_SIDECAR_BRIDGE_ULR", "ELICIT_SIDECAR_BRIDGE_URL"),
        ("ELICIT_SIDECAR_LISTEN_DATAS", "ELICIT_SIDECAR_LISTEN_DATA"),
        ("ELICIT_SIDECAR_FLAGS_ELICITATION_PERCENT", "ELICIT_SIDECAR_FLAGS_ELICITATION_PERCENTAGE"),
    ],
)
def test_an_unknown_variable_names_the_nearest_known_one(variable: str, nearest: str) -> None:
    (problem,) = gather_environment({variable: "geheim"}).problems
    assert problem.hint == f"did you mean {nearest}?"
    assert "geheim" not in str(problem)


@pytest.mark.parametrize("variable", ["ELICIT_SIDECAR_", "ELICIT_SIDECAR_GROUPS", "ELICIT_SIDECAR_GROUPS_"])
def test_a_variable_without_a_key_is_unknown(variable: str) -> None:
    assert len(gather_environment({variable: ""}).problems) == 1


def test_a_group_is_named_in_lower_case_by_its_variable() -> None:
    (setting,) = gather_environment({"ELICIT_SIDECAR_GROUPS_CANARY_AGENTS": "a"}).settings
    assert setting.key.path == "groups.canary_agents"


@pytest.mark.parametrize("path", ["salt", "flags", "groups", "flags.", ".salt", "", "FLAGS.salt"])
def test_an_override_for_no_key_is_a_problem(path: str) -> None:
    (problem,) = gather_overrides({path: "geheim"}).problems
    assert problem.source == "command line"
    assert problem.hint.startswith("did you mean ")
    assert "geheim" not in str(problem)


def test_a_path_leads_to_its_key() -> None:
    key = find_key("bridge.url")
    assert key is not None
    assert key.variable == "ELICIT_SIDECAR_BRIDGE_URL"
    assert find_key("bridge.nothing") is None
