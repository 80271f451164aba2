"""Each script runs to its end as a process, with hardly any load: exit code and shape of the JSON only."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.support.nursery import unmeasured

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--agents", "2", "--seconds", "0.5", "--rounds", "1", "--rate", "8"]

pytestmark = pytest.mark.e2e


def _run(script: str, arguments: list[str], to: Path) -> tuple[str, dict[str, object]]:
    command = [sys.executable, str(ROOT / "bench" / script), *arguments, "--json", str(to)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=unmeasured())
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, object] = orjson.loads(to.read_bytes())
    assert result["commit"]
    assert {"machine", "versions", "command", "started_at", "load_average_at_end"} <= result.keys()
    return done.stdout, result


def _object(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def test_the_elicitation_benchmark_tells_ratios_and_keeps_absolute_figures_in_its_file(tmp_path: Path) -> None:
    said, result = _run("elicitation_benchmark.py", TINY, tmp_path / "result.json")
    arms, ratios = _object(result["arms"]), _object(result["ratios"])
    assert arms.keys() == {"legacy", "both", "receiver"}
    assert ratios.keys() == {"both", "receiver"}
    assert {"p50", "p99", "p50_from_sent", "all_cpu", "upstream_requests"} <= _object(ratios["both"]).keys()
    for arm in arms.values():
        kept = _object(arm)
        assert (kept["lost"], kept["duplicated"], kept["errors"]) == (0, 0, {})
        assert {"p50", "p95", "p99", "max", "count"} == _object(kept["latency_ms"]).keys()
    assert "rate limits of sidecar and development Bridge and its session limit are OFF" in said
    assert " ms" not in said


def test_the_baseline_measures_the_legacy_way_alone(tmp_path: Path) -> None:
    said, result = _run("baseline_wait_for_messages.py", TINY, tmp_path / "result.json")
    assert _object(result["arms"]).keys() == {"legacy"}
    assert "throughput" in said


def test_the_elicitation_way_is_measured_alone(tmp_path: Path) -> None:
    _, result = _run("elicitation_performance.py", TINY, tmp_path / "result.json")
    assert _object(result["arms"]).keys() == {"both", "receiver"}


def test_the_relay_benchmark_compares_three_ways(tmp_path: Path) -> None:
    _, result = _run("relay_overhead.py", ["--seconds", "0.2", "--rounds", "1"], tmp_path / "result.json")
    contenders, ratios = _object(result["contenders"]), _object(result["ratios"])
    assert contenders.keys() == {"direct", "aiohttp_forwarder", "sidecar"}
    assert isinstance(ratios["sidecar_cpu_to_forwarder"], float)


def test_a_short_soak_ends_clean_and_is_not_judged(tmp_path: Path) -> None:
    arguments = ["--minutes", "0.03", "--waits", "4", "--rate", "4", "--restarts", "0"]
    said, result = _run("soak.py", arguments, tmp_path / "result.json")
    assert _object(result["verdict"])["is_judged"] is False
    assert (result["failures"], result["lost"]) == ([], 0)
    assert isinstance(result["samples"], list)
    assert "too short to judge" in said


@pytest.mark.parametrize("script", ["elicitation_benchmark.py", "relay_overhead.py", "soak.py"])
def test_nonsense_is_a_usage_error(script: str) -> None:
    option = ["--minutes", "0"] if script == "soak.py" else ["--seconds", "0"]
    command = [sys.executable, str(ROOT / "bench" / script), *option]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=unmeasured())
    assert done.returncode == 2
    assert "expected" in done.stderr
