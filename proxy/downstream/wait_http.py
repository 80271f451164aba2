"""The door of the legacy wait, `GET /event/wait`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from aiohttp import web

from proxy.core.breaker import Breaker
from proxy.core.bridge_token import issued_to
from proxy.core.errors import BadBridgeReply, LegacyRemoved
from proxy.core.ids import AgentId
from proxy.core.legacy import Message, WaitAsk, parse_wait_query, parse_wait_reply, write_timeout_reply
from proxy.core.outcome import Door, ElicitationOutcome, Result
from proxy.core.routing import Decision, Route
from proxy.core.second_copies import without_second_copies
from proxy.core.secret import Secret
from proxy.core.sends import DualSends
from proxy.core.told_questions import key_of_note
from proxy.downstream.relay import Relay
from proxy.downstream.relay_edit import Rewrite
from proxy.downstream.served import Draft, served
from proxy.flows.feeds import Feeds
from proxy.flows.flags import FlagBoard
from proxy.flows.wait import WaitServed, serve_peek, serve_wait
from proxy.ports import Clock, Recorder

TAKE_S: Final = 60.0
"""How long an agent may take to read a reply, seconds; one that hangs must not keep megabytes here for good.

Source: ours, the usual time-out of a read; a reply that is cut is delivered again, as its cursor was never shown.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitDoor:
    """Routes one wait: relayed, served by elicitation, or refused as removed."""

    relay: Relay
    feeds: Feeds
    board: FlagBoard
    breaker: Breaker
    recorder: Recorder
    clock: Clock
    default_timeout_s: int
    guide_url: str
    relayed: dict[asyncio.Timeout, tuple[web.Request, WaitAsk]] = field(default_factory=dict)
    """Waits that are held at the Bridge, with what cuts them short."""

    def drain(self) -> None:
        """The sidecar stops: waits that the Bridge still holds are answered now. Source: ARCHITECTURE.md 2.6."""
        for scope, (request, _) in self.relayed.items():
            _cut(scope, request)

    def reconsider(self) -> None:
        """The flags changed: waits whose agent now belongs to the elicitation cohort go on here."""
        for scope, (request, ask) in self.relayed.items():
            if self._decide(ask).route is Route.ELICITATION:
                _cut(scope, request)

    def _decide(self, ask: WaitAsk) -> Decision:
        return self.board.decide(ask.agent_id, self.breaker.way(self.clock.now()))

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one wait."""
        with served(request, Door.WAIT, self.recorder, self.clock) as draft:
            query = request.raw_path.partition("?")[2]
            ask = parse_wait_query(query, default_timeout_s=self.default_timeout_s)
            authorization = request.headers.get("Authorization", "")
            if ask is None and not self.board.flags.legacy_support:
                raise self._removed()  # for nobody in particular, as the Bridge would serve some that name no agent
            if ask is None or not authorization:
                return await self._relay(request, draft)
            draft.agent_id = ask.agent_id
            if issued_to(Secret(authorization)) not in {None, ask.agent_id}:
                return await self._relay(request, draft)  # who reads in another's name takes nothing away from it
            decision = self._decide(ask)
            draft.decided(decision)
            if decision.route is Route.REMOVED:
                raise self._removed()
            if decision.route is Route.LEGACY and not (self._is_renumbered() or self._is_in_exchange(ask)):
                return await self._relay_wait(request, draft, ask)
            return await self._translate(request, draft, ask, decision, Secret(authorization))

    def _removed(self) -> LegacyRemoved:
        text = f"wait_for_messages was removed; use elicitation instead, see {self.guide_url}"
        return LegacyRemoved(text, guide=self.guide_url)

    def _is_renumbered(self) -> bool:
        """Whether agents count in numbers of ours, since the Bridge began to number anew.

        Also one that begins at 0 does: in the Bridge's own numbers its next cursor could not be told from an old one.
        """
        return bool(self.feeds.parts.sequences.offset)

    def _is_in_exchange(self, ask: WaitAsk) -> bool:
        """Whether the agent may come to what it had in another form: then the same must not reach it twice.

        A send of it or to it became a question, or it was told of one as an elicitation.
        """
        parts = self.feeds.parts
        return parts.sent.is_party(ask.agent_id) or parts.told.is_ahead(ask.agent_id, ask.since)

    async def _relay_wait(self, request: web.Request, draft: Draft, ask: WaitAsk) -> web.StreamResponse:
        """Relay a wait that can be cut short by `drain`, and by `reconsider`: then it goes on with the time left."""
        scope = asyncio.timeout(0 if self.feeds.draining else None)
        self.relayed[scope] = request, ask
        began = self.clock.now()
        try:
            async with scope:
                return await self._relay(request, draft, self._as_one_copy(ask))
        except TimeoutError:
            left_s = int(ask.hold_s - (self.clock.now() - began))
        finally:
            del self.relayed[scope]
        decision = self._decide(ask)
        if self.feeds.draining or left_s <= 0 or decision.route is not Route.ELICITATION:
            draft.result, draft.status = Result.TIMED_OUT, 200
            return web.Response(body=write_timeout_reply(ask.timeout_s), content_type="application/json")
        draft.decided(decision)
        credential = Secret(request.headers["Authorization"])
        return await self._translate(request, draft, replace(ask, timeout_s=left_s), decision, credential)

    def _as_one_copy(self, ask: WaitAsk) -> Rewrite | None:
        """Leave out notes of questions that were made from messages of the same reply, and of all to come.

        While elicitation is off for all, nothing is looked into.
        """
        if self.feeds.parts.under_way.mode is DualSends.OFF or not self.board.flags.elicitation_enabled:
            return None

        def edit(body: bytes) -> bytes:
            kept, copies = without_second_copies(body, ask.agent_id)
            self.feeds.parts.sent.saw_copies(ask.agent_id, copies)
            return kept

        return Rewrite(body=edit, frame=edit)

    async def _relay(self, request: web.Request, draft: Draft, rewrite: Rewrite | None = None) -> web.StreamResponse:
        def note(status: int, body: bytes) -> None:
            if status == 200:
                self._note_legacy(draft, body, request.headers.get("Authorization", ""))

        response = await self.relay.relay(request, on_reply=note, rewrite=rewrite)
        draft.status = response.status
        return response

    def _note_legacy(self, draft: Draft, body: bytes, authorization: str) -> None:
        try:
            messages = parse_wait_reply(body)
        except BadBridgeReply:  # relayed as it is; what cannot be read cannot be counted
            return
        draft.items = len(messages)
        draft.result = Result.DELIVERED if messages else Result.TIMED_OUT
        is_own = authorization and issued_to(Secret(authorization)) == draft.agent_id
        if messages and is_own:  # the Bridge lets anybody read in anybody's name
            self._note_read(AgentId(draft.agent_id), messages)
        draft.delivered((message.created_at for message in messages), wall=self.clock.wall())

    def _note_read(self, agent_id: AgentId, messages: Sequence[Message]) -> None:
        """Remember what the agent reads on the legacy way, for what is told it later on the other.

        Where it stands, which questions it has as notes, and the answers to which of its own.
        """
        parts = self.feeds.parts
        numbered = [(parts.sequences.to_agent(message.sequence), parts.judge(message)) for message in messages]
        parts.places.stands(agent_id, numbered[-1][0])
        parts.sequences.held(numbered[-1][0])
        parts.names.learn(agent_id, numbered, on_elicitation=False)
        for number, message in numbered:
            key = key_of_note(message, agent_id)
            if key is not None:
                parts.told.as_note(agent_id, key, number)

    async def _translate(  # noqa: PLR0917  # one call's whole context, passed on once
        self, request: web.Request, draft: Draft, ask: WaitAsk, decision: Decision, credential: Secret
    ) -> web.StreamResponse:
        if ask.hold_s == 0:
            # Only the elicitation way has something to add to a wait for which the Bridge looks nowhere.
            is_ours = decision.route is Route.ELICITATION
            peeked = await serve_peek(self.feeds, ask, decision, credential) if is_ours else None
            if peeked is None:
                return await self._relay(request, draft)
            return await self._write(request, draft, peeked)
        result = await serve_wait(self.feeds, ask, decision, credential, may_fall_back=self.board.flags.legacy_fallback)
        return await self._write(request, draft, result)

    async def _write(self, request: web.Request, draft: Draft, result: WaitServed) -> web.StreamResponse:
        draft.route, draft.reason = result.exchange.route, result.exchange.reason
        draft.fell_back = result.exchange.fell_back or draft.fell_back
        draft.empty_wakes_saved = result.empty_wakes
        if result.error is not None:
            raise result.error
        content_type = {"Content-Type": result.content_type}
        response = web.Response(status=result.status, body=result.body, headers=content_type)
        arrived = False
        try:
            async with asyncio.timeout(TAKE_S):
                await response.prepare(request)
                await response.write_eof()
            arrived = True
            if result.found.upto:
                self.feeds.parts.places.stands(AgentId(draft.agent_id), result.found.upto)
        except TimeoutError as error:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError(f"a reply that nobody reads for {TAKE_S:g} s is cut") from error
        finally:
            if not arrived:
                self.feeds.take_back(result.found.elicitation_ids)
        draft.result, draft.status = result.result, result.status
        draft.items = len(result.found.items)
        draft.delivered(result.found.created_at, wall=self.clock.wall())
        draft.elicitations.extend(ElicitationOutcome.OFFERED for _ in result.found.elicitation_ids)
        return response


def _cut(scope: asyncio.Timeout, request: web.Request) -> None:
    if not request.writer.output_size:  # a reply that has begun goes on to its end
        scope.reschedule(asyncio.get_running_loop().time())
