"""The data port: which door answers a request, and the checks that stand before all doors."""

from dataclasses import dataclass

from aiohttp import web

from proxy.core.errors import HostRefused
from proxy.core.hosts import is_allowed_host, is_allowed_origin
from proxy.core.outcome import Door
from proxy.core.routing import Owner, owner_of
from proxy.downstream.elicitation_http import ElicitationDoors
from proxy.downstream.problem import error_boundary
from proxy.downstream.relay import Relay, add_relay_route
from proxy.downstream.served import served
from proxy.downstream.wait_http import WaitDoor
from proxy.ports import Clock, Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class DataParts:
    """What the data port is made of."""

    waits: WaitDoor
    elicitations: ElicitationDoors
    relay: Relay
    recorder: Recorder
    clock: Clock
    wait_paths: frozenset[str]
    allowed_hosts: frozenset[str]


def build_data_app(parts: DataParts) -> web.Application:
    """The application of the data port: every path goes through one handler, as anything may be relayed."""
    app = web.Application(middlewares=[error_boundary(parts.recorder.defect)])

    async def answer(request: web.Request) -> web.StreamResponse:
        _check_host(request, parts.allowed_hosts)
        match owner_of(request.method, request.raw_path.partition("?")[0], parts.wait_paths):
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

    add_relay_route(app, answer)
    return app


async def _relay(parts: DataParts, request: web.Request) -> web.StreamResponse:
    with served(request, Door.RELAY, parts.recorder, parts.clock) as draft:
        response = await parts.relay.relay(request)
        draft.status = response.status
        return response


def _check_host(request: web.Request, allowed: frozenset[str]) -> None:
    """Refuse a page of a foreign site that reached us through DNS rebinding.

    A request without Host (HTTP/1.0) comes from no browser and passes.
    """
    host = request.headers.get("Host")
    if host is not None and not is_allowed_host(host, allowed):
        raise HostRefused(f"expected Host to name this sidecar, got {host[:80]!r}; see listen.allowed_hosts")
    origin = request.headers.get("Origin")
    if origin is not None and not is_allowed_origin(origin, allowed):
        raise HostRefused(f"expected Origin to be local, got {origin[:80]!r}; see listen.allowed_hosts")


