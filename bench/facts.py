"""What a figure is worth nothing without: the machine, its load, the versions and the commit; and the result files."""

import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import orjson

from bench.processes import ROOT
from proxy import __version__

RESULTS: Final = ROOT / "bench" / "results"
PACKAGES: Final = ("aiohttp", "uvloop", "orjson", "msgspec", "prometheus-client")


def load_average() -> float:
    """Mean number of running processes over the last minute."""
    return os.getloadavg()[0]


def facts() -> dict[str, object]:
    """Machine, versions and commit, as JSON."""
    return {
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
            "load_average_at_start": load_average(),
        },
        "versions": {
            "elicit-sidecar": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "commit": _git("rev-parse", "HEAD"),
        "tree_is_changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
    }


def describe(known: dict[str, object]) -> str:
    """The machine in one line, for people."""
    machine = known["machine"]
    if not isinstance(machine, dict):
        raise TypeError("expected what facts() returned")
    return (
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load_average_at_start']:.2f} at the start, "
        f"Python {platform.python_version()}, commit {str(known['commit'])[:10]}"
    )


def write_result(name: str, known: dict[str, object], result: dict[str, object], to: Path | None) -> Path:
    """Write one result with its facts; without `to` into bench/results under its name and time."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = to or RESULTS / f"{name}-{stamp}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"benchmark": name, **known, "load_average_at_end": load_average(), **result}
    path.write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_DATACLASS))
    return path


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    done = subprocess.run([git, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
