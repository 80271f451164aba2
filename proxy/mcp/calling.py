"""A request of ours to an MCP server, in words that belong to no era, and what the server wants to know meanwhile."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from proxy.core.errors import BridgeFault
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


def _nobody(_: BridgeFault | None) -> None:
    """Whoever does not care."""


@dataclass(slots=True, eq=False)
class Arrival:
    """What became of the reply to a question; it is told once."""

    heard_by: Callable[[BridgeFault | None], None] = _nobody
    """Hears None when the server has taken the reply, or why it has not, or may not have."""
    is_told: bool = False

    def tell(self, fault: BridgeFault | None = None) -> None:
        """Tell it; what is told after that counts for nothing."""
        if not self.is_told:
            self.is_told = True
            self.heard_by(fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAsk:
    """A question of the server in the middle of a request."""

    key: str
    """Unique within the request: a key of `inputRequests`, or the id of the server's own request as text."""
    question: Question
    arrival: Arrival = field(default_factory=Arrival, compare=False, repr=False)
    """Told for each reply, at the latest when the request is over."""


OnAsk = Callable[[ServerAsk], Awaitable[Reply]]
"""Put a question of the server to whoever can answer it. Cancelled when the server takes the question back.

Several may be asked at once. What cannot be asked is told to the server as its era has it: an error, or a cancel.
"""

OnNote = Callable[[bytes], Awaitable[None]]
"""A notification of the server that belongs to the request, as the JSON-RPC bytes that came: progress, log lines."""
