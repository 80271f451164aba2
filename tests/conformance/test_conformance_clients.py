"""What the official suite sees of a client through the sidecar is what it sees of it directly, flags on and off."""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.compare import Check, difference, run_client_scenario
from tests.support.peers import command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

THROUGH = (sys.executable, str(Path(__file__).with_name("through.py")))

FLAGS = {
    "on": ("flags.elicitation_enabled=true", "flags.elicitation_percentage=100"),
    "off": ("flags.elicitation_enabled=false",),
}

JUNE, NOVEMBER, JULY = "2025-06-18", "2025-11-25", "2026-07-28"

SCENARIOS = [
    ("initialize", JUNE, 1),
    ("initialize", NOVEMBER, 1),
    ("tools_call", JUNE, 2),
    ("tools_call", NOVEMBER, 2),
    ("tools_call", JULY, 2),
    ("elicitation-sep1034-client-defaults", NOVEMBER, 5),
    ("sse-retry", NOVEMBER, 3),
    ("request-metadata", JULY, 8),
    ("sep-2322-client-request-state", JULY, 5),
    ("http-standard-headers", JULY, 9),
    ("http-custom-headers", JULY, 18),
    ("http-invalid-tool-headers", JULY, 12),
    ("json-schema-ref-no-deref", JULY, 1),
    ("json-schema-2020-12-preservation", NOVEMBER, 9),
    ("json-schema-2020-12-preservation", JULY, 9),
]
"""Scenario, revision, and how many of its checks our client passes directly.

Source: PROTOCOL.md 5.5; in http-standard-headers our client sends more kinds of requests than the SDK's own.
"""

ENDS_BADLY = {"sep-2322-client-request-state"}
"""Where the SDK refuses the last reply, which has no `resultType`, directly as well. Source: PROTOCOL.md 5.5."""

NEVER_SENT = Counter({Check("http-standard-headers", "sep-2243-client-includes-standard-headers", "SKIPPED"): 2})
"""What a client of the envelope era cannot be checked for: `initialize` and `notifications/initialized`."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One run of a scenario."""

    checks: Counter[Check]
    said: list[dict[str, object]]
    """What the client told of its replies."""


def _run(words: list[str], scenario: str, revision: str, out_dir: Path) -> Seen:
    checks = run_client_scenario(" ".join(words), scenario, revision, out_dir)
    (told,) = out_dir.glob("*/stdout.txt")
    return Seen(checks, [json.loads(line) for line in told.read_text("utf-8").splitlines()])


@pytest.mark.requirement("mcp.conformance_clients")
@pytest.mark.parametrize(("scenario", "revision", "passed"), SCENARIOS)
def test_a_client_and_its_server_see_of_each_other_what_they_see_directly(
    *, tmp_path: Path, scenario: str, revision: str, passed: int
) -> None:
    client = command("mcp-2.3", "conformance_client.py")
    direct = _run(client, scenario, revision, tmp_path / "direct")
    statuses = Counter(check.status for check in (direct.checks - NEVER_SENT).elements())
    assert statuses == {"SUCCESS": passed}, direct.checks
    assert (direct.said[-1]["kind"] == "failed") is (scenario in ENDS_BADLY), direct.said
    for name, settings in FLAGS.items():
        wrapper = [*THROUGH, *(word for key in settings for word in ("--set", key)), "--"]
        via = _run([*wrapper, *client], scenario, revision, tmp_path / name)
        found = difference(direct.checks, via.checks)
        assert not found, f"flags {name}: {found}"
        assert via.said == direct.said, f"flags {name}"
