"""Keeps a house running: opens what it stands on, listens, and takes everything down in order.

It owns the outermost TaskGroup: every task of the sidecar is born there and has ended when the house is left.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from proxy.config.exposure import check_exposure
from proxy.config.load import Loaded
from proxy.config.schema import Config
from proxy.config.shapes import Address
from proxy.config.tokens import Token, read_tokens
from proxy.core.flags import FlagSet
from proxy.downstream.connection import AGENTS_BOUNDS, OPERATORS_BOUNDS, PortBounds, PortRunner, PortSite
from proxy.ports import Clock
from proxy.wiring.announce import say_started, say_stopped
from proxy.wiring.audit import note_started
from proxy.wiring.clock import LoopClock
from proxy.wiring.house import House
from proxy.wiring.outside import Outside, open_outside
from proxy.wiring.reload import ConfigSource, reload_when_wanted, watch_file

DRAIN_S: Final = 0.3
"""How long calls may go on after a stop, in seconds.

Source: ARCHITECTURE.md 2.6, an exit takes less than 2 s; aiohttp waits this long twice.
"""

GIVE_UP_S: Final = 0.2
"""How long an answer may be on its way to the Bridge after a stop, in seconds; then its caller is told.

Source: ours, before the connections end; a Bridge takes an answer within milliseconds.
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
        ConfigError: the token file, a certificate or its key is not in order.
        StateUnavailable: the state store cannot be opened.
        OSError: an address cannot be bound.
    """
    try:
        async with AsyncExitStack() as stack:
            house, bound, outside = await _open(loaded, stack, stop, clock or LoopClock())
            house.start(outside.tls.keep_fresh(), "certificates", stack)
            if source is not None:
                files = (outside.tls.wanted, outside.signing.keys.wanted)
                house.start(reload_when_wanted(house, source, *files), "reload", stack)
                house.start(watch_file(source), "watch of the configuration", stack)
            note_started(house.audit)
            say_started(
                house.config, {"data": bound.data, "admin": bound.admin}, flags_version=house.board.flags.version
            )
            ready(bound)
            await stop.wait()
            house.drain()
            house.give_up_after(GIVE_UP_S)
            # The stack now unwinds: both ports finish what they serve, polls end, then sessions and state close.
    except ExceptionGroup as group:
        # A TaskGroup wraps even its own body's error; the start has exactly one.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
    say_stopped()


async def _open(
    loaded: Loaded, stack: AsyncExitStack, stop: asyncio.Event, clock: Clock
) -> tuple[House, Bound, Outside]:
    config = loaded.config
    tokens = await asyncio.to_thread(read_admin_tokens, config)
    outside = await open_outside(config, clock, stack)
    tls = outside.tls
    data_tls, admin_tls = await tls.data(), await tls.admin()
    house = House(loaded, outside)
    await house.open(configured_flags(config), stack)
    ports = (AsyncExitStack(), AsyncExitStack())
    stack.push_async_callback(_close_together, ports)
    admits = house.doorman.admits
    agents, operators = partial(admits, is_operators=False), partial(admits, is_operators=True)
    data = await listen(house.data_app(), config.listen.data, ports[0], admits=agents, tls=data_tls)
    house.called_at(data)
    admin = await listen(
        house.admin_app(tokens, stop),
        config.listen.admin,
        ports[1],
        admits=operators,
        bounds=OPERATORS_BOUNDS,
        tls=admin_tls,
    )
    house.start(house.sweep(), "sweeper", stack)
    watch_state(house, outside, clock, stack)
    return house, Bound(data=data, admin=admin), outside


def watch_state(house: House, outside: Outside, clock: Clock, stack: AsyncExitStack) -> None:
    """Where another process uses the state file, look until it does not; the stack ends it."""
    use = outside.kept.use
    if use is not None and not use.is_ours:
        house.start(use.keep_looking(clock, house.board.read_again), "use of the state file", stack)


async def _close_together(stacks: Iterable[AsyncExitStack]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in stacks:
            group.create_task(each.aclose())


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


def read_admin_tokens(config: Config) -> tuple[Token, ...]:
    """The tokens of the admin port; none where no file of them is configured. Reads the file: not on the event loop.

    Raises:
        ConfigError: the token file is not in order, or missing where the port can be reached from elsewhere.
    """
    check_exposure(config)
    return read_tokens(Path(config.admin.token_file)) if config.admin.token_file else ()


async def listen(
    app: web.Application,
    address: Address,
    stack: AsyncExitStack,
    *,
    admits: Callable[[int], bool] = lambda _: True,
    bounds: PortBounds = AGENTS_BOUNDS,
    tls: ssl.SSLContext | None = None,
) -> Address:
    """Serve an application on an address until the stack unwinds; where it is bound, with the port resolved.

    `admits` is asked with the descriptor of each new connection whether it may stay, within the `bounds`. With `tls`
    the port speaks TLS.

    Raises:
        OSError: the address cannot be bound.
    """
    runner = PortRunner(app, shutdown_timeout_s=DRAIN_S, admits=admits, bounds=bounds)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = PortSite(runner, address.host, address.port, ssl_context=tls, backlog=1024)
    await site.start()
    return Address(address.host, site.port)
