"""Bridges for the tests of this folder, closed after each test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from proxy.devbridge.settings import Settings
from tests.support.manual_bridge import ManualBridge, start_bridge

Start = Callable[[Settings], Awaitable[ManualBridge]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts Bridges with given settings."""
    async with AsyncExitStack() as stack:

        async def begin(settings: Settings) -> ManualBridge:
            bridge = await start_bridge(settings)
            stack.push_async_callback(bridge.client.close)
            return bridge

        yield begin


@pytest.fixture
async def bridge(start: Start) -> ManualBridge:
    """A Bridge as it comes."""
    return await start(Settings())
