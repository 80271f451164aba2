"""The doors of `/elicitation/*`, as the Bridge documents them and as they work once its blockers are removed."""

from typing import Final

from proxy.devbridge.door import Call
from proxy.devbridge.elicitations import Answer, Ask
from proxy.devbridge.state import BridgeState
from proxy.devbridge.wire import Fields, WireError, object_of, wrapped

NOT_STARTED: Final = "Elicitation manager not initialized"
"""What is said before the first create. Source: BRIDGE.md 2.5."""


async def create(bridge: BridgeState, call: Call) -> object:
    """Put a question in any agent's name; the first one starts the book."""
    body = Fields("body", object_of(call.body))
    from_agent, to_agent, message = body.text("from_agent"), body.text("to_agent"), body.text("message")
    schema = body.mapping_or("schema")
    timeout_s = body.whole("timeout_seconds", 30)
    body.mapping_or("metadata", nullable=True)
    body.done()
    if not bridge.book.is_started:
        bridge.book.start(bridge.log.everything(), call.now)
    if schema is None:
        # The real field hides a method of its model, so it is not required and the method is stored in its place.
        raise WireError(500, "Object of type method is not JSON serializable")
    ask = Ask(from_agent=from_agent, to_agent=to_agent, message=message, schema=schema, timeout_s=timeout_s)
    question = bridge.book.create(ask, call.now, rate_limits=bridge.switches.rate_limits)
    return {
        "elicitation_id": question.elicitation_id,
        "status": question.status,
        "expires_at": question.expires_at,
        "message": "Elicitation created successfully",
    }


async def pending(bridge: BridgeState, call: Call) -> object:
    """The open questions to any agent, whoever asks."""
    fields = Fields("query", call.query)
    agent_id = fields.text("agent_id")
    fields.done()
    items = bridge.book.pending(agent_id)
    return {"elicitations": items, "count": len(items)}


async def status(bridge: BridgeState, call: Call) -> object:
    """How one question stands; the answer's data is not shown."""
    if not bridge.book.is_started:
        raise WireError(503, NOT_STARTED)
    return bridge.book.status(call.request.match_info["elicitation_id"])


async def respond(bridge: BridgeState, call: Call) -> object:
    """Answer or cancel a question; the token is validated a second time, as the responding agent's."""
    body = Fields("body", object_of(call.body))
    elicitation_id, agent_id = body.text("elicitation_id"), body.text("responding_agent")
    kind = body.text("response_type")
    data = body.mapping_or("data", nullable=True)
    body.mapping_or("metadata", nullable=True)
    body.done()
    if not bridge.book.is_started:
        raise wrapped(503, NOT_STARTED)
    answer = Answer(
        elicitation_id=elicitation_id,
        agent_id=agent_id,
        kind=kind,
        data=data,
        token_is_valid=bridge.switches.anybody_answers or bridge.has_session(call.token, agent_id, call.now),
    )
    switches = bridge.switches
    bridge.book.respond(answer, call.now, rate_limits=switches.rate_limits, anybody_answers=switches.anybody_answers)
    return {"status": "success", "message": f"Elicitation {elicitation_id} {kind}ed"}


async def metrics(bridge: BridgeState, _call: Call) -> object:
    """Performance, security and activity."""
    return bridge.book.metrics() if bridge.book.is_started else {"message": NOT_STARTED}
