import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from proxy.cli.keys import command
from proxy.config.keys import read_keys
from proxy.core.ids import AgentId
from proxy.core.key_ring import KeyRing, KeyState

pytestmark = pytest.mark.requirement("signatures.keys_command")
ALICE = AgentId("alice")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def _keys(*words: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], env=env)


def _made(file: Path, agent: str = "alice", *more: str, verb: str = "new") -> str:
    result = _keys(verb, agent, "--keys", file, "--json", *more)
    assert result.exit_code == 0, result.stderr
    return str(orjson.loads(result.stdout)["key_id"])


def _states(file: Path) -> list[KeyState]:
    return [key.state for key in read_keys(file).keys]


def _secrets(ring: KeyRing) -> list[str]:
    return [key.secret.reveal() for key in ring.keys if key.secret is not None]


def test_a_new_key_makes_the_file_and_nobody_else_can_read_it(file: Path) -> None:
    old = os.umask(0)
    try:
        result = _keys("new", "alice", "--keys", file)
    finally:
        os.umask(old)
    (key,) = read_keys(file).keys
    assert result.output == f"{key.key_id} of alice is active\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == ["keys"]


def test_two_keys_of_an_agent_are_two_and_each_is_another(file: Path) -> None:
    _made(file)
    _made(file)
    assert _states(file) == [KeyState.ACTIVE, KeyState.ACTIVE]
    assert len(set(_secrets(read_keys(file)))) == 2


def test_no_command_shows_a_secret_unless_it_is_asked_for(file: Path) -> None:
    printed = [_keys("new", "alice", "--keys", file), _keys("new", "bob", "--keys", file, "--json")]
    printed += [_keys("rotate", "alice", "--keys", file), _keys("list", "--keys", file, "--json")]
    key_id = read_keys(file).keys[0].key_id
    secrets = _secrets(read_keys(file))
    printed += [_keys("list", "--keys", file), _keys("revoke", key_id, "--keys", file)]
    assert all(result.exit_code == 0 for result in printed)
    assert not [result.output for result in printed for secret in secrets if secret in result.output]
    # The line of one key is what another sidecar's file needs.
    line = _keys("new", "carol", "--keys", file, "--show").stdout
    assert line in file.read_text("utf-8")
    shown = orjson.loads(_keys("rotate", "carol", "--keys", file, "--show", "--json").stdout)
    assert shown["line"] + "\n" in file.read_text("utf-8")


def test_the_list_tells_whose_each_key_is_what_it_may_do_and_how_old_it_is(file: Path) -> None:
    file.touch(mode=0o600)
    file.write_text("al%20ice k1 revoked 2026-01-02T03:04:05Z -\n", "utf-8")
    assert orjson.loads(_keys("list", "--keys", file, "--json").stdout) == {
        "keys": [{"agent_id": "al ice", "key_id": "k1", "state": "revoked", "created_at": 1767323045}]
    }
    told = _keys("list", "--keys", file).stdout.split()
    assert told[3].isdecimal()
    assert [*told[:3], *told[4:]] == ["k1", "revoked", "2026-01-02T03:04:05+00:00", "days", "al", "ice"]


def test_rotation_leaves_the_old_key_for_what_is_on_its_way(file: Path) -> None:
    old, new = _made(file), _made(file, verb="rotate")
    ring = read_keys(file)
    signer = ring.signer_of(ALICE)
    assert signer is not None
    assert signer.key_id == new
    assert _states(file) == [KeyState.RETIRING, KeyState.ACTIVE]
    assert _keys("revoke", old, "--keys", file).stdout == f"{old} of alice is revoked\n"
    assert _states(file) == [KeyState.REVOKED, KeyState.ACTIVE]


def test_what_cannot_be_done_is_said_and_changes_nothing(file: Path) -> None:
    _made(file)
    before = file.read_bytes()
    rotated = _keys("rotate", "bob", "--keys", file)
    assert (rotated.exit_code, rotated.stderr) == (
        1, "expected an agent with an active key; make the first with `keys new`\n"
    )  # fmt: skip
    revoked = _keys("revoke", "k0", "--keys", file)
    assert (revoked.exit_code, revoked.stderr) == (1, "expected the id of a key of this ring, got another\n")
    assert file.read_bytes() == before


def test_a_ninth_key_of_an_agent_is_refused(file: Path) -> None:
    for _ in range(8):
        _made(file)
    result = _keys("new", "alice", "--keys", file)
    assert (result.exit_code, result.stderr) == (1, "expected at most 8 usable keys of an agent: revoke old ones\n")


def test_wrong_use_is_said_with_exit_code_2(file: Path) -> None:
    assert _keys("list", "--keys", file).exit_code == 2
    assert "expected a readable file, got No such file" in _keys("list", "--keys", file).stderr
    assert _keys("rotate", "alice", "--keys", file).exit_code == 2
    assert _keys("new", "", "--keys", file).exit_code == 2
    both = _keys("new", "alice", "--keys", file, "--config", file)
    assert (both.exit_code, both.stderr) == (2, "expected --config or --keys, got both\n")
    assert not file.exists()


def test_a_file_that_others_can_read_is_not_used(file: Path) -> None:
    _made(file)
    file.chmod(0o644)
    result = _keys("new", "alice", "--keys", file)
    assert result.exit_code == 2
    assert "chmod 600" in result.stderr


def test_the_configuration_names_the_file(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[signatures]\nkeys_file = "{file}"\n', "utf-8")
    assert _keys("new", "alice", "--config", config).exit_code == 0
    assert _keys("new", "bob", env={"ELICIT_SIDECAR_SIGNATURES_KEYS_FILE": str(file)}).exit_code == 0
    assert [key.agent_id for key in read_keys(file).keys] == ["alice", "bob"]
    config.write_text("[log]\n", "utf-8")
    nowhere = _keys("list", "--config", config)
    assert (nowhere.exit_code, nowhere.stderr) == (
        2, "expected --keys FILE, or a configuration with signatures.keys_file\n"
    )  # fmt: skip
    config.write_text("[log\n", "utf-8")
    assert _keys("list", "--config", config).exit_code == 2


def test_keys_in_the_environment_are_not_written(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[signatures]\nkeys_file = "env:KEYS"\n', "utf-8")
    result = _keys("new", "alice", "--config", config)
    assert (result.exit_code, "name a file by --keys" in result.stderr) == (2, True)


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    result = _keys("new", "alice", "--keys", tmp_path / "nowhere" / "keys")
    assert result.exit_code == 1
    assert result.stderr.endswith("No such file or directory\n")
    (tmp_path / "folder").mkdir()
    assert _keys("new", "alice", "--keys", tmp_path / "folder").exit_code == 2


def test_a_link_still_leads_to_the_file(file: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "keys"
    file.symlink_to(real)
    _made(file)
    _made(file)
    assert file.is_symlink()
    assert len(read_keys(real).keys) == 2


def test_commands_at_the_same_time_lose_no_key(file: Path) -> None:
    # Click's runner replaces the standard streams of the process, so the commands are called by themselves.
    def new(agent: str) -> None:
        command.main(["new", agent, "--keys", str(file)], standalone_mode=False)

    agents = [f"agent_{number}" for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(new, agents))
    assert sorted(key.agent_id for key in read_keys(file).keys) == sorted(agents)
