"""The legacy wait as a call of our own to an MCP server's wait tool: write its parameters, read its result.

Source: BRIDGE.md 3; PROTOCOL.md 4.2, A0 x B2 and A0 x B3.
"""

from typing import Final

import orjson

from proxy.core.errors import BadBridgeReply, BridgeRefused, BridgeUnavailable, InvalidInput
from proxy.core.ids import AgentId, parse_agent_id
from proxy.core.legacy import Message, parse_wait_reply
from proxy.core.mismatch import clip, describe
from proxy.mcp.jsonrpc import Response, members, read_error, read_value

CALL: Final = "tools/call"
"""Source: MCP, "Calling Tools"."""

_SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
"""Where a server of the envelope era says who it is. Source: PROTOCOL.md 2.2."""

_FAILED: Final = 502
"""What an agent hears where the tool itself failed. Source: RFC 9110 section 15.6.3."""


def wait_params(tool: str, agent_id: AgentId, *, since: int, timeout_s: int) -> bytes:
    """The parameters of a `tools/call` that waits."""
    arguments = {"agent_id": agent_id, "since_sequence": since, "timeout_seconds": timeout_s}
    return orjson.dumps({"name": tool, "arguments": arguments})


def read_wait_result(response: Response) -> tuple[Message, ...]:
    """The messages that a wait tool returned, ascending by sequence.

    Raises:
        BridgeRefused: the server refused the call, or the tool failed; its words are for the agent.
        BridgeUnavailable: the tool says that it could not reach what it asks.
        BadBridgeReply: not the promised shape.
    """
    try:
        if response.error is not None:
            raise _refused(read_error(response.error).message)
        result = members(response.result or b"null")
        text = _text_of(result.get("content", b"null"))
        if result.get("isError") == b"true":
            raise _refused(text)
        return _messages(text)
    except InvalidInput as flaw:
        raise BadBridgeReply(f"the wait tool: {flaw.detail}") from flaw


def _text_of(content: bytes) -> str:
    """The first text among the contents of a result."""
    items = read_value(content)
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and item.get("type") == "text" and isinstance(item.get("text"), str):
            return str(item["text"])
    raise InvalidInput(f"expected content with a text, got {describe(items)}")


def _messages(text: str) -> tuple[Message, ...]:
    body = text.encode()
    found = members(body)
    if "events" not in found and "error" in found:  # what the tool makes of a Bridge that does not serve it
        raise BridgeUnavailable(f"the wait tool says: {clip(str(read_value(found['error'])))}")
    return parse_wait_reply(body)


def _refused(text: str) -> BridgeRefused:
    words = orjson.dumps({"detail": text})
    return BridgeRefused(
        f"the wait tool refused: {clip(text)}", bridge_status=_FAILED, body=words, content_type="application/json"
    )


def server_name(described: bytes) -> str:
    """The name that a server gives itself in the result of `initialize` or `server/discover`; empty without one."""
    try:
        found = members(described)
        told = found.get("serverInfo") or members(found.get("_meta", b"{}")).get(_SERVER_INFO, b"{}")
        return parse_agent_id(read_value(members(told).get("name", b"null")))
    except InvalidInput:
        return ""
