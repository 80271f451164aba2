"""The machine's own clocks."""

import asyncio

from proxy.devbridge.pace import Pace


async def test_the_machines_clocks_go_forward_over_a_sleep() -> None:
    pace = Pace()
    before = pace.wall_s(), pace.monotonic_s(), pace.monotonic_ns()
    async with asyncio.timeout(5):
        await pace.sleep(0)
    assert pace.monotonic_s() >= before[1]
    assert pace.monotonic_ns() >= before[2]
    assert before[0] > 1.7e9
