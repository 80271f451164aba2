"""Who comes from the nursery is what a new interpreter would be."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.nursery import Newborn, nursery, unmeasured
from tests.support.processes import descendants

pytestmark = pytest.mark.e2e

TELL = """
import json, os, random, signal, sys
print(json.dumps({
    "name": __name__,
    "words": sys.argv[1:],
    "is_leader": os.getpid() == os.getsid(0) == os.getpgrp(),
    "folder": os.getcwd(),
    "mark": os.environ.get("NURSERY_MARK"),
    "names": sorted(os.environ.keys() - {"LC_CTYPE"}),  # Python sets it where nothing names a locale
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
    "stop": str(signal.getsignal(signal.SIGTERM)),
    "chance": random.random(),
}), flush=True)
sys.exit(int(sys.argv[1]))
"""


@contextmanager
def _born(*words: str, env: Mapping[str, str] | None = None, with_input: bool = False) -> Iterator[Newborn]:
    newborn = nursery().start(words, unmeasured() if env is None else env, with_input=with_input)
    try:
        yield newborn
    finally:
        newborn.kill()
        newborn.wait(10)
        for pipe in (newborn.stdin, newborn.stdout, newborn.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture(name="teller")
def _teller(tmp_path: Path) -> str:
    path = tmp_path / "tell.py"
    path.write_text(TELL, "utf-8")
    return str(path)


def _told(newborn: Newborn) -> dict[str, object]:
    assert newborn.stdout is not None
    found: dict[str, object] = json.loads(newborn.stdout.read())
    return found


def test_it_sees_of_the_world_what_a_new_interpreter_sees(teller: str) -> None:
    env = {"NURSERY_MARK": "mine", "PATH": os.environ["PATH"]}
    with _born(teller, "7", "two", env=env) as newborn:
        told = _told(newborn)
        assert newborn.wait(10) == 7
    done = subprocess.run(
        [sys.executable, teller, "7", "two"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=env,
        start_new_session=True,
        check=False,
    )
    other = json.loads(done.stdout)
    assert told.pop("chance") != other.pop("chance")
    assert told == other


def test_two_of_them_draw_different_lots(teller: str) -> None:
    lots = []
    for _ in range(2):
        with _born(teller, "0") as newborn:
            lots.append(_told(newborn)["chance"])
    assert lots[0] != lots[1]


def test_its_end_is_told_whoever_brings_it_about(tmp_path: Path) -> None:
    script = tmp_path / "wait.py"
    script.write_text(
        "import sys\nprint('here', flush=True)\nsys.stdin.read()\nraise KeyError('last words')\n", "utf-8"
    )
    with _born(str(script), with_input=True) as killed, _born(str(script), with_input=True) as ended:
        for newborn in (killed, ended):
            assert newborn.stdout is not None
            assert newborn.stdout.readline() == b"here\n"
            assert newborn.poll() is None
            assert newborn.pid in descendants(os.getpid())
        with pytest.raises(subprocess.TimeoutExpired):
            killed.wait(0)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(10) == -signal.SIGKILL
        killed.send_signal(signal.SIGKILL)  # nobody is hit
        assert ended.stdin is not None
        assert ended.stderr is not None
        ended.stdin.close()
        assert ended.wait(10) == 1
        assert b"KeyError: 'last words'" in ended.stderr.read()


def test_a_command_of_the_product_runs_as_a_module() -> None:
    with _born("-m", "proxy", "version") as newborn:
        assert newborn.stdout is not None
        assert newborn.stdout.read().startswith(b"elicit-sidecar ")
        assert newborn.wait(10) == 0
    with _born("-m", "proxy", "no such command") as newborn:
        assert newborn.stderr is not None
        assert b"Usage: " in newborn.stderr.read()
        assert newborn.wait(10) == 2
