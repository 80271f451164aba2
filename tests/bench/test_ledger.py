"""What counts as delivered, lost, doubled and failed."""

import pytest

from bench.ledger import Ledger


def test_latency_runs_from_acceptance_and_from_sending() -> None:
    ledger = Ledger()
    item = ledger.open(1)
    item.sent_at, item.accepted_at = 10.0, 10.002
    assert ledger.received(1, 10.5)
    assert ledger.latencies_ms(from_sent=False) == [pytest.approx(498.0)]
    assert ledger.latencies_ms(from_sent=True) == [pytest.approx(500.0)]


def test_only_the_first_arrival_sets_the_time_and_the_rest_are_doubles() -> None:
    ledger = Ledger()
    ledger.open(1).accepted_at = 1.0
    assert ledger.received(1, 2.0)
    assert not ledger.received(1, 9.0)
    assert ledger.items[1].received_at == 2.0
    assert ledger.duplicated() == 1


def test_an_accepted_item_that_never_came_is_missing_and_a_refused_one_is_not() -> None:
    ledger = Ledger()
    ledger.open(1).accepted_at = 1.0
    ledger.open(2)
    assert ledger.missing() == 1


def test_an_item_of_an_earlier_turn_is_not_counted() -> None:
    ledger = Ledger()
    assert not ledger.received(7, 1.0)
    assert ledger.duplicated() == 0


def test_failures_of_an_outage_are_kept_apart() -> None:
    ledger = Ledger()
    ledger.failed("wait: 503")
    ledger.is_outage = True
    ledger.failed("wait: 503")
    assert (ledger.errors, ledger.tolerated) == ({"wait: 503": 1}, {"wait: 503": 1})
