"""Waits of legacy agents while the Bridge is away: what they see is what the relay shows, whoever serves them."""

from pathlib import Path

import pytest

from tests.support.house import stand
from tests.support.renumbering import renumbered


@pytest.mark.requirement("fallback.in_place")
async def test_a_wait_with_a_mapped_cursor_gets_the_502_that_a_relayed_one_gets(tmp_path: Path) -> None:
    async with stand(tmp_path) as made:
        bob = await made.bridge.token("bob")
        await renumbered(made, bob)
        await made.house.flags(elicitation_percentage=0)
        await made.bridge.client.close()
        relayed = await made.house.call("GET", "/status", token=bob)
        task = made.wait("bob", bob, since_sequence=8, timeout_seconds=30)
        await made.house.until_parked(1)
        made.clock.advance(1)  # the Bridge is asked no more often than it allows
        served = await task
        assert (served.status, served.problem["code"]) == (relayed.status, relayed.problem["code"])
        assert served.status == 502
        assert made.house.lines[-1]["route"] == "legacy"
