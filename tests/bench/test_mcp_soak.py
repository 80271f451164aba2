"""The MCP soak runs to its end as a process, with hardly any load: exit code and shape of the JSON only."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.support.nursery import unmeasured

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "mcp_soak.py"

pytestmark = pytest.mark.e2e


def test_a_short_mcp_soak_ends_clean_and_is_not_judged(tmp_path: Path) -> None:
    to = tmp_path / "result.json"
    arguments = ["--minutes", "0.06", "--clients", "8", "--pipes", "1", "--waits", "4", "--rate", "4", "--visits", "2"]
    command = [sys.executable, str(SCRIPT), *arguments, "--json", str(to)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=unmeasured())
    assert done.returncode == 0, done.stdout + done.stderr
    result = orjson.loads(to.read_bytes())
    assert result["verdicts"].keys() == result["samples"].keys() == {"http", "pipe0"}
    assert not any(verdict["is_judged"] for verdict in result["verdicts"].values())
    assert (result["failures"], result["lost"], result["errors"]) == ([], [], {})
    assert result["items"] > 0
    assert "too short to judge" in done.stdout


def test_nonsense_is_a_usage_error() -> None:
    command = [sys.executable, str(SCRIPT), "--minutes", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=unmeasured())
    assert done.returncode == 2
    assert "expected" in done.stderr
