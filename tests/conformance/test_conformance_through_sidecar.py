"""The official suite finds through the sidecar what it finds directly, with elicitation on and off.

And it finds no DNS rebinding where the server behind is open to it, as the sidecar checks names itself.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.compare import REVISIONS, Check, difference, run_suite
from tests.support.peers import Room
from tests.support.processes import Children, children

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

REBINDING = "dns-rebinding-protection"

FLAGS = {
    "on": ("flags.elicitation_enabled=true", "flags.elicitation_percentage=100"),
    "off": ("flags.elicitation_enabled=false",),
}


@pytest.fixture(scope="module", name="processes")
def _processes() -> Iterator[Children]:
    with children() as started:
        yield started


@pytest.fixture(scope="module", name="through")
def _through(processes: Children) -> Callable[[str, str], str]:
    """Where a server is to be found through a sidecar with its flags on or off; one sidecar for each."""
    known: dict[tuple[str, str], str] = {}

    def start(server_url: str, flags: str) -> str:
        if (server_url, flags) not in known:
            origin = server_url.removesuffix("/mcp")
            words = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bridge", origin, "--state", "memory:"]
            child = processes.run("run", *words, *(word for key in FLAGS[flags] for word in ("--set", key)))
            known[server_url, flags] = f"http://{child.hear(event='ready')['data']}/mcp"
        return known[server_url, flags]

    return start


@pytest.mark.requirement("mcp.conformance")
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("revision", REVISIONS)
def test_every_check_ends_as_it_does_directly(
    *,
    room: Room,
    direct: Callable[[str], Counter[Check]],
    through: Callable[[str, str], str],
    tmp_path: Path,
    flags: str,
    revision: str,
) -> None:
    url = through(room.server("conformance").url, flags)
    found = difference(direct(revision), run_suite(url, revision, tmp_path))
    assert not found, str(found)


@pytest.mark.requirement("mcp.rebinding")
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_a_server_that_checks_no_names_is_safe_from_dns_rebinding(
    room: Room, through: Callable[[str, str], str], tmp_path: Path, revision: str
) -> None:
    url = through(room.server("conformance", "--no-host-check").url, "off")
    found = run_suite(url, revision, tmp_path, scenario=REBINDING)
    assert {check.status for check in found} == {"SUCCESS"}, found
