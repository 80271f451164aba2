"""The doors of `/elicitation/*` before a Bridge that has none: the sidecar answers them itself, over the bus.

Each call is looked at only while questions travel over the bus, or while some that did are still open; in all other
cases it is none of ours, and the door that stands behind this one goes on with it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from proxy.core.answers import parse_respond, responded_reply
from proxy.core.bus import is_bus_id
from proxy.core.bus_calls import created_reply, names_bus_question, parse_ask, pending_reply, status_reply
from proxy.core.errors import BridgeRefused, InvalidInput, SidecarError
from proxy.core.ids import ElicitationId, parse_agent_id
from proxy.core.outcome import Door, Result, counted_as
from proxy.core.secret import Secret
from proxy.downstream.body import read_judged
from proxy.downstream.elicitation_http import ElicitationDoors
from proxy.downstream.served import Draft, served
from proxy.flows.bus_questions import BusQuestions

_PREFIX: Final = "/elicitation/"
_STATUS: Final = "status/"


@dataclass(slots=True)
class _Written:
    """The reply of one call."""

    body: bytes = b""
    refusal: BridgeRefused | None = None

    def response(self) -> web.Response:
        if self.refusal is None:
            return web.Response(body=self.body, content_type="application/json")
        refusal = self.refusal
        headers = {"Content-Type": refusal.content_type or "application/json"}
        return web.Response(status=refusal.bridge_status, body=refusal.body, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class BusDoors:
    """Serves the Bridge's elicitation calls over the bus."""

    questions: BusQuestions
    behind: ElicitationDoors
    """The doors that stand behind these."""

    async def serve(self, request: web.Request, path: str) -> web.StreamResponse | None:
        """Serve one call; None where it is none of ours. `path` is decoded and without query."""
        if not path.startswith(_PREFIX) or not self.behind.may_concern_us(request):
            return None
        called = path.removeprefix(_PREFIX)
        credential = Secret(request.headers["Authorization"])
        match request.method, called:
            case "POST", "create" if await self.questions.takes_new(credential):
                return await self._create(request, credential)
            case "POST", "respond" if await self.questions.is_in_use(credential):
                return await self._respond(request, credential)
            case "GET", "pending" if await self.questions.is_in_use(credential):
                return await self._pending(request, credential)
            case "GET", _ if called.startswith(_STATUS) and is_bus_id(called.removeprefix(_STATUS)):
                return await self._status(request, ElicitationId(called.removeprefix(_STATUS)), credential)
            case _:
                return None

    async def _create(self, request: web.Request, credential: Secret) -> web.StreamResponse:
        with served(request, Door.CREATE, self.behind.recorder, self.behind.clock) as draft:
            async with _written(draft) as written:
                ask = parse_ask(await read_judged(request))
                draft.agent_id = ask.from_agent
                written.body = created_reply(await self.questions.ask(ask, credential))
            return written.response()

    async def _respond(self, request: web.Request, credential: Secret) -> web.StreamResponse:
        with served(request, Door.RESPOND, self.behind.recorder, self.behind.clock) as draft:
            body = await read_judged(request)
            if not names_bus_question(body) and not await self.questions.takes_new(credential):
                return await self.behind.respond_with(request, draft, body)
            async with _written(draft) as written:
                given = parse_respond(body)
                if given is None:
                    raise InvalidInput("expected elicitation_id, responding_agent and response_type")
                draft.agent_id = given.agent_id
                try:
                    draft.elicitations.append(await self.questions.answer(given, credential))
                except SidecarError as error:
                    draft.elicitations.append(counted_as(error))
                    raise
                draft.result = Result.ANSWERED
                written.body = responded_reply(given.answer)
            return written.response()

    async def _pending(self, request: web.Request, credential: Secret) -> web.StreamResponse:
        with served(request, Door.RELAY, self.behind.recorder, self.behind.clock) as draft:
            async with _written(draft) as written:
                # Of a repeated parameter the last one counts. Source: BRIDGE.md 2.3.
                agent_id = parse_agent_id(request.rel_url.query.getall("agent_id", [None])[-1])
                draft.agent_id = agent_id
                written.body = pending_reply(await self.questions.listed(agent_id, credential))
            return written.response()

    async def _status(self, request: web.Request, named: ElicitationId, credential: Secret) -> web.StreamResponse:
        with served(request, Door.RELAY, self.behind.recorder, self.behind.clock) as draft:
            async with _written(draft) as written:
                written.body = status_reply(*await self.questions.standing(named, credential))
            return written.response()


@asynccontextmanager
async def _written(draft: Draft) -> AsyncIterator[_Written]:
    """A reply to be written in the block; a refusal of the Bridge is passed on in its own words."""
    written = _Written()
    draft.result, draft.status = Result.SERVED, 200
    try:
        yield written
    except BridgeRefused as refusal:
        written.refusal = refusal
        draft.result, draft.status = Result.RELAYED, refusal.bridge_status
