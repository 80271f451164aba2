"""Who is turned away while descriptors are short: agents first, operators last, and it is told once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from proxy.downstream.connection import PortRunner
from proxy.downstream.doorman import Doorman

pytestmark = pytest.mark.requirement("descriptors.short")


@dataclass
class Watch:
    """What the doorman tells."""

    told: list[object] = field(default_factory=list)
    turned: int = 0

    def short_of_descriptors(self, limit: int) -> None:
        self.told.append(limit)

    def turned_away(self) -> None:
        self.turned += 1

    def descriptors_back(self, refused: int) -> None:
        self.told.append(f"{refused} refused")


def test_the_last_descriptors_are_left_to_what_is_under_way_and_to_operators() -> None:
    watch = Watch()
    doorman = Doorman(1000, watch)
    assert doorman.kept == 125
    assert doorman.admits(874, is_operators=False)
    assert not doorman.admits(875, is_operators=False)
    assert doorman.admits(875, is_operators=True)
    assert doorman.admits(937, is_operators=True)
    assert not doorman.admits(938, is_operators=True)
    assert (watch.told, watch.turned, doorman.is_refusing) == ([1000], 2, True)


def test_it_is_told_when_it_begins_and_when_there_is_room_again_and_not_in_between() -> None:
    watch = Watch()
    doorman = Doorman(100, watch)
    for descriptor in (90, 91, 70, 90, 69):  # some room is not yet enough to speak of it
        doorman.admits(descriptor, is_operators=False)
    assert watch.told == [100]
    assert doorman.admits(67, is_operators=False)
    assert (watch.told, doorman.is_refusing) == ([100, "3 refused"], False)
    doorman.admits(90, is_operators=False)
    assert watch.told == [100, "3 refused", 100]


@pytest.mark.parametrize(("limit", "kept"), [(64, 16), (128, 16), (1024, 128), (1 << 20, 256)])
def test_how_many_are_kept_grows_with_the_limit_within_bounds(limit: int, kept: int) -> None:
    assert Doorman(limit, Watch()).kept == kept


def test_without_a_limit_everybody_is_admitted() -> None:
    watch = Watch()
    assert Doorman(0, watch).admits(10**6, is_operators=False)
    assert watch.told == []


@asynccontextmanager
async def _port(*, admits: bool) -> AsyncIterator[int]:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = PortRunner(app, shutdown_timeout_s=0.01, admits=lambda _: admits)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _heard(port: int, *, asks: bool) -> bytes:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if asks:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        try:
            return await reader.read()
        finally:
            writer.close()


async def test_who_is_turned_away_hears_why_and_when_to_come_again() -> None:
    async with _port(admits=False) as port:
        heard = await _heard(port, asks=False)
    head, _, body = heard.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert b"takes no more connections now" in body


async def test_what_it_has_sent_already_is_not_read() -> None:
    async with _port(admits=False) as port:
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            writer.close()
        assert (await _heard(port, asks=False)).startswith(b"HTTP/1.1 503")


async def test_who_is_admitted_is_served() -> None:
    async with _port(admits=True) as port:
        assert (await _heard(port, asks=True)).endswith(b"hello")
