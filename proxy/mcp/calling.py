"""A request of ours to an MCP server, in words that belong to no era, and what the server wants to know meanwhile."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from proxy.mcp.ask import Question, Reply
from proxy.mcp.revisions import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One request as the client behind it means it."""

    method: str
    params: bytes = b"{}"
    """A JSON object without the protocol's own keys in `_meta`, which belong to an era."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What goes along over HTTP: credentials, `traceparent`; nothing of MCP's own."""
    principal: str = ""
    """Whose request it is; requests of different principals never share a session of the server's."""
    modes: frozenset[Mode] = frozenset()
    """How the client can be asked, which is all that the server is told of it."""
    client_name: str = "elicit-sidecar"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAsk:
    """A question of the server in the middle of a request."""

    key: str
    """Unique within the request: a key of `inputRequests`, or the id of the server's own request as text."""
    question: Question


OnAsk = Callable[[ServerAsk], Awaitable[Reply]]
"""Put a question of the server to whoever can answer it. Cancelled when the server takes the question back.

Several may be asked at once. What cannot be asked is told to the server as its era has it: an error, or a cancel.
"""

OnNote = Callable[[bytes], Awaitable[None]]
"""A notification of the server that belongs to the request, as the JSON-RPC bytes that came: progress, log lines."""
