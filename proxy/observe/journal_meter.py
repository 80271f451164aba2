"""How the journal fares, as metrics and as one log line when trouble begins and one when it ends."""

from typing import Final

from proxy.observe.logs import logger
from proxy.observe.metrics import Metrics

_LOG: Final = logger("proxy.observe.journal")


class JournalMeter:
    """Implements the JournalWatch port; not thread safe, as it lives on the event loop."""

    __slots__ = ("_metrics",)

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def wrote(self, changes: int, seconds: float) -> None:
        """Count one commit; see the port."""
        self._metrics.count("journal_writes_total", amount=changes)
        self._metrics.observe("journal_write_seconds", seconds)

    def trouble_began(self, why: str) -> None:
        """Say that the state is in memory only; see the port."""
        self._metrics.count("journal_troubles_total")
        _LOG.error("journal in trouble", why=why, service="goes on in memory; a crash now loses what is not written")

    def trouble_ended(self) -> None:
        """Say that all is on record again; see the port."""
        _LOG.warning("journal whole again")
