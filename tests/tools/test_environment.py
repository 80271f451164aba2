"""Where packages come from: the index that this machine is configured with, whoever knows it."""

import sys
from pathlib import Path

import pytest

from tools.environment import index_environment

PYTHON = Path(sys.executable)
MIRROR = "https://mirror.invalid/simple"


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_any_configuration_uv_takes_its_own_default() -> None:
    assert "UV_DEFAULT_INDEX" not in index_environment(PYTHON)


def test_an_index_in_pips_file_is_handed_to_uv(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {MIRROR}\ncert = /mirror.pem\n", "utf-8")
    env = index_environment(PYTHON)
    assert (env["UV_DEFAULT_INDEX"], env["SSL_CERT_FILE"]) == (MIRROR, "/mirror.pem")


def test_an_index_in_pips_environment_is_handed_to_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", MIRROR)
    assert index_environment(PYTHON)["UV_DEFAULT_INDEX"] == MIRROR


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_what_uv_is_told_itself_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", MIRROR)
    monkeypatch.setenv(name, "https://other.invalid/simple")
    env = index_environment(PYTHON)
    assert env[name] == "https://other.invalid/simple"
    assert env.get("UV_DEFAULT_INDEX") != MIRROR
