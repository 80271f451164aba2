"""Keeps a house running: opens what it stands on, listens, and takes everything down in order.

It owns the outermost TaskGroup: every task of the sidecar is born there and has ended when the house is left.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web
from yarl import URL

from proxy.config.load import Loaded
from proxy.config.schema import Config
from proxy.config.shapes import Address
from proxy.config.tokens import Token, read_tokens
from proxy.core.flags import FlagSet
from proxy.downstream.connection import PortRunner
from proxy.downstream.relay import Relay
from proxy.downstream.relay_upstream import open_relay_session
from proxy.ports import Clock, FlagStore
from proxy.stores.memory import MemoryFlagStore
from proxy.stores.sqlite import SqliteFlagStore
from proxy.stores.writer import SqliteWriter
from proxy.upstream.bridge_http import HttpBridge
from proxy.upstream.mcp_http import HttpMcpServer
from proxy.upstream.session import open_bridge_session
from proxy.wiring.clock import LoopClock
from proxy.wiring.house import House, Outside
from proxy.wiring.reload import ConfigSource, reload_when_wanted, watch_file

DRAIN_S: Final = 0.4
"""How long calls may go on after a stop, in seconds.

Source: ARCHITECTURE.md 2.6, an exit takes less than 2 s; aiohttp waits this long twice, at each of the two ports.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Where the house listens, ports resolved."""

    data: Address
    admin: Address


async def keep_house(
    loaded: Loaded,
    *,
    ready: Callable[[Bound], None],
    stop: asyncio.Event,
    source: ConfigSource | None = None,
    clock: Clock | None = None,
) -> None:
    """Run one sidecar until `stop` is set; `ready` is told the bound addresses.

    With a `source` the configuration is read again when it changes. `clock` is the event loop's unless somebody
    else keeps the time.

    Raises:
        ConfigError: the token file is not in order.
        StateUnavailable: the state store cannot be opened.
        OSError: an address cannot be bound.
    """
    try:
        async with AsyncExitStack() as stack:
            house, bound = await _open(loaded, stack, stop, clock or LoopClock())
            if source is not None:
                house.start(reload_when_wanted(house, source), "reload", stack)
                house.start(watch_file(source), "watch of the configuration", stack)
            ready(bound)
            await stop.wait()
            house.drain()
            # The stack now unwinds: both ports finish what they serve, polls end, then sessions and state close.
    except ExceptionGroup as group:
        # A TaskGroup wraps even its own body's error; the start has exactly one.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


async def _open(loaded: Loaded, stack: AsyncExitStack, stop: asyncio.Event, clock: Clock) -> tuple[House, Bound]:
    config = loaded.config
    tokens = await asyncio.to_thread(_tokens, config)
    store = await _open_store(config, stack)
    connect_s, url = config.bridge.connect_timeout_s, URL(config.bridge.url)
    relay_session = await stack.enter_async_context(open_relay_session(connect_timeout_s=connect_s))
    bridge_session = await stack.enter_async_context(open_bridge_session(connect_timeout_s=connect_s))
    mcp_url, limit_s = URL(config.bridge.mcp_url or config.bridge.url), config.bridge.request_timeout_s
    outside = Outside(
        store=store,
        bridge=HttpBridge(bridge_session, url, request_timeout_s=limit_s),
        relay=Relay(relay_session, url),
        mcp_relay=Relay(relay_session, mcp_url),
        mcp_server=HttpMcpServer(bridge_session, mcp_url.with_path(config.bridge.mcp_path), request_timeout_s=limit_s),
        clock=clock,
        group=await stack.enter_async_context(asyncio.TaskGroup()),
    )
    house = House(loaded, outside)
    # Unwinds after both ports: a call that still comes in while they finish may begin a poll.
    stack.callback(house.feeds.close)
    await house.board.open(configured_flags(config))
    data = await _listen(house.data_app(), config.listen.data, stack)
    admin = await _listen(house.admin_app(tokens, stop), config.listen.admin, stack)
    house.start(house.sweep(), "sweeper", stack)
    return house, Bound(data=data, admin=admin)


def configured_flags(config: Config) -> FlagSet:
    """The flag set that a fresh state begins with."""
    flags = config.flags
    return FlagSet(
        elicitation_enabled=flags.elicitation_enabled,
        elicitation_percentage=flags.elicitation_percentage,
        elicitation_whitelist=flags.elicitation_whitelist,
        elicitation_denylist=flags.elicitation_denylist,
        ab_testing_enabled=flags.ab_testing_enabled,
        legacy_fallback=flags.legacy_fallback,
        legacy_support=flags.legacy_support,
        deprecation_warnings=flags.deprecation_warnings,
    )


def _tokens(config: Config) -> tuple[Token, ...]:
    return read_tokens(Path(config.admin.token_file)) if config.admin.token_file else ()


async def _open_store(config: Config, stack: AsyncExitStack) -> FlagStore:
    path = config.state.sqlite_path
    if path is None:
        return MemoryFlagStore()
    writer = await asyncio.to_thread(SqliteWriter, path)
    stack.push_async_callback(asyncio.to_thread, writer.close)
    return SqliteFlagStore(writer)


async def _listen(app: web.Application, address: Address, stack: AsyncExitStack) -> Address:
    runner = PortRunner(app, shutdown_timeout_s=DRAIN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, address.host, address.port, backlog=1024)
    await site.start()
    return Address(address.host, site.port)
