"""Each check of the set-up: what it finds, how it ranks, and that a sidecar in order has none."""

from dataclasses import replace

import pytest

from proxy.core.key_ring import KeyState
from proxy.reports.checks import Severity
from proxy.reports.facts import DAY_S, Guarded, KeyFact, Listener, Shown
from proxy.reports.posture_checks import POSTURE_CHECKS
from tests.support.security_facts import GOOD, NOW, facts

pytestmark = pytest.mark.requirement("report.findings")

HIGH, MEDIUM, LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW

DATA, ADMIN = GOOD.listeners
FAR_DATA = Listener(name="data", address="0.0.0.0:8766", is_loopback=False, is_tls=False)
FAR_ADMIN = Listener(name="admin", address="10.0.0.1:8767", is_loopback=False, is_tls=False)
NEAR_BRIDGE = replace(GOOD.bridge, is_tls=False)


def _key(state: KeyState, days: float, key_id: str = "k1", agent: str = "alice") -> KeyFact:
    return KeyFact(key_id=key_id, agent_id=agent, state=state, age_s=days * DAY_S)


def _file(mode: int | None, *, is_secret: bool = True) -> Guarded:
    return Guarded(what="file", path="/x", mode=mode, allowed=0o600, is_secret=is_secret)


def _found(**posture: object) -> dict[str, list[Severity]]:
    told = facts((), **posture)
    found = {check.name: [finding.severity for finding in check.find(told)] for check in POSTURE_CHECKS}
    return {name: ranks for name, ranks in found.items() if ranks}


def test_a_sidecar_in_order_has_no_finding() -> None:
    assert _found() == {}


@pytest.mark.parametrize(
    ("posture", "found"),
    [
        ({"identity": "off"}, {"identity": [MEDIUM]}),
        ({"identity": "observe"}, {"identity": [LOW]}),
        ({"signatures": "off"}, {"signatures": [LOW]}),
        ({"signatures": "observe"}, {"signatures": [LOW]}),
        ({"signatures": "enforce", "keys": []}, {"signatures": [MEDIUM]}),
        ({"signatures": "off", "signs": True, "keys": []}, {"signatures": [LOW, MEDIUM]}),
        ({"signatures": "off", "signs": False, "keys": []}, {"signatures": [LOW]}),
        (
            {"listeners": (FAR_DATA, ADMIN), "identity": "off", "signatures": "observe"},
            {"identity": [MEDIUM], "exposed_agents": [HIGH], "signatures": [LOW], "transport": [MEDIUM]},
        ),
        (
            {"listeners": (FAR_DATA, ADMIN), "signatures": "observe"},
            {"exposed_agents": [MEDIUM], "signatures": [LOW], "transport": [MEDIUM]},
        ),
        ({"listeners": (replace(FAR_DATA, is_tls=True), ADMIN)}, {}),
        ({"listeners": (DATA, FAR_ADMIN)}, {"admin_reach": [HIGH]}),
        ({"listeners": (DATA, replace(FAR_ADMIN, is_tls=True))}, {}),
        (
            {"listeners": (DATA, FAR_ADMIN), "operators": 0, "viewers": 0},
            {"admin_reach": [HIGH, HIGH], "tokens": [LOW]},
        ),
        ({"operators": 0}, {"tokens": [LOW]}),
        ({"bridge": NEAR_BRIDGE}, {"transport": [MEDIUM]}),
        ({"bridge": replace(NEAR_BRIDGE, is_loopback=True)}, {}),
        ({"keys": [_key(KeyState.ACTIVE, 90)]}, {}),
        ({"keys": [_key(KeyState.ACTIVE, 91)]}, {"keys": [MEDIUM]}),
        ({"keys": [_key(KeyState.ACTIVE, 1), _key(KeyState.RETIRING, 200, "k0")]}, {"keys": [LOW]}),
        ({"keys": [_key(KeyState.ACTIVE, 1), _key(KeyState.REVOKED, 200, "k0")]}, {}),
        ({"keys": [_key(KeyState.REVOKED, 200)]}, {"keys": [LOW]}),
        ({"limits": [("questions", ""), ("answers", "20/min")]}, {"limits": [MEDIUM]}),
        ({"limits": [("questions", "1/s"), ("answers", "1/s"), ("waits", ""), ("calls", "")]}, {"limits": [LOW]}),
        ({"certificates": [Shown(by="x", not_after=NOW)]}, {"certificates": [HIGH]}),
        ({"certificates": [Shown(by="x", not_after=NOW + 13 * DAY_S)]}, {"certificates": [MEDIUM]}),
        ({"certificates": [Shown(by="x", not_after=NOW + 14 * DAY_S)]}, {}),
        ({"files": [_file(0o644)]}, {"files": [HIGH]}),
        ({"files": [_file(0o644, is_secret=False)]}, {"files": [MEDIUM]}),
        ({"files": [_file(None)]}, {"files": [Severity.UNKNOWN]}),
        ({"outlives": False}, {"outlives": [MEDIUM]}),
        ({"problems": ["a", "b"]}, {"configuration": [HIGH, HIGH]}),
    ],
)
def test_a_sidecar_that_is_not_has_just_these(posture: dict[str, object], found: dict[str, list[Severity]]) -> None:
    assert _found(**posture) == found


def test_every_finding_says_what_to_do() -> None:
    told = facts(
        identity="off", signatures="off", listeners=(FAR_DATA, FAR_ADMIN), keys=[], operators=0, outlives=False
    )
    for check in POSTURE_CHECKS:
        for finding in check.find(told):
            assert finding.told
            assert finding.advice
