"""Whether a peer can be reached: told since when and why it cannot be, and silent while it can."""

import pytest

from proxy.core.contact import SAY_AGAIN_S, Contact
from proxy.core.errors import (
    BridgeFault,
    BridgeRefused,
    BridgeTimeout,
    BridgeUnavailable,
    BridgeUntrusted,
    InvalidInput,
)


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


@pytest.mark.requirement("tls.told")
def test_mistrust_is_said_at_once_and_in_the_same_words_once_a_minute() -> None:
    now, said = [100.0], list[str]()
    contact = Contact("the Bridge", lambda: now[0], hear=said.append)

    def fails(fault: BridgeFault) -> None:
        with pytest.raises(BridgeFault), contact.watched():
            raise fault

    fails(BridgeUnavailable("refused"))
    fails(BridgeUntrusted("expired"))
    with contact.watched():
        pass  # a connection of before may still serve
    fails(BridgeUntrusted("expired"))
    assert said == ["expired"]
    fails(BridgeUntrusted("other name"))
    now[0] += SAY_AGAIN_S
    fails(BridgeUntrusted("other name"))
    assert said == ["expired", "other name", "other name"]
    assert contact.worry().endswith("other name")


def test_without_a_listener_mistrust_is_still_a_worry() -> None:
    contact = Contact("the Bridge", lambda: 0.0)
    with pytest.raises(BridgeUntrusted), contact.watched():
        raise BridgeUntrusted("expired")
    assert "expired" in contact.worry()


@pytest.mark.requirement("log.operators")
def test_each_change_of_reach_is_told_once() -> None:
    now, told = [100.0], list[object]()
    contact = Contact("the Bridge", lambda: now[0], lost=told.append, back=told.append)
    contact.answered()
    contact.failed("refused")
    contact.failed("timed out")
    now[0] = 112.5
    contact.answered()
    contact.answered()
    contact.failed("reset")
    assert told == ["refused", 12.5, "reset"]
