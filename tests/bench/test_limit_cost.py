"""The benchmark of limits runs to its end with hardly any load; how long anything took is not looked at."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.e2e
def test_it_tells_ratios_and_keeps_absolute_figures_in_its_file(tmp_path: Path) -> None:
    to = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "limit_cost.py"), "--batches", "20", "--json", str(to)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    result = orjson.loads(to.read_bytes())
    assert done.returncode == (0 if result["is_within_bound"] else 1)
    assert result["ratios"].keys() == {"limit", "limit_refused", "nonce"}
    assert result["p50_us"].keys() == {"lookup", "limit", "limit_refused", "nonce"}
    assert "times a lookup at p50" in done.stdout
    assert " us" not in done.stdout
