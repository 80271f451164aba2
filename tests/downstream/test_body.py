"""Reading a body within its bound."""

import io
from collections.abc import AsyncIterator, Iterator
from unittest import mock

import pytest
from aiohttp import ClientPayloadError, StreamReader, web
from aiohttp.test_utils import TestClient, make_mocked_request
from pytest_aiohttp import AiohttpServer

from proxy.core.errors import BodyTooLarge, InvalidInput, SidecarError
from proxy.downstream.body import MAX_LOOK_BYTES, is_readable, read_body
from proxy.downstream.relay import expect_on_demand
from tests.support.raw_http import connect


class _Door:
    """Reads what it is sent and keeps it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.readable: list[bool] = []
        self.errors: list[SidecarError] = []

    async def serve(self, request: web.Request) -> web.Response:
        self.readable.append(is_readable(request))
        try:
            self.bodies.append(await read_body(request))
        except SidecarError as error:
            self.errors.append(error)
            return web.Response(status=error.status)
        return web.Response()


@pytest.fixture
def door() -> _Door:
    return _Door()


@pytest.fixture
async def client(aiohttp_server: AiohttpServer, door: _Door) -> TestClient[web.Request, web.Application]:
    app = web.Application()
    app.router.add_route("POST", "/", door.serve, expect_handler=expect_on_demand)
    return TestClient(await aiohttp_server(app))


async def _pieces(size: int) -> AsyncIterator[bytes]:
    for piece in _cut(size):
        yield piece


def _cut(size: int) -> Iterator[bytes]:
    while size > 0:
        yield b"x" * min(size, 50_000)
        size -= 50_000


@pytest.mark.parametrize("size", [0, 1, MAX_LOOK_BYTES])
async def test_a_body_within_the_bound_is_read_whole(
    client: TestClient[web.Request, web.Application], door: _Door, size: int
) -> None:
    async with client:
        assert (await client.post("/", data=_pieces(size))).status == 200
        assert (await client.post("/", data=io.BytesIO(b"x" * size))).status == 200
    assert [(len(body), set(body)) for body in door.bodies] == [(size, {120} if size else set())] * 2
    assert door.readable == [True, True]


async def test_a_body_that_grows_beyond_the_bound_is_refused(
    client: TestClient[web.Request, web.Application], door: _Door
) -> None:
    async with client:
        assert (await client.post("/", data=_pieces(MAX_LOOK_BYTES + 1))).status == 413
    assert isinstance(door.errors[0], BodyTooLarge)


async def test_a_body_declared_beyond_the_bound_is_not_to_be_read(
    client: TestClient[web.Request, web.Application], door: _Door
) -> None:
    async with client:
        await client.post("/", data=io.BytesIO(b"x" * (MAX_LOOK_BYTES + 1)))
    assert door.readable == [False]


@pytest.mark.parametrize("error", [web.RequestPayloadError("no chunk"), ClientPayloadError("short")])
async def test_a_body_that_breaks_is_the_callers_mistake(error: Exception) -> None:
    payload = StreamReader(mock.Mock(), 65_536)
    payload.feed_data(b"half")
    payload.set_exception(error)
    with pytest.raises(InvalidInput, match=type(error).__name__):
        await read_body(make_mocked_request("POST", "/", payload=payload))


@pytest.mark.requirement("door.expect")
@pytest.mark.parametrize(("version", "interim"), [(b"HTTP/1.1", (100,)), (b"HTTP/1.0", ())])
async def test_a_body_held_back_is_asked_for_where_the_protocol_knows_how(
    client: TestClient[web.Request, web.Application], door: _Door, version: bytes, interim: tuple[int, ...]
) -> None:
    async with client, connect(client.port or 0) as wire:
        await wire.send(b"POST / %s\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi" % version)
        reply = await wire.reply()
    assert (reply.status, reply.interim) == (200, interim)
    assert door.bodies == [b"hi"]
