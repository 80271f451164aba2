import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.problems import ConfigError
from proxy.config.tokens import MAX_TOKEN_FILE_BYTES, Role, read_tokens

OPERATOR, VIEWER = "geheim-operator-1", "geheim-viewer-123"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.touch(mode=0o600)
    return path


def _messages(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_tokens(file)
    assert all(problem.key == "admin.token_file" for problem in caught.value.problems)
    assert "geheim" not in str(caught.value)
    return [f"{problem.line}: expected {problem.expected}, got {problem.got}" for problem in caught.value.problems]


def test_tokens_are_read_with_their_roles(file: Path) -> None:
    file.write_text(f"# operators\noperator {OPERATOR}\r\n\n  viewer\t{VIEWER}  \n", "utf-8")
    operator, viewer = read_tokens(file)
    assert (operator.role, viewer.role) == (Role.OPERATOR, Role.VIEWER)
    assert operator.secret.matches(OPERATOR)
    assert viewer.secret.matches(VIEWER)
    assert not viewer.secret.matches(OPERATOR)


def test_tokens_never_show_themselves(file: Path) -> None:
    file.write_text(f"operator {OPERATOR}\n", "utf-8")
    assert "geheim" not in repr(read_tokens(file))


def test_every_bad_line_is_reported(file: Path) -> None:
    lines = [
        f"operator {OPERATOR}",
        f"admin {VIEWER}",
        "viewer geheim",
        f"viewer {OPERATOR}",
        "operator",
        f"operator {VIEWER} geheim",
        "operator geheim-gehe\u00efm-geheim",
        f"Operator {VIEWER}x",
    ]
    file.write_text("\n".join(lines), "utf-8")
    assert _messages(file) == [
        "2: expected the role viewer or operator, got another word",
        "3: expected a token of at least 16 characters, got 6",
        "4: expected each token once, got the token of line 1 again",
        "5: expected ROLE TOKEN, got 1 words",
        "6: expected ROLE TOKEN, got 3 words",
        "7: expected a token of visible ASCII characters, got others",
        "8: expected the role viewer or operator, got another word",
    ]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o700, 0o4600])
def test_a_file_that_others_could_read_is_refused(file: Path, mode: int) -> None:
    file.write_text(f"operator {OPERATOR}\n", "utf-8")
    file.chmod(mode)
    assert _messages(file) == [f"0: expected file mode 0600, got {mode:04o}"]


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_only_its_owner_can_read_is_taken(file: Path, mode: int) -> None:
    file.write_text(f"operator {OPERATOR}\n", "utf-8")
    file.chmod(mode)
    assert len(read_tokens(file)) == 1


def test_wrong_mode_and_wrong_lines_come_at_once(file: Path) -> None:
    file.write_text("viewer short\n", "utf-8")
    file.chmod(0o644)
    assert len(_messages(file)) == 2


def test_a_file_without_tokens_is_refused(file: Path) -> None:
    file.write_text("# none yet\n\n", "utf-8")
    assert _messages(file) == ["0: expected at least one token, got none"]


def test_a_missing_file_is_one_problem(tmp_path: Path) -> None:
    assert _messages(tmp_path / "none") == ["0: expected a readable file, got No such file or directory"]
    assert _messages(tmp_path) == ["0: expected a readable file, got Is a directory"]
    assert _messages(Path("a\x00")) == ["0: expected a readable file, got embedded null byte"]


def test_a_file_beyond_the_bound_is_refused(file: Path) -> None:
    file.write_bytes(b"#" * (MAX_TOKEN_FILE_BYTES + 1))
    assert _messages(file) == [f"0: expected at most {MAX_TOKEN_FILE_BYTES} bytes, got more"]


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_arbitrary_bytes_are_tokens_or_a_config_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with contextlib.suppress(ConfigError):
        assert read_tokens(file)
