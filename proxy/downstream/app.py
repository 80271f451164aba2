"""The data port: which door answers a request, and the checks that stand before all doors."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from proxy.core.errors import HostRefused, InvalidInput, SidecarError
from proxy.core.hop import upstream_target
from proxy.core.hosts import is_allowed_host, is_allowed_origin
from proxy.core.outcome import Door
from proxy.core.routing import Owner, owner_of
from proxy.downstream.bus_http import BusDoors
from proxy.downstream.connection import ENDS_WITH_PEER
from proxy.downstream.elicitation_http import ElicitationDoors
from proxy.downstream.gate import Gate
from proxy.downstream.ingress import IngressDoors
from proxy.downstream.limit_reply import tell_limits
from proxy.downstream.mcp_http import McpDoor
from proxy.downstream.problem import error_boundary
from proxy.downstream.relay import Relay, add_relay_route
from proxy.downstream.served import served
from proxy.downstream.sse_endpoint import SseDoors
from proxy.downstream.wait_http import WaitDoor
from proxy.ports import Clock, Recorder

_DOORS: Final[Mapping[Owner, Door]] = MappingProxyType(
    {
        Owner.WAIT: Door.WAIT,
        Owner.STORE: Door.STORE,
        Owner.CREATE: Door.CREATE,
        Owner.RESPOND: Door.RESPOND,
        Owner.RELAY: Door.RELAY,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataParts:
    """What the data port is made of."""

    waits: WaitDoor
    elicitations: ElicitationDoors
    mcp: McpDoor
    relay: Relay
    recorder: Recorder
    clock: Clock
    wait_paths: frozenset[str]
    mcp_path: str
    allowed_hosts: frozenset[str]
    sse: SseDoors
    gate: Gate | None = None
    """Who calls, signatures and limits; None where nothing of it is asked for."""
    ingress: IngressDoors | None = None
    """In front of the Bridge: they take every call."""
    bus: BusDoors | None = None
    """Before a Bridge that may have no elicitation."""


def build_data_app(parts: DataParts) -> web.Application:
    """The application of the data port: every path goes through one handler, as anything may be relayed."""
    app = web.Application(middlewares=[error_boundary(parts.recorder.defect)])
    app.on_response_prepare.append(tell_limits)

    async def answer(request: web.Request) -> web.StreamResponse:
        path = _path_of(request.raw_path)
        owner = owner_of(request.method, path, parts.wait_paths)
        # A server that knows `/mcp/` serves it as `/mcp` or redirects there.
        is_mcp = path in {parts.mcp_path, f"{parts.mcp_path}/"}
        refusal = _foreign_name(request, parts.allowed_hosts) or _two_paths(request.raw_path)
        door = Door.MCP if is_mcp else _DOORS[owner]
        if refusal is not None:
            with served(request, door, parts.recorder, parts.clock):
                raise refusal
        try:
            refused = await _let_in(parts, request, path, is_mcp=is_mcp)
        except (SidecarError, asyncio.CancelledError) as end:
            if is_mcp and isinstance(end, SidecarError):
                return await parts.mcp.refuse(request, end)
            with served(request, door, parts.recorder, parts.clock):
                raise
        if refused is not None:
            return refused
        status = 0
        try:
            response = await _pass_on(parts, request, path, owner, is_mcp=is_mcp)
            status = response.status
        finally:  # what came of a body is spent, also where no reply did, or the agent left
            if parts.gate is not None:
                await parts.gate.answered(request, path, status)
        return response

    add_relay_route(app, answer)
    return app


async def _let_in(parts: DataParts, request: web.Request, path: str, *, is_mcp: bool) -> web.Response | None:
    """Judge a call before all doors; the Bridge's own refusal, where it would not even be asked.

    Raises:
        SidecarError: it may not come in.
    """
    # In front of the Bridge no door looks into messages any more.
    is_for_door = is_mcp and parts.ingress is None
    if parts.gate is not None:
        is_message = request.method == "POST" and parts.sse.takes("POST", path, request.raw_path)
        await parts.gate.let_in(request, path, is_mcp=is_for_door, is_message=is_message)
    if parts.ingress is None:
        return None
    if is_mcp:
        parts.mcp.trust.judge_session(request)
    return await parts.ingress.check(request, path, is_mcp=is_mcp)


async def _pass_on(
    parts: DataParts, request: web.Request, path: str, owner: Owner, *, is_mcp: bool
) -> web.StreamResponse:
    if parts.ingress is not None:
        on_head = parts.mcp.trust.opening(request) if is_mcp else None
        return await parts.ingress.serve(request, path, is_mcp=is_mcp, on_head=on_head)
    if is_mcp:
        # To leave is how an MCP client cancels; the relay takes this back while it sends.
        request[ENDS_WITH_PEER] = True
        return await parts.mcp.serve(request)
    carried = await parts.bus.serve(request, path) if parts.bus is not None else None
    return await _answer(parts, request, owner) if carried is None else carried


async def _answer(parts: DataParts, request: web.Request, owner: Owner) -> web.StreamResponse:
    match owner:
        case Owner.WAIT:
            return await parts.waits.serve(request)
        case Owner.STORE:
            return await parts.elicitations.store(request)
        case Owner.CREATE:
            return await parts.elicitations.create(request)
        case Owner.RESPOND:
            return await parts.elicitations.respond(request)
        case Owner.RELAY:
            return await _relay(parts, request)


def _path_of(target: str) -> str:
    """The path that the Bridge will see, whatever the spelling: decoded once, without authority and query."""
    raw = upstream_target(target.partition("?")[0].encode("utf-8", "surrogateescape"))
    return unquote(raw.decode("utf-8", "replace"))


async def _relay(parts: DataParts, request: web.Request) -> web.StreamResponse:
    if parts.sse.takes(request.method, _path_of(request.raw_path), request.raw_path):
        return await parts.sse.serve(request)
    with served(request, Door.RELAY, parts.recorder, parts.clock) as draft:
        response = await parts.relay.relay(request)
        draft.status = response.status
        return response


def _two_paths(target: str) -> SidecarError | None:
    """The refusal of a target with a fragment, or None.

    None belongs there (RFC 9112 section 3.2), and readers differ: for some it is a part of the path, others cut it
    off, so that a call would be one thing for us and another for the Bridge.
    """
    return InvalidInput("expected a target without a fragment; write # as %23") if "#" in target else None


def _foreign_name(request: web.Request, allowed: frozenset[str]) -> SidecarError | None:
    """The refusal of a page of a foreign site that reached us through DNS rebinding, or None.

    A request without Host (HTTP/1.0) comes from no browser and passes.
    """
    host = request.headers.get("Host")
    if host is not None and not is_allowed_host(host, allowed):
        return HostRefused(f"expected Host to name this sidecar, got {host[:80]!r}; see listen.allowed_hosts")
    origin = request.headers.get("Origin")
    if origin is not None and not is_allowed_origin(origin, allowed):
        return HostRefused(f"expected Origin to be local, got {origin[:80]!r}; see listen.allowed_hosts")
    return None
