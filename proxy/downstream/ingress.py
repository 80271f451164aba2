"""The doors of a sidecar that stands in front of the Bridge: everything that may pass is relayed.

No call is served here, whatever the flags say. Signatures have been judged and go no further; answers are held to the
agent that the question was put to.
"""

from dataclasses import dataclass

from aiohttp import web

from proxy.core.answer_rights import CREATE_PATH, RESPOND_PATH, STORE_PATH, GivenTo, answered_by_call, answered_by_tool
from proxy.core.claims import plain_path
from proxy.core.elicitation import parse_created
from proxy.core.errors import BridgeRefused
from proxy.core.outcome import Door
from proxy.core.secret import Secret
from proxy.downstream.body import READ_BODY, read_judged
from proxy.downstream.gate import CALLER
from proxy.downstream.relay import OnHead, OnReply, Relay
from proxy.downstream.served import served
from proxy.downstream.sse_endpoint import SseDoors
from proxy.flows.answer_rights import AnswerRights
from proxy.mcp.inbound import ToolNames
from proxy.ports import Clock, Recorder

_ANSWERING = frozenset({RESPOND_PATH, STORE_PATH})


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressDoors:
    """Relays what may pass."""

    relay: Relay
    mcp: Relay
    """To the MCP server, which may be elsewhere."""
    sse: SseDoors
    rights: AnswerRights
    names: ToolNames
    recorder: Recorder
    clock: Clock

    async def check(self, request: web.Request, path: str, *, is_mcp: bool) -> web.Response | None:
        """Judge a call that passed the gate; the Bridge's own refusal, where it would not even be asked.

        Raises:
            ImpersonationRefused: it answers a question that was put to another.
            SidecarError: it cannot be judged.
        """
        if request.method != "POST" or not self.rights.is_asked:
            return None
        is_tool = is_mcp or self.sse.takes("POST", path, request.raw_path)
        given = await self._given(request, plain_path(path), is_tool=is_tool)
        if given is None:
            return None
        written = request.headers.get("Authorization", "")
        try:
            await self.rights.check(given, request.get(CALLER), Secret(written) if written else None)
        except BridgeRefused as refusal:
            with served(request, Door.RELAY, self.recorder, self.clock) as draft:
                draft.status = refusal.bridge_status
                headers = {"Content-Type": refusal.content_type or "application/json"}
                return web.Response(status=refusal.bridge_status, body=refusal.body, headers=headers)
        return None

    async def serve(
        self, request: web.Request, path: str, *, is_mcp: bool, on_head: OnHead | None = None
    ) -> web.StreamResponse:
        """Relay a call that may pass.

        Raises:
            BridgeFault: no reply came; nothing was sent to the agent.
            InvalidInput: the agent's request body is broken.
        """
        if not is_mcp and self.sse.takes(request.method, path, request.raw_path):
            return await self.sse.serve(request)
        with served(request, Door.MCP if is_mcp else Door.RELAY, self.recorder, self.clock) as draft:
            caller = request.get(CALLER)
            draft.agent_id = "" if caller is None else caller.agent_id
            relay = self.mcp if is_mcp else self.relay
            response = await relay.relay(request, on_head=on_head, on_reply=await self._on_reply(request, path))
            draft.status = response.status
            return response

    async def _given(self, request: web.Request, plain: str, *, is_tool: bool) -> GivenTo | None:
        if not is_tool and plain not in _ANSWERING:
            return None
        body = request[READ_BODY] = await read_judged(request)
        if is_tool:
            return answered_by_tool(body, self.names.respond, self.names.send)
        return answered_by_call(plain, body)

    async def _on_reply(self, request: web.Request, path: str) -> OnReply | None:
        """What learns from the reply to a question that is put whom it was put to."""
        if request.method != "POST" or plain_path(path) != CREATE_PATH or not self.rights.is_asked:
            return None
        asked = request[READ_BODY] = await read_judged(request)

        def note(status: int, body: bytes) -> None:
            question = parse_created(asked, body, now=self.clock.wall()) if status == web.HTTPOk.status_code else None
            if question is not None:
                self.rights.noted(question)

        return note
