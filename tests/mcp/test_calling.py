"""A question of a server and the fate of its answer."""

import pytest

from proxy.core.errors import BridgeFault, BridgeUnavailable
from proxy.mcp.ask import FormQuestion
from proxy.mcp.calling import Arrival, ServerAsk

pytestmark = pytest.mark.requirement("mcp.source.arrival")


@pytest.mark.parametrize("first", [None, BridgeUnavailable("gone")])
def test_the_fate_of_an_answer_is_told_once(first: BridgeFault | None) -> None:
    heard: list[BridgeFault | None] = []
    arrival = Arrival(heard.append)
    arrival.tell(first)
    arrival.tell()
    arrival.tell(BridgeUnavailable("again"))
    assert heard == [first]
    assert arrival.is_told


def test_nobody_has_to_hear_it() -> None:
    arrival = Arrival()
    arrival.tell()
    assert arrival.is_told


def test_questions_are_equal_whatever_became_of_their_answers() -> None:
    one, other = (ServerAsk(key="a", question=FormQuestion("Name?", {})) for _ in range(2))
    one.arrival.tell()
    assert one == other
    assert not other.arrival.is_told
