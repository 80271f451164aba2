"""The fault proxy: each fault as both ends of a connection see it, and that it can be changed while they talk."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import pytest

from tests.support.fault_proxy import FINE, Fault, FaultProxy, fault_proxy


@dataclass
class Pauses:
    """Pauses that last until the test says so."""

    asked: list[float] = field(default_factory=list)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def pause(self, seconds: float) -> None:
        self.asked.append(seconds)
        self._begun.set()
        await self._over.wait()

    async def until_asked(self) -> None:
        async with asyncio.timeout(5):
            await self._begun.wait()

    def end(self) -> None:
        self._over.set()


@dataclass
class Peer:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self, count: int) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readexactly(count)

    async def hear_end(self) -> bytes:
        """All that is left until the orderly end."""
        async with asyncio.timeout(5):
            return await self.reader.read()

    async def hears_nothing(self) -> None:
        """Whatever was on its way would have arrived by now."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await self.reader.readexactly(1)


@dataclass
class Room:
    """A server that hands its connections to the test, and the proxy before it."""

    proxy: FaultProxy
    pauses: Pauses
    _arrived: asyncio.Queue[Peer]
    _peers: list[Peer] = field(default_factory=list)

    async def client(self) -> Peer:
        client = Peer(*await asyncio.open_connection("127.0.0.1", self.proxy.port))
        self._peers.append(client)
        return client

    async def arrived(self) -> Peer:
        async with asyncio.timeout(5):
            server = await self._arrived.get()
        self._peers.append(server)
        return server

    async def pair(self) -> tuple[Peer, Peer]:
        """Both ends of a new connection."""
        client = await self.client()
        return client, await self.arrived()

    def close(self) -> None:
        for peer in self._peers:
            peer.writer.close()


