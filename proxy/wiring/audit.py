"""Connects the audit trail: who is heard, what was done at the start, and what reports are made of it."""

import asyncio
from collections.abc import Callable

from proxy import __version__
from proxy.config.schema import Config
from proxy.core.audit import SIDECAR
from proxy.core.deeds import Started, parse_word
from proxy.core.errors import StateUnavailable
from proxy.core.key_moves import moves_between
from proxy.core.key_ring import KeyRing
from proxy.downstream.reports_http import SecurityFactsNow
from proxy.flows.audit_keeper import AuditKeeper
from proxy.flows.flags import FlagBoard
from proxy.observe.metrics import Metrics
from proxy.observe.recorder import OutcomeRecorder
from proxy.ports import AuditTrail, Clock
from proxy.reports.facts import SecurityFacts, TrailFacts
from proxy.wiring.announce import say_flags_changed
from proxy.wiring.security_facts import judged_trail, security_facts


def open_audit(trail: AuditTrail, clock: Clock, board: FlagBoard, recorder: OutcomeRecorder) -> AuditKeeper:
    """The keeper of the trail, which hears of changes of the flags and of refused calls from now on."""
    keeper = AuditKeeper(trail, clock, board.history, defect=recorder.defect)
    board.hear(keeper.flags_changed)
    board.tell(say_flags_changed)
    recorder.watch(keeper.suspected)
    return keeper


def note_started(keeper: AuditKeeper) -> None:
    """The sidecar serves: whoever fails at an address that is taken has not been there."""
    keeper.note(Started(version=parse_word(__version__)), who=SIDECAR)


def key_watch(keeper: AuditKeeper) -> Callable[[KeyRing], None]:
    """Who hears of each new ring, the first one included, and has the trail tell what became of keys since."""
    last: list[KeyRing] = []

    def heard(ring: KeyRing) -> None:
        for agent_id, deed in moves_between(last.pop() if last else ring, ring):
            keeper.note(deed, who=SIDECAR, subject=agent_id)
        last.append(ring)

    return heard


def bind_gauges(keeper: AuditKeeper, metrics: Metrics) -> None:
    """Let the metrics tell how the trail is kept."""
    metrics.bind({"audit_trouble": lambda: float(bool(keeper.trouble)), "audit_waiting": lambda: float(keeper.waiting)})


def security_facts_of(keeper: AuditKeeper, config: Callable[[], Config], clock: Clock) -> SecurityFactsNow:
    """What a report of security is made of, for a sidecar that runs."""

    async def gather() -> SecurityFacts:
        try:
            trail = await keeper.whole()
        except StateUnavailable as error:
            told = TrailFacts(verdict=error.detail)
        else:
            told = await asyncio.to_thread(judged_trail, trail)
        return await asyncio.to_thread(security_facts, config(), told, wall=clock.wall())

    return gather
