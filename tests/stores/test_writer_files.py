"""Which files the state writer opens, and how it refuses the others: with a clear text, and left as they are."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.core.errors import StateUnavailable
from proxy.stores.writer import SCHEMA_VERSION, open_database


@contextmanager
def _mode(path: Path, mode: int) -> Iterator[None]:
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@pytest.mark.requirement("store.refused_file")
def test_a_file_of_a_newer_release_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StateUnavailable, match=f"schema {SCHEMA_VERSION + 1}.*up to {SCHEMA_VERSION}"):
        open_database(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"this is no database, but long enough to be read as one" * 40, b"SQLite format 3\0"]
)
@pytest.mark.requirement("store.refused_file")
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StateUnavailable, match=str(path)):
        open_database(path)
    assert path.read_bytes() == content


@pytest.mark.requirement("store.refused_file")
def test_a_directory_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateUnavailable, match=r"set state\.url to a writable place"):
        open_database(tmp_path)


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateUnavailable, match=r"set state\.url to a writable place"):
        open_database(tmp_path / "file" / "state.db")


READ_ONLY = """
import os, pathlib, sys
from proxy.core.errors import StateUnavailable
from proxy.stores.writer import open_database
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    open_database(pathlib.Path(sys.argv[1]))
except StateUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["state.db", "below/state.db"])
@pytest.mark.requirement("store.refused_file")
def test_a_read_only_directory_is_refused(tmp_path: Path, name: str) -> None:
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    with _mode(tmp_path, 0o555):
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
            env={**os.environ, "HOME": str(tmp_path)},
        )
    assert "set state.url to a writable place" in done.stdout
    assert str(tmp_path / name) in done.stdout
