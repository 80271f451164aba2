"""How many connections are turned away for want of descriptors, as a metric and as one log line at begin and end."""

from typing import Final

from proxy.observe.logs import logger
from proxy.observe.metrics import Metrics

_LOG: Final = logger("proxy.observe.descriptors")


class DescriptorMeter:
    """Implements the DescriptorWatch port; not thread safe, as it lives on the event loop."""

    __slots__ = ("_metrics",)

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def short_of_descriptors(self, limit: int) -> None:
        """Say that connections are turned away from now on; see the port."""
        _LOG.error(
            "short of file descriptors",
            limit=limit,
            service="new connections are turned away; raise the limit (ulimit -n, LimitNOFILE)",
        )

    def turned_away(self) -> None:
        """Count one connection; see the port."""
        self._metrics.count("connections_refused_total")

    def descriptors_back(self, refused: int) -> None:
        """Say that connections are taken again; see the port."""
        _LOG.warning("file descriptors are free again", refused=refused)
