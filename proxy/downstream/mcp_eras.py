"""Chooses who serves an MCP request that is not served here: the server itself, or a bridge between the eras.

A bridge serves only where the server does not speak the client's era, so that wherever both can agree every byte
crosses unchanged and the server hears nothing of ours. Only after a refusal is it asked which eras it speaks. What a
bridge has begun it also ends, whatever the server has learned meanwhile.

Source: PROTOCOL.md 2.9, 4.2 (A2 x B3, A3 x B2).
"""

from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from proxy.core.errors import BridgeFault
from proxy.downstream.mcp_caller import era_of, session_of
from proxy.downstream.mcp_down import DownDoor
from proxy.downstream.mcp_up import UpDoor
from proxy.downstream.served import Draft
from proxy.flows.mcp_clients import STATELESS, McpClients
from proxy.mcp.jsonrpc import envelope_of
from proxy.mcp.revisions import Era
from proxy.mcp.upward import passed_headers
from proxy.ports import McpUpstream

_REFUSALS: Final = frozenset({400, 404, 405, 406, 415, 501})
"""Statuses by which a server refuses a client of another era. Source: PROTOCOL.md 2.9 (any 4xx, 404 and 405 among
them); those that are about who asks are none."""

_OTHER: Final = {Era.ENVELOPE: Era.HANDSHAKE, Era.HANDSHAKE: Era.ENVELOPE}


class EraBridge(Protocol):
    """Serves a client whose era its server does not speak."""

    async def serve(self, request: web.Request, draft: Draft, body: bytes | None) -> web.StreamResponse:
        """Serve one HTTP request; `body` is that of a POST where it was read already."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EraDoors:
    """Both bridges of one MCP path."""

    upstream: McpUpstream
    clients: McpClients
    up: UpDoor
    down: DownDoor

    async def bridge_for(self, request: web.Request, body: bytes | None) -> EraBridge | None:
        """The bridge that has to serve this request, by what is known already; None: relay it."""
        era = era_of(request)
        if era is Era.HANDSHAKE:
            if self.up.knows(request):
                return self.up
        elif body is not None and await self.takes_up(request, body):
            return self.down
        is_known = self.upstream.known(era) is False and self.upstream.known(_OTHER[era]) is True
        return self._bridge(era) if is_known and self._is_stranger(request, body) else None

    async def takes_up(self, request: web.Request, body: bytes) -> bool:
        """Whether a request goes on with a call that a bridge has parked, whatever it calls."""
        return era_of(request) is Era.ENVELOPE and await self.down.is_retry_of_ours(request, body)

    async def needs_bridge(self, request: web.Request, body: bytes | None, status: int) -> bool:
        """Whether the server refused a request with this status because it does not speak the client's era."""
        if status not in _REFUSALS or not self._is_stranger(request, body):
            return False
        era, headers = era_of(request), passed_headers(request.raw_headers)
        try:
            return not await self.upstream.speaks(era, headers) and await self.upstream.speaks(_OTHER[era], headers)
        except BridgeFault:  # the refusal stands
            return False

    def bridge_after(self, request: web.Request) -> EraBridge:
        """The bridge for a request that needs one."""
        return self._bridge(era_of(request))

    def _bridge(self, era: Era) -> EraBridge:
        return self.up if era is Era.HANDSHAKE else self.down

    def _is_stranger(self, request: web.Request, body: bytes | None) -> bool:
        """Whether the server may not know this client: a handshake, or a session that it is not known to keep."""
        if era_of(request) is Era.ENVELOPE:
            return True
        session_id = session_of(request)
        if session_id != STATELESS:
            return self.clients.get(session_id) is None
        envelope = None if body is None else envelope_of(body)
        return envelope is not None and envelope.method == "initialize"
