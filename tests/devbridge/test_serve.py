"""Listening and stopping."""

import asyncio

import aiohttp
import pytest

from proxy.devbridge.serve import serve
from proxy.devbridge.settings import Settings


async def test_it_listens_says_where_and_cuts_parked_waits_when_it_is_stopped() -> None:
    stop, listening = asyncio.Event(), asyncio.Event()
    where: list[tuple[str, int]] = []

    def ready(host: str, port: int) -> None:
        where.append((host, port))
        listening.set()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(serve(Settings(), ("127.0.0.1", 0), ready, stop))
        await listening.wait()
        url = f"http://127.0.0.1:{where[0][1]}"
        async with aiohttp.ClientSession(url) as client:
            body = {"agent_id": "alice", "ip_address": "1", "user_agent": "u"}
            async with client.post("/session/create", json=body) as reply:
                token = (await reply.json())["session_token"]
            headers = {"Authorization": f"Bearer {token}"}
            wait = client.get("/event/wait?agent_id=alice&since_sequence=1", headers=headers)
            task = group.create_task(_cut(wait))
            parked = 0
            while not parked:
                async with client.get("/dev/counters") as reply:
                    parked = (await reply.json())["parked_waits"]
            stop.set()
            await task


async def _cut(wait: "aiohttp.client._RequestContextManager") -> None:
    with pytest.raises(aiohttp.ClientConnectionError):
        async with wait:
            pass
