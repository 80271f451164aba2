"""The doors of the HTTP+SSE transport: its stream, and the places that its streams name for the client's messages.

All of it is relayed to the MCP server. The stream is only kept from leading its client past us, and what is posted to
a place that an open stream named goes where the stream came from, also when that is not the Bridge. The wait tool is
not served here: over this transport the reply of a call comes on a stream that other calls share.

Source: PROTOCOL.md 3.2.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from proxy.core.ids import AgentId
from proxy.core.outcome import Door
from proxy.downstream.gate import CALLER
from proxy.downstream.relay import Relay
from proxy.downstream.relay_edit import Rewrite
from proxy.downstream.served import served
from proxy.flows.admission import Admission
from proxy.mcp.endpoint import rewritten, same_target, target_of
from proxy.ports import Clock, Recorder

MAX_PLACES: Final = 16
"""Places that one stream may name. Source: ours; the transport has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SseDoors:
    """The doors of one stream path and of what its streams name."""

    relay: Relay
    """To the MCP server."""
    upstream: str
    """Origin of the MCP server."""
    path: str
    recorder: Recorder
    clock: Clock
    admission: Admission
    places: Counter[str] = field(default_factory=Counter)
    """How many open streams name a place, by path and query; never more than they are times `MAX_PLACES`."""
    owners: dict[str, Counter[AgentId]] = field(default_factory=dict)
    """How many of these each agent has opened."""

    def takes(self, method: str, path: str, target: str) -> bool:
        """Whether a request that nobody else serves is ours; `path` as the server sees it, `target` as it came."""
        return (method == "GET" and path == self.path) or (method == "POST" and self.places[same_target(target)] > 0)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Relay a stream, or a message to a place that a stream named.

        Raises:
            BridgeFault: no reply came; nothing was sent to the client.
            InvalidInput: the client's message is broken.
            ImpersonationRefused: the stream is another agent's, and identities are enforced.
        """
        with served(request, Door.MCP, self.recorder, self.clock) as draft:
            if request.method != "GET":
                self._judge_owner(request)
            response = await (self._stream(request) if request.method == "GET" else self.relay.relay(request))
            draft.status = response.status
            return response

    def _judge_owner(self, request: web.Request) -> None:
        """Hold a message against whoever opened the streams that named its place."""
        owners, identity = self.owners.get(same_target(request.raw_path)), request.get(CALLER)
        if owners and (identity is None or identity.agent_id not in owners):
            self.admission.judge_owner(identity, next(iter(owners)))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        named: list[str] = []
        identity = request.get(CALLER)

        def note(endpoint: bytes) -> None:
            place = target_of(endpoint, self.path)
            if place is not None and len(named) < MAX_PLACES:
                named.append(place)
                self.places[place] += 1
                if identity is not None:
                    self.owners.setdefault(place, Counter())[identity.agent_id] += 1

        def frame(raw: bytes) -> bytes:
            return rewritten(raw, self.upstream, on_endpoint=note)

        try:
            return await self.relay.relay(request, rewrite=Rewrite(body=_as_it_is, frame=frame))
        finally:
            self.places.subtract(named)
            for place in named:
                if not self.places[place]:
                    del self.places[place]
                    self.owners.pop(place, None)
                elif identity is not None:
                    self.owners[place] -= Counter({identity.agent_id: 1})


def _as_it_is(body: bytes) -> bytes:
    return body
