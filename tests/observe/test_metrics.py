"""The metric catalogue and its text."""

import asyncio
import re
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from proxy.core.breaker import BreakerState
from proxy.observe.catalogue import CATALOGUE, PREFIX, Kind
from proxy.observe.metrics import Metrics

REQUIRED = frozenset(
    {"build_info", "waits_total", "wait_seconds", "delivery_seconds", "elicitations_total", "elicitations_pending"}
    | {"legacy_calls_total", "relay_seconds", "relayed_total", "fallbacks_total", "impersonations_total"}
    | {"rollout_percentage", "cohort_agents", "breaker_state", "empty_wakes_saved_total", "messages_lost_total"}
    | {"errors_total", "defects_total", "parked_waits", "flags_version"}
)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1.2.3")


def _samples(metrics: Metrics) -> Iterator[tuple[str, dict[str, str], float]]:
    metrics.refresh()
    text, _ = metrics.render("")
    for family in parse_text(text.decode()):
        for sample in family.samples:
            yield sample.name, dict(sample.labels), sample.value


def _value(metrics: Metrics, name: str, **labels: str) -> float:
    return next(value for found, with_labels, value in _samples(metrics) if (found, with_labels) == (name, labels))


def test_the_catalogue_has_every_promised_name() -> None:
    assert {metric.name for metric in CATALOGUE} >= REQUIRED


def test_names_carry_prefix_base_units_and_total() -> None:
    for metric in CATALOGUE:
        assert re.fullmatch(r"[a-z][a-z_]*[a-z]", metric.name)
        assert metric.full_name.startswith(PREFIX)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert metric.name.endswith("_seconds") == (metric.unit == "seconds")
        assert metric.kind is not Kind.HISTOGRAM or metric.unit == "seconds"
        assert metric.help.endswith(".")


def test_every_label_has_a_closed_list_and_none_names_an_agent() -> None:
    for metric in CATALOGUE:
        assert "agent_id" not in metric.labels
        if metric.kind is not Kind.INFO:
            assert all(values for values in metric.labels.values())


def test_buckets_of_the_delivery_latency_hold_the_runbook_thresholds() -> None:
    delivery = next(metric for metric in CATALOGUE if metric.name == "delivery_seconds")
    assert {0.5, 1.0} <= set(delivery.buckets)
    assert list(delivery.buckets) == sorted(delivery.buckets)


def test_the_text_is_prometheus_0_0_4_unless_openmetrics_is_asked_for(metrics: Metrics) -> None:
    text, content_type = metrics.render("text/html, */*;q=0.1")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert {family.name for family in parse_text(text.decode())} >= {PREFIX + "parked_waits", "process_open_fds"}
    text, content_type = metrics.render("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert text.endswith(b"# EOF\n")
    families = parse_openmetrics(text.decode())  # type: ignore[no-untyped-call]  # the library's gap
    assert PREFIX + "waits" in {family.name for family in families}


@pytest.mark.parametrize(
    "accept", ["", ";", "application/openmetrics-text; version=abc", "text/plain;version=1.x", "\udc80"]
)
def test_a_hostile_accept_header_gets_a_text(metrics: Metrics, accept: str) -> None:
    assert metrics.render(accept)[0]


def test_creation_times_of_series_do_not_double_the_text(metrics: Metrics) -> None:
    assert b"_created" not in metrics.render("")[0]
    assert b"_created" not in metrics.render("application/openmetrics-text")[0]


def test_build_info_tells_version_and_python(metrics: Metrics) -> None:
    found = [labels for name, labels, _ in _samples(metrics) if name == PREFIX + "build_info"]
    assert found[0]["version"] == "1.2.3"
    assert found[0]["python"].startswith("3.")


def test_process_memory_and_platform_are_there_too(metrics: Metrics) -> None:
    names = {name for name, _, _ in _samples(metrics)}
    assert names >= {"process_resident_memory_bytes", "python_gc_collections_total", "python_info"}


def test_two_sidecars_in_one_process_share_nothing(metrics: Metrics) -> None:
    other = Metrics(version="9")
    metrics.count("defects_total")
    assert _value(other, PREFIX + "defects_total") == 0


def test_counters_add_up_by_label(metrics: Metrics) -> None:
    metrics.count("elicitations_total", "seen")
    metrics.count("elicitations_total", "seen", amount=2)
    metrics.count("errors_total", "not_found", "agent")
    assert _value(metrics, PREFIX + "elicitations_total", outcome="seen") == 3
    assert _value(metrics, PREFIX + "elicitations_total", outcome="declined") == 0
    assert _value(metrics, PREFIX + "errors_total", code="not_found", fault="agent") == 1


def test_a_series_with_several_labels_appears_with_its_first_use(metrics: Metrics) -> None:
    assert not [name for name, _, _ in _samples(metrics) if name == PREFIX + "waits_total"]
    metrics.count("waits_total", "legacy", "split", "http_wait")
    assert _value(metrics, PREFIX + "waits_total", route="legacy", reason="split", door="http_wait") == 1


@pytest.mark.parametrize("values", [("agent-1",), (), ("seen", "seen")])
def test_a_label_value_outside_of_the_closed_list_is_refused(metrics: Metrics, values: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="closed lists"):
        metrics.count("elicitations_total", *values)


def test_histograms_take_seconds(metrics: Metrics) -> None:
    metrics.observe("wait_seconds", 0.2)
    metrics.observe("delivery_seconds", 0.02, "elicitation")
    assert _value(metrics, PREFIX + "wait_seconds_sum") == 0.2
    assert _value(metrics, PREFIX + "delivery_seconds_bucket", cohort="elicitation", le="0.025") == 1
    assert _value(metrics, PREFIX + "delivery_seconds_bucket", cohort="elicitation", le="0.01") == 0
    with pytest.raises(KeyError):
        metrics.observe("delivery_seconds", 1.0, "agent-1")


def test_gauges_follow_what_they_are_bound_to(metrics: Metrics) -> None:
    parked = [3.0]
    metrics.bind({"parked_waits": lambda: parked[0]})
    assert _value(metrics, PREFIX + "parked_waits") == 3
    parked[0] = 4.0
    assert _value(metrics, PREFIX + "parked_waits") == 4
    assert metrics.read("parked_waits") == 4
    assert metrics.read("flags_version") is None


def test_a_labelled_gauge_follows_each_of_its_values(metrics: Metrics) -> None:
    metrics.bind_labelled("breaker_state", lambda: {state: float(state is BreakerState.OPEN) for state in BreakerState})
    assert _value(metrics, PREFIX + "breaker_state", state="open") == 1
    assert _value(metrics, PREFIX + "breaker_state", state="closed") == 0


@pytest.mark.parametrize("name", ["parked", "waits_total", "breaker_state"])
def test_only_gauges_without_labels_can_be_bound_plainly(metrics: Metrics, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        metrics.bind({name: lambda: 0.0})


@pytest.mark.parametrize("name", ["parked", "waits_total", "parked_waits"])
def test_only_gauges_with_a_label_can_be_bound_by_label(metrics: Metrics, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        metrics.bind_labelled(name, dict)


def test_rendering_reads_no_live_state(metrics: Metrics) -> None:
    reads: list[None] = []

    def read() -> float:
        reads.append(None)
        return 0.0

    metrics.bind({"parked_waits": read})
    metrics.render("")
    assert reads == []


async def test_building_and_reading_the_metrics_blocks_no_event_loop() -> None:
    built = Metrics(version="0")
    built.bind({"parked_waits": lambda: 1.0})
    built.refresh()
    text, _ = await asyncio.to_thread(built.render, "")
    assert b"process_open_fds" in text
