"""The rules for all tests in conftest.py, tried on small suites of their own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
OPTIONS = ["--import-mode=importlib", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "--timeout=5", "-rA"]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a test file under our conftest.py."""
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nmarkers = blocking: x\nasyncio_default_fixture_loop_scope = function\n"
    )

    def begin(code: str, *, require_all: str = "") -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_it.py").write_text(f"import asyncio, io, sys, time, pytest\n{code}\n", "utf-8")
        env = {**os.environ, "REQUIRE_ALL": require_all}
        command = [sys.executable, "-m", "pytest", *OPTIONS, str(tmp_path)]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)

    return begin


SKIPS = """
def test_in_its_body():
    pytest.skip("no server here")

@pytest.mark.skipif(True, reason="wrong system")
def test_by_a_mark():
    pass

@pytest.mark.xfail(reason="known gap")
def test_expected_to_fail():
    assert False
"""


def test_a_skip_is_a_skip_by_default(run: Run) -> None:
    done = run(SKIPS)
    assert done.returncode == 0
    assert "2 skipped, 1 xfailed" in done.stdout


def test_a_skip_fails_with_its_reason_where_everything_must_run(run: Run) -> None:
    done = run(SKIPS, require_all="1")
    assert done.returncode == 1
    assert "1 failed, 1 xfailed, 1 error" in done.stdout
    assert "skipped although REQUIRE_ALL=1: Skipped: no server here" in done.stdout
    assert "skipped although REQUIRE_ALL=1: Skipped: wrong system" in done.stdout


def test_a_file_that_skips_itself_fails_where_everything_must_run(run: Run) -> None:
    code = 'pytest.importorskip("there_is_no_such_module")\ndef test_it(): pass'
    assert run(code).returncode == 5  # nothing was collected
    done = run(code, require_all="1")
    assert done.returncode == 2
    assert "skipped although REQUIRE_ALL=1" in done.stdout


def test_async_tests_run_on_the_loop_of_the_product(run: Run) -> None:
    done = run("async def test_it(): assert 'uvloop' in type(asyncio.get_running_loop()).__module__")
    assert done.returncode == 0, done.stdout


BLOCKING = """
from proxy.config.tokens import read_tokens
from pathlib import Path

{mark}
async def test_it(tmp_path):
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text("viewer " + "x" * 16)
    assert read_tokens(path)
"""


def test_a_blocking_call_of_ours_in_the_event_loop_fails_unless_it_is_allowed(run: Run) -> None:
    refused = run(BLOCKING.format(mark=""))
    assert refused.returncode == 1
    assert "BlockingError" in refused.stdout
    assert run(BLOCKING.format(mark="@pytest.mark.blocking")).returncode == 0


def test_a_test_that_hangs_is_ended_and_the_next_one_runs(run: Run) -> None:
    code = "@pytest.mark.timeout(1)\nasync def test_hang(): await asyncio.Event().wait()\nasync def test_next(): pass"
    done = run(code)
    assert "Timeout (>1.0s)" in done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
