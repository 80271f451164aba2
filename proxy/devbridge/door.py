"""What every door has in common: read the call, ask for the token, let the switches interfere, write JSON."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web

from proxy.devbridge.sessions import agent_of
from proxy.devbridge.settings import Switches
from proxy.devbridge.state import BridgeState
from proxy.devbridge.wire import WireError, parse_json

BRIDGE: Final = web.AppKey("bridge", BridgeState)
"""Where the application keeps its Bridge."""

MIN_TOKEN_CHARS: Final = 10
"""A shorter token is not looked up. Source: BRIDGE.md 2.1."""

BROKEN: Final = "'NoneType' object has no attribute 'create_elicitation'"
"""What a broken elicitation endpoint answers. Source: BRIDGE.md 2.6, blocker P1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request as a door sees it; `now` is the second since the epoch it arrived at."""

    request: web.Request
    query: dict[str, str]
    body: object
    now: float
    token: str = ""

    @property
    def agent_id(self) -> str:
        """The agent that the token names."""
        return agent_of(self.token)


Door = Callable[[BridgeState, Call], Awaitable[object]]
"""Serves one call with a JSON value, or raises a WireError."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def reply(value: object, status: int = 200) -> web.Response:
    """One JSON answer."""
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


def public(door: Door) -> Handler:
    """A door that asks for no token."""

    async def handle(request: web.Request) -> web.StreamResponse:
        bridge = request.app[BRIDGE]
        return reply(await door(bridge, await _read_call(request, bridge.tick())))

    return handle


def guarded(door: Door) -> Handler:
    """A door that asks for a token first."""

    async def handle(request: web.Request) -> web.StreamResponse:
        bridge = request.app[BRIDGE]
        call = await _read_call(request, bridge.tick())
        return reply(await door(bridge, _authenticated(bridge, call)))

    return handle


def switched(door: Door) -> Handler:
    """A guarded door whose calls the switches may delay, hang or fail; the older Bridge does not have it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        bridge = request.app[BRIDGE]
        if not bridge.switches.elicitation:
            raise web.HTTPNotFound
        call = _authenticated(bridge, await _read_call(request, bridge.tick()))
        await _interfere(bridge)
        return reply(await door(bridge, call))

    return handle


async def _read_call(request: web.Request, now: float) -> Call:
    # Of a repeated parameter the last one counts. Source: BRIDGE.md 2.3.
    body = parse_json(await request.read()) if request.method == "POST" else None
    return Call(request=request, query=dict(request.query.items()), body=body, now=now)


def _authenticated(bridge: BridgeState, call: Call) -> Call:
    scheme, _, token = call.request.headers.get("Authorization", "").partition(" ")
    if not scheme or not token:
        raise WireError(403, "Not authenticated")
    if scheme.lower() != "bearer":
        raise WireError(403, "Invalid authentication credentials")
    if len(token) < MIN_TOKEN_CHARS:
        raise WireError(401, "Invalid authentication token")
    if not bridge.has_session(token, agent_of(token), call.now):
        raise WireError(403, "Authentication token is not valid or has expired")
    return Call(request=call.request, query=call.query, body=call.body, now=call.now, token=token)


async def _interfere(bridge: BridgeState) -> None:
    if bridge.switches.slow_ms:
        await bridge.pace.sleep(bridge.switches.slow_ms / 1000)
    while bridge.switches.hang_elicitation:
        await bridge.until_switched()
    switches: Switches = bridge.switches
    if switches.fail_next:
        bridge.set_switches({"fail_next": switches.fail_next - 1})
        raise WireError(500, BROKEN)
    if switches.fail_elicitation:
        raise WireError(500, BROKEN)
