"""The sidecar's own client session: nothing between us and the Bridge that we did not ask for."""

import asyncio

import aiohttp
import pytest
from yarl import URL

from proxy.core.ids import AgentId
from proxy.core.secret import Secret
from proxy.upstream.bridge_http import HttpBridge
from proxy.upstream.session import open_bridge_session
from tests.support.raw_upstream import answers, raw_upstream

REPLY = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 13\r\n\r\n" + b'{"events":[]}'


async def test_a_proxy_in_the_environment_and_cookies_of_the_bridge_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with raw_upstream() as upstream, raw_upstream() as decoy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{decoy.port}")
        upstream.play(answers(REPLY, REPLY))
        async with asyncio.timeout(5), open_bridge_session(connect_timeout_s=1) as session:
            bridge = HttpBridge(session, URL(f"http://127.0.0.1:{upstream.port}"), request_timeout_s=5)
            for _ in range(2):
                await bridge.wait(AgentId("bob"), Secret("Bearer t"), since=0, hold_s=1)
        assert [received.head.all(b"cookie") for received in upstream.received] == [[], []]
        assert decoy.connections == 0


async def test_as_many_calls_run_at_once_as_there_are() -> None:
    at_once = 150  # more than the library's own bound of 100 connections
    async with raw_upstream() as upstream:
        arrived = asyncio.Semaphore(0)

        async def held(_peer: object) -> None:
            arrived.release()
            await upstream.stage.until("all")

        upstream.play(held)
        async with open_bridge_session(connect_timeout_s=5) as session, asyncio.timeout(20):
            url = URL(f"http://127.0.0.1:{upstream.port}")

            async def one() -> None:
                with pytest.raises(aiohttp.ClientError):
                    async with session.get(url):
                        pass

            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(one())
                for _ in range(at_once):
                    await arrived.acquire()
                upstream.stage.reached("all")
