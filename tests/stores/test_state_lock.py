"""The lock beside the state file: one holder, private, gone with its process, told where it cannot be."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.stores.state_lock import StateLock

pytestmark = pytest.mark.requirement("state.shared")

HOLD = """
import sys
from pathlib import Path
from proxy.stores.state_lock import StateLock
lock = StateLock(Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.read()
"""


def test_a_second_process_does_not_get_it_until_the_first_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    lock = StateLock(path)
    words = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        assert not lock.take()
        assert not lock.take()
        other.kill()
    assert lock.take()
    assert lock.take(), "ours already"
    lock.close()


def test_the_file_is_private_empty_and_stays(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "state.db")
    assert lock.take()
    beside = tmp_path / "state.db.lock"
    assert (stat.S_IMODE(beside.stat().st_mode), beside.stat().st_size) == (0o600, 0)
    lock.close()
    assert beside.exists()
    assert not lock.take(), "closed for good"
    again = StateLock(tmp_path / "state.db")
    assert again.take()
    again.close()


def test_a_link_to_the_state_file_leads_to_the_same_lock(tmp_path: Path) -> None:
    (tmp_path / "state.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "state.db")
    first, second = StateLock(tmp_path / "state.db"), StateLock(tmp_path / "link.db")
    assert (first.take(), second.take()) == (True, False)
    first.close()
    assert second.take()
    second.close()


def test_where_no_file_can_be_it_is_not_known(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "nowhere" / "state.db")
    with pytest.raises(FileNotFoundError):
        lock.take()
    lock.close()
