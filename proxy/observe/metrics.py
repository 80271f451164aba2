"""The metrics of one sidecar and their Prometheus text.

Each `Metrics` has a registry of its own. Series with one label exist from the start, so that rates see their first
increment; those with several labels appear with their first use, as most combinations never happen.
Gauges mirror live state: they are read on the event loop (`refresh`), because that state is not thread safe, while
the text may be written in another thread (`render`).
"""

import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Final, assert_never

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from proxy.observe.catalogue import CATALOGUE, Kind, Metric

_OPENMETRICS_TYPE: Final = "application/openmetrics-text"


class _Counters:
    """One counter of the catalogue with its children, bound once."""

    __slots__ = ("_children", "_counter", "_lists")

    def __init__(self, metric: Metric, registry: CollectorRegistry) -> None:
        self._counter = Counter(metric.full_name, metric.help, tuple(metric.labels), registry=registry)
        self._lists = tuple(metric.labels.values())
        self._children: dict[tuple[str, ...], Counter] = {}
        if not self._lists:
            self._children[()] = self._counter
        elif len(self._lists) == 1:
            for value in self._lists[0]:
                self._child((value,))

    def add(self, values: tuple[str, ...], amount: float) -> None:
        (self._children.get(values) or self._child(values)).inc(amount)

    def _child(self, values: tuple[str, ...]) -> Counter:
        if len(values) != len(self._lists) or any(
            value not in known for value, known in zip(values, self._lists, strict=True)
        ):
            raise ValueError(f"label values {values} are not in the closed lists of the catalogue")
        child = self._children[values] = self._counter.labels(*(str(value) for value in values))
        return child


class _Process(Collector):
    """The process metrics, opened with the first collection: the library's constructor reads a file."""

    __slots__ = ("_opened",)

    def __init__(self) -> None:
        self._opened: ProcessCollector | None = None

    def collect(self) -> Iterable[Family]:
        if self._opened is None:
            self._opened = ProcessCollector(registry=None)
        return self._opened.collect()


class _WithoutCreated:
    """The registry's families without the `_created` samples, which would double the text."""

    __slots__ = ("_registry",)

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Family]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


class Metrics:
    """All metrics of one sidecar; `version` is what `build_info` tells."""

    __slots__ = ("_counters", "_gauges", "_histograms", "_labelled", "_plain", "_registry")

    def __init__(self, *, version: str) -> None:
        self._registry = CollectorRegistry()
        self._counters: dict[str, _Counters] = {}
        self._gauges: dict[tuple[str, str], Gauge] = {}
        self._histograms: dict[tuple[str, str], Histogram] = {}
        self._plain: dict[str, Callable[[], float]] = {}
        self._labelled: dict[str, Callable[[], Mapping[str, float]]] = {}
        for metric in CATALOGUE:
            self._build(metric, version)
        self._registry.register(_Process())
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def _build(self, metric: Metric, version: str) -> None:
        match metric.kind:
            case Kind.COUNTER:
                self._counters[metric.name] = _Counters(metric, self._registry)
            case Kind.GAUGE:
                self._build_gauge(metric)
            case Kind.HISTOGRAM:
                self._build_histogram(metric)
            case Kind.INFO:
                # The library appends `_info` to the name by itself.
                info = Info(metric.full_name.removesuffix("_info"), metric.help, registry=self._registry)
                info.info({"version": version, "python": platform.python_version()})
            case unknown:
                assert_never(unknown)

    def _build_gauge(self, metric: Metric) -> None:
        gauge = Gauge(metric.full_name, metric.help, tuple(metric.labels), registry=self._registry)
        if not metric.labels:
            self._gauges[metric.name, ""] = gauge
        for values in metric.labels.values():
            for value in values:
                self._gauges[metric.name, value] = gauge.labels(str(value))

    def _build_histogram(self, metric: Metric) -> None:
        histogram = Histogram(
            metric.full_name,
            metric.help,
            tuple(metric.labels),
            unit=metric.unit,
            registry=self._registry,
            buckets=metric.buckets,
        )
        if not metric.labels:
            self._histograms[metric.name, ""] = histogram
        for values in metric.labels.values():
            for value in values:
                self._histograms[metric.name, value] = histogram.labels(str(value))

    def count(self, name: str, *values: str, amount: float = 1) -> None:
        """Add to a counter; `values` are its label values in the catalogue's order.

        Raises:
            KeyError: no such counter.
            ValueError: a label value outside of its closed list.
        """
        self._counters[name].add(values, amount)

    def observe(self, name: str, seconds: float, label: str = "") -> None:
        """Add one duration to a histogram; `label` is its only label value, if it has one.

        Raises:
            KeyError: no such histogram, or a label value outside of its closed list.
        """
        self._histograms[name, label].observe(seconds)

    def bind(self, gauges: Mapping[str, Callable[[], float]]) -> None:
        """Say where gauges without labels find their values.

        Raises:
            ValueError: no such gauge in the catalogue.
        """
        for name, read in gauges.items():
            if (name, "") not in self._gauges:
                raise ValueError(f"expected the name of a gauge without labels, got {name!r}")
            self._plain[name] = read

    def bind_labelled(self, name: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Say where a gauge with one label finds its values, by label value.

        Raises:
            ValueError: no such gauge in the catalogue.
        """
        if not any(known == name and label for known, label in self._gauges):
            raise ValueError(f"expected the name of a gauge with a label, got {name!r}")
        self._labelled[name] = read

    def read(self, name: str) -> float | None:
        """The live value of a gauge without labels; None while nothing is bound to it."""
        bound = self._plain.get(name)
        return None if bound is None else bound()

    def refresh(self) -> None:
        """Read all live state into its gauges; call it on the event loop, before `render`."""
        for name, read in self._plain.items():
            self._gauges[name, ""].set(read())
        for name, read_all in self._labelled.items():
            for value, number in read_all().items():
                self._gauges[name, value].set(number)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text of all metrics and its content type: OpenMetrics where `accept` names it, else Prometheus 0.0.4.

        Safe in any thread. The library's own negotiation is not used: it fails on versions that are no numbers.
        """
        families = _WithoutCreated(self._registry)
        if any(part.split(";")[0].strip().lower() == _OPENMETRICS_TYPE for part in accept.split(",")):
            text: bytes = openmetrics.generate_latest(families)  # type: ignore[no-untyped-call]  # the library's gap
            return text, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(families), CONTENT_TYPE_PLAIN_0_0_4
