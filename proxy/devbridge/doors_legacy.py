"""The doors of the legacy Bridge: health, status, Bridge sessions, events, the long poll, experts, the echo socket."""

import uuid
from collections.abc import Mapping

from aiohttp import WSMsgType, web

from proxy.devbridge.content import MAX_AGENT_CHARS
from proxy.devbridge.door import Call
from proxy.devbridge.events import QUERY_CAP, Draft, StoredEvent, stored_type
from proxy.devbridge.state import BridgeState
from proxy.devbridge.wire import Fields, WireError, object_of, parse_json


async def health(_bridge: BridgeState, _call: Call) -> object:
    """Static, as on the real Bridge."""
    return {"status": "healthy", "service": "lighthouse-bridge"}


async def status(bridge: BridgeState, _call: Call) -> object:
    """Components and counts; the real Bridge's uptime is always 0."""
    components = {"event_store": "operational", "speed_layer": "operational"}
    return {
        "status": "operational",
        "mode": "normal",
        "components": components | {"expert_coordinator": "operational", "fuse_mount": "unavailable"},
        "active_agents": len(bridge.experts.registered),
        "pending_validations": 0,
        "uptime_seconds": 0.0,
    }


async def create_session(bridge: BridgeState, call: Call) -> object:
    """Open a Bridge session for any agent id."""
    body = Fields("body", object_of(call.body))
    agent_id, address = body.text("agent_id"), body.text("ip_address")
    user_agent = body.text("user_agent")
    body.done()
    session = bridge.sessions.open(agent_id, address, user_agent, call.now)
    return {
        "session_id": session.session_id,
        "session_token": session.token,
        "expires_at": str(call.now + 3600.0),
        "agent_id": agent_id,
    }


async def validate_session(bridge: BridgeState, call: Call) -> object:
    """Say whether a token is an agent's; never an error."""
    body = Fields("body", object_of(call.body))
    token, agent_id = body.text("session_token"), body.text("agent_id")
    address, user_agent = body.text_or("ip_address", ""), body.text_or("user_agent", "")
    body.done()
    valid = bridge.sessions.validate(
        token,
        agent_id,
        call.now,
        abuse_rule=bridge.switches.abuse_rule,
        ip_address=address,
        user_agent=user_agent,
    )
    return {"valid": valid}


async def store(bridge: BridgeState, call: Call) -> object:
    """Store one event under any agent's name."""
    event = bridge.append(_read_draft(object_of(call.body, loose=True)), call.now)
    return {
        "event_id": event.event_id(),
        "status": "stored",
        "message": f"Event EventType.{event.draft.event_type.upper()} stored successfully",
        "sequence": event.sequence,
    }


async def query(bridge: BridgeState, call: Call) -> object:
    """The oldest events; every filter is ignored, as on the real Bridge."""
    fields = Fields("query", call.query)
    limit = fields.whole("limit", 100)
    fields.done()
    if limit < 1:
        text = "Input should be greater than or equal to 1"
        raise WireError(500, f"1 validation error for EventQuery\nlimit\n  {text}")
    events = [event.query_item() for event in bridge.log.oldest(min(limit, QUERY_CAP))]
    return {"events": events, "count": len(events), "message": f"Found {len(events)} events matching query"}


async def wait(bridge: BridgeState, call: Call) -> object:
    """The long poll: look at once, then once a second, until something is there or the time is over."""
    fields = Fields("query", call.query)
    fields.text("agent_id")
    since, asked = fields.whole("since_sequence", 0), fields.whole("timeout_seconds", 60)
    fields.done()
    with bridge.parked():
        events, waited_s = await _poll(bridge, since, min(asked, bridge.settings.wait_cap_s))
    if events:
        items = [event.wait_item() for event in events]
        return {"events": items, "count": len(items), "waited_seconds": waited_s, "status": "new_events"}
    return {"events": [], "count": 0, "waited_seconds": asked, "status": "timeout"}


