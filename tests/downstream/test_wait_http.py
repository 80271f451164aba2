"""x"""
from pathlib import Path
from tests.support.house import stand

async def test_smoke(tmp_path: Path) -> None:
    async with stand(tmp_path) as s:
        alice = await s.bridge.token("alice")
        bob = await s.bridge.token("bob")
        task = await s.parked("bob", bob, timeout_seconds=30)
        await s.ask(alice)
        heard = await task
        print(heard)
        print(s.house.lines)
        print(await s.house.metrics())
