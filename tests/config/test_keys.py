from pathlib import Path

import pytest

from proxy.config.keys import read_key_ring, read_keys
from proxy.config.load import load_config
from proxy.config.problems import ConfigError
from proxy.config.schema import Config
from proxy.core.ids import AgentId
from proxy.core.key_file import MAX_KEY_FILE_BYTES, write_keys
from proxy.core.key_ring import KeyRing, new_key

ALICE = new_key(AgentId("alice"), entropy=bytes(range(40)), created_at=1_700_000_000)
BOB = new_key(AgentId("bob"), entropy=bytes(range(40, 80)), created_at=1_700_000_000)
pytestmark = pytest.mark.requirement("signatures.key_file")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text(write_keys(KeyRing([ALICE, BOB]).revoked(BOB.key_id)), "utf-8")
    return path


def _signing(file: Path, agent: str = "") -> Config:
    settings = {"signatures.sign": "true", "signatures.keys_file": str(file), "agent.id": agent}
    return load_config(None, env={}, overrides=settings).config


def test_without_a_file_there_are_no_keys() -> None:
    assert read_key_ring(Config()).keys == ()


def test_the_keys_of_the_file_are_read(file: Path) -> None:
    assert [key.key_id for key in read_key_ring(_signing(file)).keys] == [ALICE.key_id, BOB.key_id]


def test_a_file_that_others_can_read_is_refused(file: Path) -> None:
    file.chmod(0o640)
    with pytest.raises(ConfigError, match=r"expected file mode 0600, got 0640; nobody else may read it: chmod 600"):
        read_keys(file)


def test_each_bad_line_is_told_of_and_no_secret_is(file: Path) -> None:
    assert ALICE.secret is not None
    file.write_text(f"alice k1 active now {ALICE.secret.reveal()}\nbob k2 on 2026-01-01T00:00:00Z x\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        read_keys(file)
    assert [problem.line for problem in caught.value.problems] == [1, 2]
    assert ALICE.secret.reveal() not in str(caught.value)


def test_a_file_that_is_not_there_or_too_long_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="expected a readable file, got No such file"):
        read_keys(file.with_name("other"))
    file.write_bytes(b"#" * (MAX_KEY_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="expected at most"):
        read_keys(file)


def test_who_signs_has_a_key(file: Path) -> None:
    assert read_key_ring(_signing(file, "alice")).keys
    with pytest.raises(ConfigError, match="expected an active key of agent 'bob', as signatures"):
        read_key_ring(_signing(file, "bob"))
    file.write_text("# nobody\n", "utf-8")
    with pytest.raises(ConfigError, match="expected an active key of the agents that call"):
        read_key_ring(_signing(file))


def test_the_lines_may_stand_in_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS_OF_ALICE", file.read_text("utf-8"))
    config = load_config(None, env={}, overrides={"signatures.keys_file": "env:KEYS_OF_ALICE"}).config
    assert [key.key_id for key in read_key_ring(config).keys] == [ALICE.key_id, BOB.key_id]
    monkeypatch.setenv("KEYS_OF_ALICE", "alice k1 active now geheim")
    with pytest.raises(
        ConfigError, match=r"^environment KEYS_OF_ALICE:1: signatures\.keys_file: expected a date such as"
    ):
        read_key_ring(config)
    monkeypatch.delenv("KEYS_OF_ALICE")
    with pytest.raises(ConfigError, match="expected a variable with the lines of a key file, got none"):
        read_key_ring(config)
