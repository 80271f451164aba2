"""Which Bridge the house reaches for: its own calls, its event log, or whichever it turns out to have."""

from dataclasses import dataclass
from secrets import token_bytes
from uuid import uuid4

from proxy.config.schema import Config
from proxy.core.event_seal import EventSeal
from proxy.ports import Bridge, Clock, McpUpstream, QuestionBus, SendBridge, Spawn
from proxy.upstream.bridge_auto import AutoBridge
from proxy.upstream.bridge_bus import BusBridge
from proxy.upstream.bridge_http import HttpBridge
from proxy.upstream.bridge_mcp import McpBridge


@dataclass(frozen=True, slots=True)
class ChosenBridge:
    """The way to the Bridge."""

    bridge: Bridge
    bus: QuestionBus | None = None
    """The same as a bus for questions, where it may be one."""
    asking: McpBridge | None = None
    """The same as a server that asks by itself, where it is one."""
    sends: SendBridge | None = None
    """Where agents are spoken for by their sidecars; None where the Bridge has no such calls."""


def choose_bridge(
    config: Config, http: HttpBridge, upstream: McpUpstream, *, clock: Clock, spawn: Spawn, seal: EventSeal
) -> ChosenBridge:
    """The way that `bridge.source` names, on the Bridge's HTTP interface or its MCP server.

    `seal` is for what travels as events.
    """
    if config.bridge.source == "mcp":
        asking = McpBridge(
            upstream,
            tool=config.wait.tools[0],
            clock=clock,
            spawn=spawn,
            chance=token_bytes,
            park_s=config.bridge.park_s,
            max_parked_calls=config.bridge.max_parked_calls,
            request_timeout_s=config.bridge.request_timeout_s,
        )
        return ChosenBridge(asking, asking=asking)
    if config.bridge.source not in {"bus", "auto"}:
        return ChosenBridge(http, sends=http)
    bus = BusBridge(http, clock, mint=lambda: uuid4().hex, seal=seal)
    if config.bridge.source == "bus":
        return ChosenBridge(bus, bus, sends=http)
    auto = AutoBridge(http, bus, clock, reprobe_s=config.breaker.incapable_s)
    return ChosenBridge(auto, auto, sends=http)
