"""The reply of the up bridge to a client that is gone, and to two writers that begin it at once."""

import asyncio
from typing import ClassVar

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from proxy.downstream.mcp_up_reply import UpReply


class _Stream(web.StreamResponse):
    """Takes some pieces; then its client is gone."""

    made: ClassVar["list[_Stream]"] = []
    room = 2

    async def prepare(self, request: web.BaseRequest) -> None:
        """Begin, which others may interrupt."""
        del request
        await asyncio.sleep(0)
        self.made.append(self)
        self.pieces: list[bytes] = []

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take a piece."""
        if len(self.pieces) == self.room:
            raise ConnectionResetError("gone")
        self.pieces.append(bytes(data))


@pytest.fixture(autouse=True)
def _streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.downstream.mcp_up_reply.web.StreamResponse", _Stream)
    _Stream.made.clear()


async def test_a_client_that_is_gone_is_written_to_no_more() -> None:
    reply = UpReply(make_mocked_request("POST", "/mcp"), None, takes_stream=True)
    assert [await reply.put(b"{}") for _ in range(4)] == [True, True, False, False]
    (stream,) = _Stream.made
    assert stream.pieces == [b"event: message\ndata: {}\n\n"] * 2


async def test_a_stream_begins_once_whoever_writes_first() -> None:
    reply = UpReply(make_mocked_request("POST", "/mcp"), None, takes_stream=True)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(reply.put(b"{}"))
    assert len(_Stream.made) == 1


async def test_nothing_is_written_to_a_reply_that_is_closed() -> None:
    reply = UpReply(make_mocked_request("POST", "/mcp"), None, takes_stream=True)
    reply.close()
    assert not await reply.put(b"{}")
    assert not reply.has_begun
