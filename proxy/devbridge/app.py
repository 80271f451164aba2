"""The development Bridge as an aiohttp application: which path opens which door, and the boundary around them all.

Run it only for demos, tests and benchmarks: it keeps no secret, and its switches are open to everybody.
"""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from aiohttp import hdrs, web

from proxy.devbridge import doors_dev, doors_elicitation, doors_legacy
from proxy.devbridge.door import BRIDGE, Door, Handler, guarded, public, reply, switched
from proxy.devbridge.pace import Pace
from proxy.devbridge.settings import Settings
from proxy.devbridge.state import BridgeState
from proxy.devbridge.wire import WireError

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""Source: ours; the Bridge has no bound of its own, and its refusal of long texts must be reached."""

RESPOND_PATH: Final = "/elicitation/respond"

_Entry = tuple[str, str, Callable[[Door], Handler], Door]

_DOORS: Final[tuple[_Entry, ...]] = (
    (hdrs.METH_GET, "/health", public, doors_legacy.health),
    (hdrs.METH_GET, "/status", public, doors_legacy.status),
    (hdrs.METH_POST, "/session/create", public, doors_legacy.create_session),
    (hdrs.METH_POST, "/session/validate", public, doors_legacy.validate_session),
    (hdrs.METH_POST, "/event/store", guarded, doors_legacy.store),
    (hdrs.METH_GET, "/event/query", guarded, doors_legacy.query),
    (hdrs.METH_GET, "/event/wait", guarded, doors_legacy.wait),
    (hdrs.METH_POST, "/validate", guarded, doors_legacy.validate_command),
    (hdrs.METH_POST, "/expert/register", guarded, doors_legacy.register_expert),
    (hdrs.METH_POST, "/task/dispatch", guarded, doors_legacy.dispatch_task),
    (hdrs.METH_POST, "/collaboration/start", guarded, doors_legacy.start_collaboration),
    (hdrs.METH_POST, "/elicitation/create", switched, doors_elicitation.create),
    (hdrs.METH_GET, "/elicitation/pending", switched, doors_elicitation.pending),
    (hdrs.METH_GET, "/elicitation/status/{elicitation_id}", switched, doors_elicitation.status),
    (hdrs.METH_POST, RESPOND_PATH, switched, doors_elicitation.respond),
    (hdrs.METH_GET, "/elicitation/metrics", switched, doors_elicitation.metrics),
    (hdrs.METH_GET, "/dev/switches", public, doors_dev.read_switches),
    (hdrs.METH_POST, "/dev/switches", public, doors_dev.set_switches),
    (hdrs.METH_GET, "/dev/counters", public, doors_dev.counters),
)


def build_app(settings: Settings, *, pace: Pace | None = None) -> web.Application:
    """A development Bridge that is not yet listening; `pace` lets tests pass time by hand.

    Serve it with `handler_cancellation=True`, so that a wait ends when its caller leaves.
    """
    app = web.Application(middlewares=[boundary], client_max_size=MAX_BODY_BYTES)
    app[BRIDGE] = BridgeState(settings, pace or Pace())
    app.cleanup_ctx.append(_lifetime)
    for method, path, kind, door in _DOORS:
        app.router.add_route(method, path, kind(door))
    app.router.add_get("/ws/{agent_id}", doors_legacy.echo_socket, allow_head=False)
    return app


@web.middleware
async def boundary(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count what arrives, put refusals into the Bridge's words, and save before anything is shown."""
    bridge = request.app[BRIDGE]
    _count(bridge, request)
    try:
        response = await handler(request)
    except WireError as refusal:
        response = reply({"detail": refusal.detail}, refusal.status)
    except web.HTTPMethodNotAllowed as refusal:
        response = reply({"detail": "Method Not Allowed"}, refusal.status)
        response.headers[hdrs.ALLOW] = ", ".join(sorted(refusal.allowed_methods))
    except web.HTTPNotFound as refusal:
        response = reply({"detail": "Not Found"}, refusal.status)
    await bridge.save()
    response.headers[hdrs.DATE] = format_datetime(datetime.fromtimestamp(bridge.pace.wall_s(), UTC), usegmt=True)
    if bridge.switches.lose_respond_reply and request.path == RESPOND_PATH and request.transport is not None:
        # What was done is done and saved; the caller sees a broken connection and cannot know.
        request.transport.abort()
    return response


def _count(bridge: BridgeState, request: web.Request) -> None:
    resource = request.match_info.route.resource
    pattern = "unmatched" if resource is None else resource.canonical
    if not pattern.startswith("/dev/"):
        bridge.arrived[f"{request.method} {pattern}"] += 1


async def _lifetime(app: web.Application) -> AsyncIterator[None]:
    try:
        await app[BRIDGE].open()
        yield
    finally:
        await app[BRIDGE].close()
