"""A process on the leash ends when its standard input does."""

import signal
import subprocess
import sys

import pytest

START = "import signal; from proxy.demo.leash import hold_leash; {}; hold_leash(); print('on', flush=True); {}"
WAIT = "exec('while True: signal.pause()')"


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("before", "number"),
    [("pass", signal.SIGTERM), ("signal.signal(signal.SIGTERM, lambda *_: None)", signal.SIGKILL)],
    ids=["in order", "or by force"],
)
def test_the_end_of_standard_input_ends_the_process(before: str, number: signal.Signals) -> None:
    words = [sys.executable, "-c", START.format(before, WAIT)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"on\n"
        child.stdin.write(b"what is said on it does not count\n")
        child.stdin.flush()
        assert child.poll() is None
        child.stdin.close()
        assert child.wait(20) == -number
