"""How a question of a server is put to whoever can answer it, in either era."""

from proxy.core.errors import SchemaRefused
from proxy.mcp.ask import CannotBeAsked, Reply
from proxy.mcp.calling import OnAsk, Outgoing, ServerAsk
from proxy.mcp.client_words import mode_of
from proxy.mcp.jsonrpc import INVALID_PARAMS


async def put_question(ask: ServerAsk, call: Outgoing, on_ask: OnAsk) -> Reply:
    """The reply to a question; one in a way that was not declared, or beyond all bounds, is not even asked.

    Source: PROTOCOL.md 1.1, -32602.
    """
    mode = mode_of(ask.question)
    if mode not in call.modes:
        return CannotBeAsked(INVALID_PARAMS, f"the client has not declared elicitation in {mode.value} mode")
    try:
        return await on_ask(ask)
    except SchemaRefused as refusal:
        return CannotBeAsked(INVALID_PARAMS, refusal.detail)
