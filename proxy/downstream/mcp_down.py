"""The MCP door for clients of the envelope era before a server of the handshake era.

Source: PROTOCOL.md 2.1 to 2.7, 4.2 (A3 x B2).
"""

import asyncio
from dataclasses import replace
from typing import Final

from aiohttp import web

from proxy.core.errors import BridgeFault, InvalidInput, SidecarError
from proxy.core.outcome import Result
from proxy.downstream.body import read_body
from proxy.downstream.mcp_caller import principal_of
from proxy.downstream.mcp_down_reply import DownReply
from proxy.downstream.served import Draft
from proxy.flows.era_up import Edit
from proxy.flows.parked_call import DownCall
from proxy.flows.parked_calls import Asking, Finished, ParkedCalls, Turn
from proxy.mcp.calling import OnNote, Outgoing
from proxy.mcp.downward import (
    UNKNOWN_SERVER,
    acknowledged,
    discovered,
    fault_reply,
    reply_of,
    server_info,
    subscription_over,
)
from proxy.mcp.enveloped import DISCOVER, LISTEN, Enveloped, Misfit, read_enveloped
from proxy.mcp.jsonrpc import Notification, read_value, result_message
from proxy.mcp.mrtr import input_required
from proxy.mcp.revisions import Era
from proxy.mcp.upward import passed_headers
from proxy.ports import Clock, McpUpstream, Spawn

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Largest message that is read. Source: PROTOCOL.md 3.4 (no cap below 4 MiB), with room."""


class DownDoor:
    """The doors of one MCP path for newer clients."""

    __slots__ = ("_clock", "_edit", "_is_over", "_parked", "_spawn", "_upstream")

    def __init__(self, upstream: McpUpstream, parked: ParkedCalls, clock: Clock, spawn: Spawn, *, edit: Edit) -> None:
        self._edit = edit
        self._upstream = upstream
        self._parked = parked
        self._clock = clock
        self._spawn = spawn
        self._is_over = asyncio.Event()

    async def serve(self, request: web.Request, draft: Draft, body: bytes | None) -> web.StreamResponse:
        """Serve one HTTP request; `body` is that of a POST where it was read already.

        Raises:
            BodyTooLarge: the body is beyond the bound.
            InvalidInput: its framing is broken.
        """
        if request.method != "POST":
            draft.result, draft.status = Result.REFUSED, 405
            return web.Response(status=405, headers={"Allow": "POST"})
        read = await read_body(request, limit=MAX_BODY_BYTES) if body is None else body
        match read_enveloped(request.raw_headers, read):
            case Misfit() as misfit:
                draft.failed(InvalidInput(misfit.text))
                draft.status = misfit.status
                return await DownReply(request, self._clock).end(misfit.message(), status=misfit.status)
            case Notification():
                # Nothing a client tells concerns the server: closing the stream is how it cancels.
                draft.status = 202
                return web.Response(status=202)
            case Enveloped() as asked if asked.method == LISTEN:
                return await self._listen(request, draft, asked)
            case Enveloped() as asked:
                return await self._answer(request, draft, asked)

    async def is_retry_of_ours(self, request: web.Request, body: bytes) -> bool:
        """Whether a request goes on with a call of this door, whatever it calls."""
        if b"requestState" not in body:  # a search costs less than a parse, and this is asked of every request
            return False
        asked = read_enveloped(request.raw_headers, body)
        if not isinstance(asked, Enveloped) or asked.state is None:
            return False
        return await self._parked.knows(_call(request, asked, DownReply(request, self._clock).put))

    def drain(self) -> None:
        """End the subscriptions: the house is about to close."""
        self._is_over.set()

    # Requests

    async def _answer(self, request: web.Request, draft: Draft, asked: Enveloped) -> web.StreamResponse:
        reply, retry_after_s = DownReply(request, self._clock), None
        async with reply.kept_alive(self._spawn):
            call = _call(request, asked, reply.put)
            try:
                status, message = await self._served(call)
            except SidecarError as error:
                draft.failed(error)
                status, message = fault_reply(asked.id, error)
                retry_after_s = error.retry_after_s
        draft.status = 200 if reply.has_begun else status
        return await reply.end(message, status=status, retry_after_s=retry_after_s)

    async def _served(self, call: DownCall) -> tuple[int, bytes]:
        asked = call.asked
        if asked.method == DISCOVER:
            described = await self._upstream.describe(Era.HANDSHAKE, call.outgoing)
            return 200, result_message(asked.id, discovered(described))
        turn: Turn = await self._parked.serve(call)
        match turn:
            case Finished(response):
                if response.result is not None:
                    response = replace(response, result=self._edit(asked.method, response.result))
                return reply_of(asked.method, asked.id, response)
            case Asking(requests, state):
                info = await self._server_info(call.outgoing)
                return 200, result_message(asked.id, input_required(requests, state, info))

    async def _server_info(self, outgoing: Outgoing) -> object:
        try:
            return read_value(server_info(await self._upstream.describe(Era.HANDSHAKE, outgoing)))
        except (BridgeFault, InvalidInput):  # only a courtesy
            return read_value(UNKNOWN_SERVER)

    async def _listen(self, request: web.Request, draft: Draft, asked: Enveloped) -> web.StreamResponse:
        """Acknowledge a subscription to which nothing comes, and hold it until the client leaves or we do."""
        draft.status = 200
        reply = DownReply(request, self._clock)
        await reply.put(acknowledged(asked.id))
        async with reply.kept_alive(self._spawn):
            await self._is_over.wait()
        return await reply.end(subscription_over(asked.id))


def _call(request: web.Request, asked: Enveloped, on_note: OnNote) -> DownCall:
    outgoing = Outgoing(
        method=asked.method,
        params=asked.params,
        headers=passed_headers(request.raw_headers),
        principal=principal_of(request),
        modes=asked.modes,
        client_name=asked.client_name or "elicit-sidecar",
    )
    return DownCall(asked=asked, outgoing=outgoing, on_note=on_note)
