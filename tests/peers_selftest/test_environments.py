"""The environments of the peers: locked by hash, from no index in particular, and loud where they cannot be made."""

import json
import re
from pathlib import Path

import pytest

from tools import peers

LOCKED = [peers.LOCKS / f"{name}.txt" for name in peers.PYTHONS]


@pytest.mark.parametrize("lock", LOCKED, ids=lambda lock: lock.stem)
def test_a_lock_for_python_has_hashes_and_names_no_host(lock: Path) -> None:
    text = lock.read_text("utf-8")
    assert "://" not in text
    assert "index" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 20
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_lock_for_node_has_hashes_and_names_no_registry() -> None:
    packages = json.loads((peers.NODE_FILES / "package-lock.json").read_text("utf-8"))["packages"]
    locked = {name: package for name, package in packages.items() if name}
    assert len(locked) > 100
    assert [name for name, package in locked.items() if "integrity" not in package or "resolved" in package] == []
    assert [name for name, package in locked.items() if package.get("hasInstallScript")] == []


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(peers.PeerError, match=r"no peer 'mcp-9'; known are mcp-1\.22"):
        peers.make("mcp-9")


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peers, "HOME", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(peers.PeerError, match="expected the command npm"):
        peers.make(peers.NODE)


def test_a_step_that_fails_says_what_the_tool_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peers, "HOME", tmp_path)
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho no such package >&2\nexit 3\n", "utf-8")
    npm.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(peers.PeerError, match=r"exit code 3: npm ci --ignore-scripts\nno such package"):
        peers.make(peers.NODE)
