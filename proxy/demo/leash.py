"""The leash of a demo's child: it ends when its standard input does, so it never outlives whoever started it.

The parent holds the other end of that pipe and never writes. The pipe ends with the parent however it dies, SIGKILL
included, and it works for a frozen program too, whose real process is a grandchild (a death signal by prctl would
reach only the loader in between).
"""

import os
import signal
import threading
from typing import Final

GRACE_S: Final = 2.0
"""Time to end in order before the kill. Source: ours; a sidecar drains in less (ARCHITECTURE.md 2.6)."""

_STDIN: Final = 0


def hold_leash() -> None:
    """From now on the end of standard input ends this process."""
    threading.Thread(target=_end_with_input, name="leash", daemon=True).start()


def _end_with_input() -> None:
    _drain()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _drain() -> None:
    try:
        # Not sys.stdin: a daemon thread inside its lock would disturb the interpreter's own end.
        while os.read(_STDIN, 1024):
            continue
    except OSError:  # a broken pipe is an end, too
        return
