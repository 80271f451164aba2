"""Opens what a house stands on and reaches for: state, the Bridge, the MCP server."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from yarl import URL

from proxy.config.schema import Config
from proxy.core.contact import Contact
from proxy.downstream.relay import Relay
from proxy.downstream.relay_upstream import open_relay_session
from proxy.flows.errands import Errands
from proxy.observe.logs import logger
from proxy.ports import Bridge, Clock, FlagStore, QuestionBus, SendBridge
from proxy.upstream.bridge_http import HttpBridge
from proxy.upstream.bridge_mcp import McpBridge
from proxy.upstream.mcp_client import HttpMcpUpstream
from proxy.upstream.mcp_http import HttpMcpServer
from proxy.upstream.session import open_bridge_session
from proxy.wiring.announce import announce
from proxy.wiring.bridge_clock import BridgeClock
from proxy.wiring.bridges import choose_bridge
from proxy.wiring.mcp_rooms import McpOutside
from proxy.wiring.outgoing import Signing, open_signing
from proxy.wiring.state import Kept, open_state
from proxy.wiring.tls import Tls

_log: Final = logger("proxy.wiring.outside")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the house stands on and reaches for."""

    store: FlagStore
    kept: Kept
    """What an earlier process has kept, and where this one keeps it."""
    bridge: Bridge
    rest: Bridge
    """The Bridge's own elicitation, whatever `bridge.source` is."""
    relay: Relay
    mcp: McpOutside
    """The way to the MCP server, which may be elsewhere."""
    clock: BridgeClock
    machine: Clock
    """The time of this machine, by which signatures are made and judged: a Bridge has no say in how long one is good.
    """
    group: asyncio.TaskGroup
    tls: Tls
    """Of the way to the Bridge, and of our ports."""
    signing: Signing
    """The keys by which agents sign, and what is signed with them."""
    contacts: tuple[Contact, ...] = ()
    """Whether those that we call can be reached."""
    bus: QuestionBus | None = None
    """The Bridge as a bus for questions, where it may be one."""
    asking: McpBridge | None = None
    """The Bridge as a server that asks by itself, where it is one."""
    sends: SendBridge | None = None
    """The Bridge as far as agents are spoken for by their sidecars."""

    def reasons(self) -> list[str]:
        """What of it is not as it should be, for operators."""
        return [*self.kept.reasons(), *self.tls.reasons(), *self.signing.keys.reasons()]


async def open_outside(config: Config, machine: Clock, stack: AsyncExitStack) -> Outside:
    """Open everything; the stack closes it, the tasks first. `machine` is the clock of this machine.

    Raises:
        StateUnavailable: the state store cannot be opened.
        ConfigError: a certificate, a key, the key file or the authorities for the Bridge are not in order.
    """
    tls = Tls(config, machine)
    trusted = await tls.bridge()
    clock = BridgeClock(machine)
    state = await open_state(config, clock, stack)
    signing = await open_signing(config, machine)
    connect_s, limit_s = config.bridge.connect_timeout_s, config.bridge.request_timeout_s
    relay_session = await stack.enter_async_context(open_relay_session(connect_timeout_s=connect_s, tls=trusted))
    url, mcp_url = URL(config.bridge.url), URL(config.bridge.mcp_url or config.bridge.url)
    ours = open_bridge_session(
        connect_timeout_s=connect_s, tls=trusted, bridge=url.origin(), dated=clock.heard, signer=signing.signer
    )
    session = await stack.enter_async_context(ours)
    group = await stack.enter_async_context(asyncio.TaskGroup())
    endpoint = mcp_url.with_path(config.bridge.mcp_path)

    def spawn(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
        return group.create_task(work, name=name)

    stack.callback(spawn(signing.keys.keep_fresh(), "key file").cancel)
    # Unwinds from below: calls are given up, the server has a moment to hear of it, then what is left is dropped.
    errands = Errands(spawn)
    stack.callback(errands.close)
    contacts = (_contact("the Bridge", clock), _contact("the MCP server", clock))
    upstream = HttpMcpUpstream(
        session, endpoint, clock=clock, spawn=errands.begin, request_timeout_s=limit_s, contact=contacts[1]
    )
    stack.push_async_exit(partial(_say_goodbye, upstream))
    http = HttpBridge(session, url, request_timeout_s=limit_s, contact=contacts[0])
    chosen = choose_bridge(config, http, upstream, clock=clock, spawn=spawn, seal=signing.seal)
    return Outside(
        store=state.flags,
        kept=state.kept,
        bridge=chosen.bridge,
        rest=http,
        bus=chosen.bus,
        asking=chosen.asking,
        sends=chosen.sends,
        contacts=contacts,
        relay=Relay(relay_session, url, contacts[0], signing.head(url)),
        mcp=McpOutside(
            relay=Relay(relay_session, mcp_url, contacts[1], signing.head(mcp_url)),
            server=HttpMcpServer(session, endpoint, request_timeout_s=limit_s),
            upstream=upstream,
            exchanges=state.exchanges,
        ),
        clock=clock,
        machine=machine,
        group=group,
        tls=tls,
        signing=signing,
    )


async def _say_goodbye(upstream: HttpMcpUpstream, died_of: type[BaseException] | None, *_: object) -> None:
    if died_of is None:  # a house that falls in has no tasks to do it with
        await upstream.close()


def _contact(name: str, clock: Clock) -> Contact:
    return announce(Contact(name, clock.now, hear=lambda why: _log.error("not trusted", peer=name, problem=why)))
