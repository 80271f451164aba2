"""Run the official conformance suite against a server, and compare what two runs checked.

What counts is the multiset of (scenario, check, status): a check that is lost may simply vanish, so that neither the
number of failures nor the exit code tells. Source: PROTOCOL.md 5.4.
"""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.nursery import unmeasured
from tests.support.peers import directory_of, node_program
from tools.peers import NODE

REVISIONS: Final = ("2025-06-18", "2025-11-25", "2026-07-28")
"""What the suite is run for."""

SUITE_S: Final = 300.0
"""Longest run of the whole suite, seconds; it takes five on an idle machine."""

_STAMP: Final = re.compile(r"-20\d\d-\d\d-\d\dT.*$")
"""What the suite appends to a scenario's name to name its folder."""


class Check(NamedTuple):
    """One thing that the suite looked at."""

    scenario: str
    check: str
    status: str
    """SUCCESS, FAILURE, WARNING or SKIPPED."""


class SuiteError(Exception):
    """The suite could not be run; says what it said."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a second run lacks and what it has more; false if nothing."""

    lost: Counter[Check]
    gained: Counter[Check]

    def __bool__(self) -> bool:
        return bool(self.lost or self.gained)

    def __str__(self) -> str:
        lines = [
            f"{word:6} {count} x {' / '.join(check)}"
            for word, counter in (("lost", self.lost), ("gained", self.gained))
            for check, count in sorted(counter.items())
        ]
        return "\n".join(lines) or "no difference"


def difference(direct: Counter[Check], via: Counter[Check]) -> Difference:
    """What is otherwise in the second run."""
    return Difference(direct - via, via - direct)


def run_suite(url: str, spec_version: str, out_dir: Path, *, scenario: str | None = None) -> Counter[Check]:
    """Run all server scenarios of a revision, or one of them, and count the checks; blocks until it is over.

    The scenarios about DNS rebinding want the server by the name `localhost`, so a URL by address is asked for by it.

    Raises:
        SuiteError: it ended without a result.
    """
    what = ["--suite", "all"] if scenario is None else ["--scenario", scenario]
    words = ["server", "--url", url.replace("127.0.0.1", "localhost"), *what, "--spec-version", spec_version]
    said = _suite([*words, "-o", str(out_dir)])
    return _counted(out_dir, said)


def run_client_scenario(command: str, scenario: str, spec_version: str, out_dir: Path) -> Counter[Check]:
    """Run one client scenario: the suite appends the URL of its own server to the command; blocks until it is over.

    Raises:
        SuiteError: it ended without a result.
    """
    words = ["client", "--command", command, "--scenario", scenario, "--spec-version", spec_version]
    said = _suite([*words, "-o", str(out_dir)])
    return _counted(out_dir, said)


def read_checks(out_dir: Path) -> Counter[Check]:
    """Count what a run has left behind, without what is only information."""
    return Counter(
        Check(_STAMP.sub("", file.parent.name).removeprefix("server-"), str(check["id"]), str(check["status"]))
        for file in out_dir.glob("**/checks.json")
        for check in json.loads(file.read_text("utf-8"))
        if check["status"] != "INFO"
    )


def _counted(out_dir: Path, said: str) -> Counter[Check]:
    found = read_checks(out_dir)
    if not found:
        raise SuiteError(f"expected results in {out_dir}, found none; the suite said:\n{said[-2000:]}")
    return found


def _suite(words: Sequence[str]) -> str:
    """Run it; failed checks are a result, so the exit code says nothing."""
    entry = directory_of(NODE) / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    done = subprocess.run(
        [str(node_program()), str(entry), *words],
        capture_output=True,
        text=True,
        timeout=SUITE_S,
        check=False,
        env=unmeasured() | {"NO_COLOR": "1"},
    )
    return done.stdout + done.stderr
