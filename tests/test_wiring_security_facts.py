"""What a report of security is made of: the configuration and the files that it names, as they are."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.config.load import load_config
from proxy.config.schema import Config
from proxy.core.ids import AgentId
from proxy.core.key_file import write_keys
from proxy.core.key_ring import KeyRing, KeyState, new_key
from proxy.reports.facts import Posture, TrailFacts
from proxy.wiring.security_facts import security_facts, trail_of_file
from tests.support.certificates import Authority, overrides
from tests.support.house import write_tokens

pytestmark = pytest.mark.requirement("report.security")

NOW = 1_800_000_000.0


def _config(given: Mapping[str, str]) -> Config:
    return load_config(None, env={}, overrides={"state.url": "memory:", **given}).config


def _posture(given: Mapping[str, str]) -> Posture:
    return security_facts(_config(given), TrailFacts(), wall=NOW).posture


def test_the_defaults_are_on_loopback_in_the_clear() -> None:
    posture = _posture({})
    assert [(port.name, port.is_loopback, port.is_tls) for port in posture.listeners] == [
        ("data", True, False),
        ("admin", True, False),
    ]
    assert (posture.bridge.is_loopback, posture.bridge.is_tls, posture.outlives) == (True, False, False)
    assert (posture.problems, posture.files, posture.keys, posture.certificates) == ([], (), [], ())
    assert dict(posture.limits) == {
        "questions": "10/min+3", "answers": "20/min+3", "waits": "", "calls": "", "bytes": ""
    }  # fmt: skip


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [("localhost:1", True), ("127.8.0.1:1", True), ("[::1]:1", True), ("0.0.0.0:1", False), ("[::]:1", False),
     ("sidecar.internal:1", False)],
)  # fmt: skip
def test_only_addresses_of_this_machine_alone_are_loopback(address: str, *, is_loopback: bool) -> None:
    posture = _posture({"listen.data": address, "bridge.url": f"https://{address}2"})
    assert posture.listeners[0].is_loopback is is_loopback
    assert (posture.bridge.is_loopback, posture.bridge.is_tls) == (is_loopback, True)


def test_of_two_ways_up_the_one_in_the_clear_is_told() -> None:
    elsewhere = {"bridge.url": "https://bridge.internal:1", "bridge.mcp_url": "http://tools.internal:2"}
    bridge = _posture(elsewhere).bridge
    assert (bridge.url, bridge.is_loopback, bridge.is_tls) == ("http://tools.internal:2", False, False)
    bridge = _posture({**elsewhere, "bridge.mcp_url": "http://127.0.0.1:2"}).bridge
    assert (bridge.url, bridge.is_tls) == ("https://bridge.internal:1", True)


def test_keys_are_told_with_their_age_and_never_with_their_secret(tmp_path: Path) -> None:
    old = new_key(AgentId("alice"), entropy=bytes(40), created_at=NOW - 86_400)
    new = new_key(AgentId("alice"), entropy=b"x" * 40, created_at=NOW)
    path = tmp_path / "keys"
    path.write_text(write_keys(KeyRing([old]).rotated(new)))
    path.chmod(0o600)
    posture = _posture({"signatures.keys_file": str(path), "signatures.sign": "true"})
    assert [(key.state, key.age_s) for key in posture.keys] == [(KeyState.RETIRING, 86_400), (KeyState.ACTIVE, 0)]
    assert (posture.signs, posture.has_key_file) == (True, True)
    for key in (old, new):
        assert key.secret is not None
        assert key.secret.reveal() not in repr(posture)


def test_certificates_are_told_by_the_key_that_names_them(tmp_path: Path) -> None:
    pair = Authority(tmp_path).pair("server")
    posture = _posture(overrides(pair))
    assert [port.is_tls for port in posture.listeners] == [True, False]
    (shown,) = posture.certificates
    assert shown.by == "listen.tls_cert_file"
    pair.key.chmod(0o644)
    opened = _posture(overrides(pair))
    assert [file.what for file in opened.files if file.is_open] == ["TLS key of the data port"]
    assert any("listen.tls_key_file" in problem for problem in opened.problems)
    assert opened.certificates == ()


def test_files_are_told_with_their_modes(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path)
    tmp_path.chmod(0o777)
    given = {"state.url": f"sqlite://{tmp_path / 'none.db'}", "admin.token_file": str(tokens)}
    told = {file.what: (file.mode, file.is_open) for file in _posture(given).files}
    assert told == {
        "state file": (None, False),
        "folder of the state file": (0o777, True),
        "token file": (0o600, False),
    }


def test_what_the_configuration_names_and_is_not_there_is_a_problem(tmp_path: Path) -> None:
    given = {"admin.token_file": str(tmp_path / "no-tokens"), "signatures.keys_file": str(tmp_path / "no-keys")}
    told = "\n".join(_posture(given).problems)
    assert "no-tokens" in told
    assert "no-keys" in told


def test_a_trail_in_memory_or_nowhere_is_none() -> None:
    assert trail_of_file(_config({})).is_whole is None
    missing = trail_of_file(_config({"state.url": "sqlite:///nowhere/at/all.db"}))
    assert missing.is_whole is None
    assert "/nowhere/at/all.db" in missing.verdict
