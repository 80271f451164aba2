"""The log line of an outcome: which level, which words, which fields.

Fields that hold their default are left out. A line names agents, doors and codes, never a token or a content.
"""

import logging
from collections.abc import Iterator
from typing import Final

from structlog.stdlib import BoundLogger

from proxy.core.outcome import Door, Outcome, Result
from proxy.core.suspicion import Suspicion

_READING: Final = frozenset({"GET", "HEAD"})
_EVALUATING: Final = "/ofrep/"
"""Begin of the paths whose POST only looks."""
_WARNED: Final = frozenset({Result.REFUSED, Result.FAILED})


def level_of(outcome: Outcome) -> int:
    """Warning for refusals and failures, debug for what merely passes by (relayed calls, admin reads), else info."""
    if outcome.result in _WARNED:
        return logging.WARNING
    is_reading = outcome.method in _READING or outcome.path.startswith(_EVALUATING)
    if outcome.door is Door.RELAY or (outcome.door is Door.ADMIN and is_reading):
        return logging.DEBUG
    return logging.INFO


def write_outcome(log: BoundLogger, outcome: Outcome) -> None:
    """Write the one line of one served call."""
    level = level_of(outcome)
    # Asked before the fields are built: relayed calls are many and usually not logged.
    if log.isEnabledFor(level):
        log.log(level, outcome.result.value, **dict(_fields(outcome)))


def write_suspicion(log: BoundLogger, suspicion: Suspicion) -> None:
    """Write one line of a call that a rule of security refuses; of one that it would refuse, a line that says so."""
    log.warning(
        "refused" if suspicion.is_enforced else "would be refused",
        breach=suspicion.breach.value,
        rule=suspicion.rule,
        agent_id=suspicion.agent_id,
        **({"claimed": suspicion.claimed} if suspicion.claimed else {}),
    )


def _fields(outcome: Outcome) -> Iterator[tuple[str, object]]:
    yield "door", outcome.door.value
    yield "seconds", round(outcome.seconds, 6)
    shown = {
        "agent_id": outcome.agent_id,
        "status": outcome.status,
        "route": outcome.route,
        "reason": outcome.reason,
        "cohort": outcome.cohort,
        "fell_back": outcome.fell_back,
        "error_code": outcome.error_code,
        "fault": outcome.fault,
        "items": outcome.items,
        "delivery_seconds": [round(seconds, 6) for seconds in outcome.delivery_seconds],
        "elicitations": list(outcome.elicitations),
        "empty_wakes_saved": outcome.empty_wakes_saved,
        "agent_kind": outcome.agent_kind,
        "method": outcome.method,
        "path": outcome.path,
        "bytes_up": outcome.bytes_up,
        "bytes_down": outcome.bytes_down,
    }
    yield from ((name, value) for name, value in shown.items() if value)
