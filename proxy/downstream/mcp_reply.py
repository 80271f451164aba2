"""What all MCP doors say, and what a tool call tells of its era, whatever it came through.

Source: PROTOCOL.md 2.2, 2.6 (results of the envelope era), 3.7 (how a refusal reaches the client).
"""

from collections.abc import Mapping
from typing import Final

import orjson

from proxy.core.errors import Fault, InvalidInput, SidecarError
from proxy.core.outcome import ElicitationOutcome
from proxy.downstream.served import Draft
from proxy.flows.wait import WaitServed
from proxy.mcp.jsonrpc import RequestId, fault_message, members, read_value, result_message
from proxy.mcp.revisions import Era, era_of_header, revision_of
from proxy.mcp.tools import tool_result

META: Final = "io.modelcontextprotocol/"
"""Begin of the protocol's own keys in `_meta`. Source: PROTOCOL.md 2.2."""


def result_reply(request_id: RequestId, result: Mapping[str, object], era: Era) -> bytes:
    """The result of a tool as the client's era has it."""
    shown = {"resultType": "complete", **result} if era is Era.ENVELOPE else result
    return result_message(request_id, shown)


def error_reply(request_id: RequestId, error: SidecarError, era: Era) -> bytes:
    """An error: of the tool where the agent can mend it, else of the JSON-RPC request."""
    if error.fault is not Fault.AGENT:
        return fault_message(request_id, error)
    told = orjson.dumps({"error": error.detail, "code": error.code, **error.extra})
    return result_reply(request_id, tool_result(told, is_error=True), era)


def era_of_call(params: bytes | None) -> Era | None:
    """The era that the parameters of a request belong to; None where its envelope is not in order.

    Without a revision in its `_meta` it belongs to the handshake era.
    """
    try:
        meta = members(members(params or b"{}").get("_meta", b"{}"))
        version = read_value(meta.get(f"{META}protocolVersion", b"null"))
        capabilities = read_value(meta.get(f"{META}clientCapabilities", b"null"))
    except InvalidInput:
        return None
    if version is None:
        return Era.HANDSHAKE
    if not isinstance(version, str) or revision_of(version) is None:
        return None
    era = era_of_header(version)
    return era if era is Era.HANDSHAKE or isinstance(capabilities, dict) else None


def note_wait(draft: Draft, served: WaitServed) -> None:
    """Note which way a wait has gone in the end."""
    draft.route, draft.reason = served.exchange.route, served.exchange.reason
    draft.fell_back, draft.empty_wakes_saved = served.exchange.fell_back, served.empty_wakes


def note_delivery(draft: Draft, served: WaitServed, *, wall: float) -> None:
    """Note that the reply of a wait has reached the client, at `wall` seconds since the epoch."""
    draft.result, draft.status = served.result, 200
    draft.items = len(served.found.items)
    draft.delivered(served.found.created_at, wall=wall)
    draft.elicitations.extend(ElicitationOutcome.OFFERED for _ in served.found.elicitation_ids)
