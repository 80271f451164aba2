"""How a question of a server is put to whoever can answer it, in either era."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from proxy.core.errors import BridgeFault, BridgeUnavailable, SchemaRefused
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


def tell(asks: Iterable[ServerAsk], fault: BridgeFault | None = None) -> None:
    """Tell what became of the replies to these questions."""
    for ask in asks:
        ask.arrival.tell(fault)


@contextmanager
def arriving(asks: Iterable[ServerAsk]) -> Iterator[None]:
    """A block that brings the replies to these questions to the server; what it has not told has not arrived."""
    try:
        yield
    except BridgeFault as fault:
        tell(asks, fault)
        raise
    finally:
        tell(asks, BridgeUnavailable("the request was over before the MCP server had taken the answer"))
