"""The script runs to its end as a process; how dear signing was is for its own exit code."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.e2e
def test_the_cost_of_signing_is_told_in_bare_hmacs(tmp_path: Path) -> None:
    to = tmp_path / "result.json"
    command = [sys.executable, str(ROOT / "bench" / "signing_cost.py"), "--calls", "50", "--rounds", "1"]
    done = subprocess.run([*command, "--json", str(to)], capture_output=True, text=True, timeout=100, check=False)
    result = orjson.loads(to.read_bytes())
    assert {"machine", "versions", "commit", "ratios", "p50_us"} <= result.keys()
    assert done.returncode == (0 if result["is_clean"] else 1), done.stderr
    told = ["sign", "verify", "verify_with_body", "refuse_forged", "refuse_unsigned", "sign_event", "verify_event"]
    assert list(result["ratios"]) == told
    assert all(f"  {name}" in done.stdout for name in told)
