"""How the journal fares is counted, and told once when it changes."""

import pytest

from proxy.observe.journal_meter import JournalMeter
from proxy.observe.metrics import Metrics


@pytest.mark.requirement("journal.trouble")
def test_commits_are_counted_by_their_changes_and_trouble_is_told_when_it_begins_and_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics(version="1")
    meter = JournalMeter(metrics)
    meter.wrote(3, 0.002)
    meter.trouble_began("disk full")
    meter.trouble_ended()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    began, ended = (str(record.msg) for record in caplog.records)
    assert "journal in trouble" in began
    assert "disk full" in began
    assert "journal whole again" in ended
    text = metrics.render("")[0].decode()
    assert "elicit_sidecar_journal_writes_total 3.0" in text
    assert "elicit_sidecar_journal_write_seconds_count 1.0" in text
    assert "elicit_sidecar_journal_troubles_total 1.0" in text