@asynccontextmanager
async def room() -> AsyncIterator[Room]:
    arrived: asyncio.Queue[Peer] = asyncio.Queue()
    pauses = Pauses()
    server = await asyncio.start_server(lambda reader, writer: arrived.put_nowait(Peer(reader, writer)), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, fault_proxy("127.0.0.1", port, pause=pauses.pause) as proxy:
        made = Room(proxy, pauses, arrived)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def _is_reset() -> Iterator[None]:
    with pytest.raises(ConnectionResetError):
        yield


async def test_a_connection_without_fault_carries_both_ways_and_ends_as_its_sides_end() -> None:
    async with room() as made:
        client, server = await made.pair()
        await client.say(b"up" * 100_000)
        assert await server.hear(200_000) == b"up" * 100_000
        client.writer.write_eof()
        assert await server.hear_end() == b""
        await server.say(b"down")
        server.writer.close()
        assert await client.hear_end() == b"down"
        assert made.proxy.accepted == 1


async def test_a_delay_holds_each_piece_for_its_time() -> None:
    async with room() as made:
        made.proxy.set(Fault(delay_s=0.7))
        client, server = await made.pair()
        await client.say(b"late")
        await made.pauses.until_asked()
        assert made.pauses.asked == [0.7]
        await server.hears_nothing()
        made.pauses.end()
        assert await server.hear(4) == b"late"


async def test_a_delay_that_is_lifted_ends_at_once() -> None:
    async with room() as made:
        made.proxy.set(Fault(delay_s=600))
        client, server = await made.pair()
        await client.say(b"late")
        await made.pauses.until_asked()
        made.proxy.set(FINE)
        assert await server.hear(4) == b"late"


async def test_a_rate_asks_for_the_time_that_the_bytes_take() -> None:
    async with room() as made:
        made.proxy.set(Fault(rate=1000))
        client, server = await made.pair()
        await client.say(b"x" * 50)
        assert await server.hear(50) == b"x" * 50
        await made.pauses.until_asked()
        assert made.pauses.asked == [pytest.approx(0.05)]
        made.pauses.end()


@pytest.mark.parametrize("is_reset", [False, True], ids=["ended", "reset"])
async def test_a_cut_lets_exactly_so_many_bytes_up_and_ends_both_sides(*, is_reset: bool) -> None:
    async with room() as made:
        made.proxy.set(Fault(cut_up=3, is_reset=is_reset))
        client, server = await made.pair()
        await client.say(b"abcdef")
        if is_reset:
            with _is_reset():
                await client.hear_end()
        else:
            assert await server.hear_end() == b"abc"
            assert await client.hear_end() == b""


async def test_a_cut_counts_each_direction_by_itself_and_from_when_it_was_set() -> None:
    async with room() as made:
        client, server = await made.pair()
        await client.say(b"before")
        await server.hear(6)
        made.proxy.set(Fault(cut_down=2))
        await client.say(b"all of this")
        assert await server.hear(11) == b"all of this"
        await server.say(b"xyz")
        assert await client.hear_end() == b"xy"
        assert await server.hear_end() == b""


async def test_a_reset_hits_open_and_new_connections() -> None:
    async with room() as made:
        client, server = await made.pair()
        made.proxy.set(Fault(is_reset=True))
        with _is_reset():
            await client.hear_end()
        with _is_reset():
            await server.hear_end()
        late = await made.client()
        with _is_reset():
            await late.hear_end()


async def test_a_black_hole_holds_bytes_and_ends_until_it_is_over() -> None:
    async with room() as made:
        client, server = await made.pair()
        made.proxy.set(Fault(is_black_hole=True))
        await client.say(b"held")
        await server.say(b"too")
        server.writer.write_eof()
        await server.hears_nothing()
        await client.hears_nothing()
        late = await made.client()
        await late.say(b"later")
        made.proxy.set(FINE)
        assert await server.hear(4) == b"held"
        assert await client.hear_end() == b"too"
        assert await (await made.arrived()).hear(5) == b"later"


async def test_in_a_half_open_connection_only_the_server_hears_of_the_end() -> None:
    async with room() as made:
        client, server = await made.pair()
        made.proxy.set(Fault(is_half_open=True))
        with _is_reset():
            await server.hear_end()
        for _ in range(2):
            await client.say(b"hello?")
            await client.hears_nothing()
        made.proxy.set(FINE)
        await client.say(b"hello?")
        with _is_reset():
            await client.hear_end()


async def test_a_connection_made_half_open_reaches_nobody() -> None:
    async with room() as made:
        made.proxy.set(Fault(is_half_open=True))
        client = await made.client()
        await client.say(b"hello?")
        await client.hears_nothing()
        made.proxy.set(FINE)
        await client.say(b"hello?")
        with _is_reset():
            await client.hear_end()


async def test_a_fault_of_one_connection_leaves_the_others_alone() -> None:
    async with room() as made:
        first, _ = await made.pair()
        second, server = await made.pair()
        made.proxy.set(Fault(is_reset=True), made.proxy.lines[:1])
        with _is_reset():
            await first.hear_end()
        await second.say(b"fine")
        assert await server.hear(4) == b"fine"


async def test_a_server_that_is_gone_is_a_reset_until_connections_lead_to_another_one() -> None:
    async with room() as made, room() as other:
        made.proxy.retarget("127.0.0.1", 1)
        client = await made.client()
        with _is_reset():
            await client.hear_end()
        made.proxy.retarget("127.0.0.1", other.proxy.port)
        client = await made.client()
        await client.say(b"there")
        assert await (await other.arrived()).hear(5) == b"there"


async def test_closing_ends_connections_in_every_state() -> None:
    faults = [FINE, Fault(delay_s=600), Fault(is_black_hole=True), Fault(is_half_open=True)]
    async with room() as made:
        pairs = [await made.pair() for _ in faults]
        for fault, line, (client, _) in zip(faults, made.proxy.lines, pairs, strict=True):
            made.proxy.set(fault, [line])
            await client.say(b"x")
        await made.pauses.until_asked()
        made.proxy.close()
        for client, _ in pairs:
            with _is_reset():
                await client.hear_end()
