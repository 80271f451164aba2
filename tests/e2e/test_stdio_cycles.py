"""Two hundred starts and stops of `elicit-sidecar stdio`, several at once, and what is left of them."""

import json
import secrets
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.nursery import unmeasured
from tests.support.processes import until

LIVES = 200
AT_ONCE = 4

SCRIPT = Path(__file__).parents[1] / "support" / "stdio_lives.py"

SAID = "0\n1\n2\none\r\n0"
"""The three descriptors that a server is given, the line that went through it, and the exit code."""


def _marked(mark: str) -> set[int]:
    """Processes with this in their environment, wherever they stand. Source: proc(5), /proc/pid/environ."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it ended while we looked, or is somebody else's
                if mark.encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
    return found


@pytest.mark.e2e
@pytest.mark.requirement("stdio.no_leak")
def test_two_hundred_lives_leave_no_process_and_no_descriptor() -> None:
    mark = secrets.token_hex(16)
    words = [sys.executable, str(SCRIPT), str(LIVES // AT_ONCE)]
    with ExitStack() as stack:
        launchers = [
            stack.enter_context(
                subprocess.Popen(
                    words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**unmeasured(), "STDIO_LIVES": mark},
                )
            )
            for _ in range(AT_ONCE)
        ]
        for launcher in launchers:
            stack.callback(launcher.kill)
        for launcher in launchers:
            assert launcher.stdout is not None
            assert json.loads(launcher.stdout.readline()) == {"said": [SAID], "descriptors": 0}
        left = {launcher.pid for launcher in launchers}
        until(lambda: _marked(mark) == left, within_s=5, what="the end of all that they started")
