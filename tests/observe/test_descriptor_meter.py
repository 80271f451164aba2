"""Connections that are turned away: counted, and told once at the begin and once at the end."""

import pytest

from proxy.observe.descriptor_meter import DescriptorMeter
from proxy.observe.metrics import Metrics


@pytest.mark.requirement("descriptors.short")
def test_each_connection_is_counted_and_begin_and_end_are_told(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics(version="1")
    meter = DescriptorMeter(metrics)
    meter.short_of_descriptors(64)
    meter.turned_away()
    meter.turned_away()
    meter.descriptors_back(2)
    assert "elicit_sidecar_connections_refused_total 2.0" in metrics.render("")[0].decode()
    assert "short of file descriptors" in caplog.text
    assert "ulimit -n" in caplog.text
    assert "file descriptors are free again" in caplog.text
