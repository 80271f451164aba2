"""Checks of how a sidecar is set up."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from proxy.core.key_ring import KeyState
from proxy.reports.checks import Check, Component, Finding, Severity
from proxy.reports.facts import DAY_S, Listener, Posture, SecurityFacts

KEY_DAYS: Final = 90
"""Days after which a key should be replaced. Source: ours; a migration takes twelve weeks, 84 days."""

CERTIFICATE_DAYS: Final = 14
"""Days before its end at which a certificate should be renewed. Source: ours; time for a person to act."""


def _listener(posture: Posture, name: str) -> Iterator[Listener]:
    return (each for each in posture.listeners if each.name == name)


def _identity(facts: SecurityFacts) -> Iterator[Finding]:
    posture = facts.posture
    advice = 'set identity.mode = "enforce", after a time of "observe" without let-through calls'
    if posture.identity == "off":
        yield Finding(Severity.MEDIUM, "nobody looks whether a call names its own agent (identity.mode is off)", advice)
    elif posture.identity == "observe":
        yield Finding(Severity.LOW, "calls that name another agent are only counted (identity.mode is observe)", advice)


def _exposed_agents(facts: SecurityFacts) -> Iterator[Finding]:
    posture = facts.posture
    for port in _listener(posture, "data"):
        if not port.is_loopback and "enforce" not in {posture.identity, posture.signatures}:
            yield Finding(
                Severity.HIGH,
                f"whoever reaches the data port {port.address} may speak as any agent",
                'listen on loopback, or set identity.mode and signatures.mode to "enforce"',
            )
        elif not port.is_loopback and posture.signatures != "enforce":
            yield Finding(
                Severity.MEDIUM,
                f"the data port {port.address} can be reached from elsewhere, and calls need no signature",
                'listen on loopback, or set signatures.mode = "enforce"',
            )


def _signatures(facts: SecurityFacts) -> Iterator[Finding]:
    posture = facts.posture
    if posture.signatures == "off":
        yield Finding(
            Severity.LOW,
            "calls are not signed (signatures.mode is off)",
            'make keys with `elicit-sidecar keys new`, then set signatures.mode to "observe", later to "enforce"',
        )
    elif posture.signatures == "observe":
        yield Finding(
            Severity.LOW,
            "signatures are judged and do not count (signatures.mode is observe)",
            'set signatures.mode = "enforce" when no call is let through any more',
        )
    if (posture.signatures != "off" or posture.signs) and not posture.keys:
        yield Finding(
            Severity.MEDIUM, "there is no key that can be read to sign or to verify with", "see signatures.keys_file"
        )


def _keys(facts: SecurityFacts) -> Iterator[Finding]:
    keys = facts.posture.keys
    for key in keys:
        days = int(key.age_s / DAY_S)
        if key.state is KeyState.ACTIVE and days > KEY_DAYS:
            told = f"key {key.key_id} of {key.agent_id} has been active for {days} days"
            yield Finding(Severity.MEDIUM, told, "replace it with `elicit-sidecar keys rotate`")
    for agent in sorted({key.agent_id for key in keys}):
        states = {key.state for key in keys if key.agent_id == agent}
        if KeyState.ACTIVE not in states:
            told = f"{agent} has no active key"
            yield Finding(Severity.LOW, told, "make one with `elicit-sidecar keys new`, or take the old ones out")
        elif KeyState.RETIRING in states:
            told = f"a key of {agent} is retiring and still counts"
            yield Finding(Severity.LOW, told, "revoke it when nothing signed by it is on its way any more")


def _limits(facts: SecurityFacts) -> Iterator[Finding]:
    rates = dict(facts.posture.limits)
    for name in ("questions", "answers"):
        if not rates.get(name):
            yield Finding(Severity.MEDIUM, f"there is no limit of {name}", f"set limits.{name}")
    missing = [name for name, rate in rates.items() if not rate and name not in {"questions", "answers"}]
    if missing:
        yield Finding(
            Severity.LOW,
            f"there is no limit of {', '.join(missing)}: an agent may use as much as the sidecar carries",
            "set them under [limits] where agents are not trusted",
        )


def _admin_reach(facts: SecurityFacts) -> Iterator[Finding]:
    posture = facts.posture
    for port in _listener(posture, "admin"):
        if port.is_loopback:
            continue
        if not posture.operators + posture.viewers:
            yield Finding(
                Severity.HIGH, f"the admin port {port.address} has no tokens", "name a file in admin.token_file"
            )
        if not port.is_tls:
            yield Finding(
                Severity.HIGH,
                f"operators' tokens cross the network in the clear to {port.address}",
                "set listen.admin_tls_cert_file and listen.admin_tls_key_file, or listen on loopback",
            )


def _tokens(facts: SecurityFacts) -> Iterator[Finding]:
    if not facts.posture.operators:
        yield Finding(
            Severity.LOW,
            "there is no operator token, so nobody can change flags or roll back",
            'write a line "operator TOKEN" into a file of mode 0600 and name it in admin.token_file',
        )


def _transport(facts: SecurityFacts) -> Iterator[Finding]:
    posture = facts.posture
    for port in _listener(posture, "data"):
        if not port.is_loopback and not port.is_tls:
            yield Finding(
                Severity.MEDIUM,
                f"tokens and messages of agents cross the network in the clear to {port.address}",
                "set listen.tls_cert_file and listen.tls_key_file, or listen on loopback",
            )
    if not posture.bridge.is_loopback and not posture.bridge.is_tls:
        yield Finding(
            Severity.MEDIUM,
            f"tokens and messages cross the network in the clear to {posture.bridge.url}",
            "call the Bridge by https",
        )


def _certificates(facts: SecurityFacts) -> Iterator[Finding]:
    for shown in facts.posture.certificates:
        left = (shown.not_after - facts.made_at) / DAY_S
        day = datetime.fromtimestamp(shown.not_after, UTC).date().isoformat()
        if left <= 0:
            yield Finding(Severity.HIGH, f"the certificate of {shown.by} expired on {day}", "renew it")
        elif left < CERTIFICATE_DAYS:
            yield Finding(Severity.MEDIUM, f"the certificate of {shown.by} expires on {day}", "renew it")


def _files(facts: SecurityFacts) -> Iterator[Finding]:
    for file in facts.posture.files:
        if file.is_open and file.mode is not None:
            verb = "read or changed" if file.is_secret else "changed"
            yield Finding(
                Severity.HIGH if file.is_secret else Severity.MEDIUM,
                f"the {file.what} {file.path} can be {verb} by others (mode {file.mode & 0o7777:04o})",
                f"chmod {file.allowed:o} {file.path}",
            )
        elif file.mode is None:
            told = f"the {file.what} {file.path} cannot be looked at, so nobody knows for whom it is open"
            yield Finding(Severity.UNKNOWN, told, "is the path right? may this user look into its folder?")


def _outlives(facts: SecurityFacts) -> Iterator[Finding]:
    if not facts.posture.outlives:
        yield Finding(
            Severity.MEDIUM,
            "the audit trail and the nonces end with the process (state.url is memory:)",
            "keep the state in a file",
        )


def _problems(facts: SecurityFacts) -> Iterator[Finding]:
    for problem in facts.posture.problems:
        yield Finding(Severity.HIGH, problem, "see `elicit-sidecar check`")


_E, _A, _T, _S = Component.ELICITATION, Component.ADMIN, Component.TRANSPORT, Component.STATE

POSTURE_CHECKS: Final = tuple(
    Check(name=name, component=component, question=question, find=find)
    for name, component, question, find in (
        ("identity", _E, "an agent can only speak as itself", _identity),
        ("exposed_agents", _E, "only the agent of this sidecar reaches its data port", _exposed_agents),
        ("signatures", _E, "calls are signed by keys that are known here", _signatures),
        ("keys", _E, "keys are young, and there is one for each agent", _keys),
        ("limits", _E, "nobody may call without end", _limits),
        ("admin_reach", _A, "the admin port is out of reach, or guarded", _admin_reach),
        ("tokens", _A, "an operator can act", _tokens),
        ("transport", _T, "nothing crosses a network in the clear", _transport),
        ("certificates", _T, "certificates are valid", _certificates),
        ("files", _S, "state, tokens and keys are closed to others", _files),
        ("outlives", _S, "the trail outlives the process", _outlives),
        ("configuration", _S, "what the configuration names is in order", _problems),
    )
)
"""In the order of the report."""
