"""The comments on a stream that waits, when nobody is left to read them."""

import asyncio

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from proxy.downstream.mcp_answer import KEEP_ALIVE_S, McpAnswer
from tests.support.manual_clock import ManualClock, settle


class _Stream(web.StreamResponse):
    """Takes one comment; then its client is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.written:
            raise ConnectionResetError("gone")
        self.written.append(bytes(data))


async def test_comments_come_every_fifteen_seconds_and_end_when_the_client_is_gone() -> None:
    clock, stream = ManualClock(), _Stream()
    answer = McpAnswer(make_mocked_request("POST", "/mcp"), 1, clock)
    task = asyncio.get_running_loop().create_task(answer._comment(stream))
    await settle()
    await clock.advance(KEEP_ALIVE_S - 1)
    assert not stream.written
    await clock.advance(1)
    assert stream.written == [b": waiting\n\n"]
    await clock.advance(KEEP_ALIVE_S)
    async with asyncio.timeout(5):
        await task
    assert not clock.waiting()
