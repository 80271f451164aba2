"""Whether a peer can be reached: told since when and why it cannot be, and silent while it can."""

import pytest

from proxy.core.contact import Contact
from proxy.core.errors import BridgeFault, BridgeRefused, BridgeTimeout, BridgeUnavailable, InvalidInput


@pytest.mark.requirement("health.bridge")
def test_a_peer_is_a_worry_from_its_first_failure_to_its_next_answer() -> None:
    now = [100.0]
    contact = Contact("the Bridge", lambda: now[0])
    assert not contact.worry()
    contact.failed("refused")
    now[0] = 112.4
    contact.failed("timed out")
    assert contact.worry() == "the Bridge cannot be reached since 12 s: timed out"
    contact.answered()
    assert not contact.worry()
    contact.failed("refused")
    assert contact.worry() == "the Bridge cannot be reached since 0 s: refused"


REFUSAL = BridgeRefused("said no", bridge_status=500, body=b"", content_type="application/json")


@pytest.mark.parametrize("fault", [BridgeUnavailable("refused"), BridgeTimeout("late")])
def test_a_call_without_answer_is_a_failure(fault: BridgeFault) -> None:
    contact = Contact("the Bridge", lambda: 0.0)
    with pytest.raises(BridgeFault), contact.watched():
        raise fault
    assert fault.detail in contact.worry()


def test_a_refusal_and_a_success_show_that_the_peer_is_there() -> None:
    contact = Contact("the Bridge", lambda: 0.0)
    contact.failed("refused")
    with pytest.raises(BridgeRefused), contact.watched():
        raise REFUSAL
    assert not contact.worry()
    contact.failed("refused")
    with contact.watched():
        pass
    assert not contact.worry()


def test_a_mistake_of_the_caller_says_nothing_of_the_peer() -> None:
    contact = Contact("the Bridge", lambda: 0.0)
    contact.failed("refused")
    with pytest.raises(InvalidInput), contact.watched():
        raise InvalidInput("no")
    assert contact.worry()