async def register_expert(bridge: BridgeState, call: Call) -> object:
    """Register any agent as an expert; the token is validated a second time."""
    body = Fields("body", object_of(call.body))
    agent_id = body.text("agent_id")
    body.text("agent_type")
    body.texts("capabilities")
    body.done()
    bridge.has_session(call.token, call.agent_id, call.now)
    return bridge.experts.register(agent_id, call.agent_id)


async def dispatch_task(bridge: BridgeState, call: Call) -> object:
    """Give a task to an expert."""
    return bridge.experts.dispatch(object_of(call.body, loose=True).get("target_agent"))


async def start_collaboration(bridge: BridgeState, call: Call) -> object:
    """Start a collaboration; the token is validated a second time."""
    body = object_of(call.body, loose=True)
    bridge.has_session(call.token, call.agent_id, call.now)
    return bridge.experts.collaborate(call.agent_id, body.get("participants", []))


async def validate_command(_bridge: BridgeState, call: Call) -> object:
    """Judge a command; never approved, as on the real Bridge."""
    body = Fields("body", object_of(call.body))
    body.text("tool_name")
    body.mapping("tool_input")
    body.text("agent_id")
    body.done()
    return {
        "approved": False,
        "reasoning": "Policy rule allow_safe_tools: Safe tool usage",
        "confidence": 0.95,
        "processing_time_ms": 0.1,
        "metadata": {"risk_level": "low", "cache_hit": False, "expert_required": False},
    }


async def echo_socket(request: web.Request) -> web.StreamResponse:
    """The WebSocket that answers ping with pong, keeps quiet on subscribe, and echoes everything else."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for frame in socket:
        said = _read_frame(frame.data) if frame.type is WSMsgType.TEXT else None
        if said is None:
            # The real server dies of anything but an object; its close is abnormal.
            await socket.close(code=1011)
        elif said.get("type") == "ping":
            await socket.send_json({"type": "pong"})
        elif said.get("type") != "subscribe":
            await socket.send_json({"type": "response", "data": f"Received: {said}"})
    return socket


def _read_frame(text: str) -> dict[str, object] | None:
    try:
        value = parse_json(text.encode())
    except WireError:
        return None
    return value if isinstance(value, dict) else None


def _read_draft(body: Mapping[str, object]) -> Draft:
    agent_id = body.get("agent_id", "http_server")
    if not isinstance(agent_id, str) or len(agent_id) > MAX_AGENT_CHARS:
        text = f"expected a string of at most {MAX_AGENT_CHARS} characters"
        raise WireError(500, f"1 validation error for AgentIdentity\nagent_id\n  {text}")
    event_type = body.get("event_type", "SYSTEM_STARTED")
    if not isinstance(event_type, str):
        raise WireError(500, f"'{type(event_type).__name__}' object has no attribute 'upper'")
    data = body.get("data", {})
    if not isinstance(data, dict):
        raise WireError(500, "1 validation error for Event\ndata\n  Input should be a valid dictionary")
    return Draft(
        event_type=stored_type(event_type),
        data=data,
        source_agent=agent_id,
        source_component="http_server",
        aggregate_id=str(body.get("aggregate_id", uuid.uuid4())),
        aggregate_type=str(body.get("aggregate_type", "http_server")),
    )


async def _poll(bridge: BridgeState, since: int, span_s: float) -> tuple[list[StoredEvent], float]:
    settings, pace = bridge.settings, bridge.pace
    started = pace.monotonic_s()
    # No time means no look: a wait of 0 s never sees what is there. Source: BRIDGE.md 2.3.
    while (elapsed := pace.monotonic_s() - started) < span_s:
        bridge.tick()
        found = [] if bridge.switches.shipped_wait else bridge.log.after(since, settings.wait_limit)
        if found:
            return found, round(pace.monotonic_s() - started, 6)
        await pace.sleep(min(settings.poll_s, span_s - elapsed))
    return [], 0.0
