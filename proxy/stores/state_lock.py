"""Knows whether another process uses the same state file: a lock on a file beside it, held for life.

The file is empty, for its owner only, and stays when the process ends: one that is removed could be locked twice.
Everything here blocks, for moments: not on the event loop.
"""

import fcntl
import os
import threading
from pathlib import Path
from typing import Final

SUFFIX: Final = ".lock"
"""What the name of the file ends with, behind the name of the state file."""


class StateLock:
    """The lock of one process on one state file; may be used from any thread."""

    __slots__ = ("_descriptor", "_is_closed", "_turn", "file")

    def __init__(self, state: Path) -> None:
        self.file = state.resolve()
        """The state file itself, whatever link leads to it."""
        self._descriptor: int | None = None
        self._is_closed = False
        self._turn = threading.Lock()

    def take(self) -> bool:
        """Take the lock unless another process has it; whether it is ours now. Never waits for it.

        Raises:
            OSError: the file system has no place for it, or no locks.
        """
        with self._turn:
            if self._descriptor is None and not self._is_closed:
                self._descriptor = _locked(self.file.with_name(self.file.name + SUFFIX))
            return self._descriptor is not None

    def close(self) -> None:
        """Let others have it, for good."""
        with self._turn:
            self._is_closed = True
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock; None where another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
