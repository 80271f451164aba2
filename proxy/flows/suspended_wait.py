"""Delivery by elicitation in the envelope era: a wait that found questions asks for their answers and is suspended.

Its client comes back with the answers and a sealed state; what the state stands for is kept in the ExchangeStore, so
that it outlives us. The cursor of the agent has not moved meanwhile: messages that were found with the questions come
with the agent's next wait.

Source: PROTOCOL.md 2.5, 4.2 (A3 x B1).
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import orjson

from proxy.core.delivery import lost_item, unanswered_item
from proxy.core.elicitation import Elicitation
from proxy.core.errors import (
    BridgeFault,
    ElicitationUnknown,
    InvalidInput,
    InvalidState,
    SchemaRefused,
    SidecarError,
    StateUnavailable,
)
from proxy.core.ids import ElicitationId
from proxy.core.legacy import WaitAsk, write_reply
from proxy.core.outcome import ElicitationOutcome
from proxy.flows.asked_wait import BRIDGE_MARGIN_S, ToldWait
from proxy.flows.client_answers import ClientAnswers, Disposed
from proxy.flows.tool_call import Access, ToolCalls, ToolWaited
from proxy.mcp.ask import FormQuestion, Wording, read_input_response, word, write_input_request
from proxy.mcp.jsonrpc import members
from proxy.mcp.mrtr import HANDLE_BYTES, arguments_digest, input_required, open_state, seal
from proxy.mcp.revisions import R2026_07_28, Mode
from proxy.mcp.tools import ToolCall, tool_result
from proxy.ports import Clock, ExchangeStore

MAX_SUSPENDED_S: Final = 600.0
"""Longest time a client may take to come back. Source: PROTOCOL.md 2.5, the reference design's ttl."""

MAX_ROUNDS: Final = 10
"""Most times that answers which are missing are asked for again; each takes a place in the store until it expires.

Source: PROTOCOL.md 2.5, rule 6 (clients stop there, too).
"""

KEY: Final = "esc:"
"""Begin of our keys in `inputRequests`. Source: PROTOCOL.md 4.2, A3 x B1."""

_PURPOSE: Final = "elicit-sidecar wait"
_FORM: Final = frozenset({Mode.FORM})


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendedCall:
    """A wait that is, or was, suspended: whose it is and what it asks."""

    principal: str
    call: ToolCall
    ask: WaitAsk
    access: Access
    note: Callable[[ElicitationOutcome], None]
    """Hears what happens to the questions, also of a call that ends in the middle."""

    def binding(self) -> bytes:
        """What a retry has to come with again: who calls, which tool, and the very same arguments."""
        try:
            arguments = orjson.dumps(orjson.loads(self.call.arguments), option=orjson.OPT_SORT_KEYS)
        except orjson.JSONDecodeError as error:  # a wait was read from them before
            raise InvalidState from error
        except orjson.JSONEncodeError:  # nested too deeply to be written: a retry has to repeat the very bytes
            arguments = self.call.arguments
        return arguments_digest(_PURPOSE, f"{self.principal}\x00{self.call.name}", arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumedWait:
    """How a retry ended."""

    result: Mapping[str, object]
    """Of the tool, or one that asks for the answers which were missing."""
    items: int
    left: tuple[ElicitationId, ...] = ()
    """Questions that the result leaves to the agent, or asks again."""


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a suspended wait; nothing of what is asked or answered but what was told before."""

    agent: str
    principal: str
    tool: str
    binding: bytes
    asked: list[str]
    others: list[str]
    """Questions that cannot be put into words, which the result leaves to the agent."""
    since: int
    created: float
    told: list[str] = []
    """Items of earlier rounds."""
    rounds: int = 0
    """How many of these there were."""


_RECORD: Final = msgspec.json.Decoder(_Record)


@dataclass(slots=True)
class _Round:
    """What one retry brought."""

    items: list[bytes]
    missing: list[ElicitationId]
    left: list[ElicitationId]


class SuspendedWaits:
    """Suspends waits and takes them up again."""

    __slots__ = ("_answers", "_calls", "_chance", "_clock", "_server_info", "_store")

    def __init__(
        self,
        calls: ToolCalls,
        answers: ClientAnswers,
        store: ExchangeStore,
        *,
        clock: Clock,
        chance: Callable[[int], bytes],
        server_info: Mapping[str, object],
    ) -> None:
        self._calls = calls
        self._answers = answers
        self._store = store
        self._clock = clock
        self._chance = chance
        """Random bytes, as many as asked for."""
        self._server_info = server_info

    async def suspend(self, told: ToldWait, call: SuspendedCall) -> ToldWait:
        """Ask for the answers to what a wait has found; unchanged where nothing of it can be asked."""
        found = told.waited.served.found
        ids = found.elicitation_ids
        if not ids:
            return told
        record = _Record(
            agent=call.ask.agent_id,
            principal=call.principal,
            tool=call.call.name,
            binding=call.binding(),
            asked=[],
            others=[],
            since=call.ask.since,
            created=self._clock.wall(),
        )
        result = await self._ask(record, ids)
        if result is None:
            return told
        shown = replace(found, items=found.items[: len(ids)], created_at=found.created_at[: len(ids)])
        return replace(told, waited=ToolWaited(result, replace(told.waited.served, found=shown)))

    async def _ask(self, record: _Record, ids: Iterable[ElicitationId]) -> dict[str, object] | None:
        """The result that asks these questions, its call suspended; None where there is none of them to ask."""
        wall = self._clock.wall()
        requests: dict[str, object] = {}
        ends_at, asked, others = wall, [], list(record.others)
        for elicitation_id in ids:
            question = self._calls.question(elicitation_id)
            wording = None if question is None else _worded(question)
            if question is None or wording is None or question.expires_at - BRIDGE_MARGIN_S <= wall:
                others.append(elicitation_id)
                continue
            requests[f"{KEY}{elicitation_id}"] = write_input_request(wording)
            asked.append(elicitation_id)
            ends_at = max(ends_at, question.expires_at)
        if not asked:
            return None
        expires_at = math.ceil(min(ends_at, wall + MAX_SUSPENDED_S))
        kept = msgspec.structs.replace(record, asked=asked, others=others)
        try:
            handle = self._chance(HANDLE_BYTES)
            owner = record.principal.encode()
            await self._store.suspend(handle, msgspec.json.encode(kept), owner=owner, expires_at=expires_at)
            ring = await self._store.keys()
        except StateUnavailable:  # what cannot be suspended is delivered at once, as to any other client
            return None
        state = seal(handle, expires_at=expires_at, ring=ring, binding=record.binding)
        return input_required(requests, state, self._server_info)

    def may_be_ours(self, call: ToolCall) -> bool:
        """Whether a retry can be of a wait that was suspended here; other calls are suspended by others."""
        try:
            return call.retry is not None and all(key.startswith(KEY) for key in _responses(call.retry.responses))
        except InvalidInput:
            return True

    async def resume(self, call: SuspendedCall) -> ResumedWait:
        """Take up a suspended wait with the answers that its client brings.

        Raises:
            InvalidState: it is not this call's, it has expired, or it was taken up with other answers before.
            StateUnavailable: the store fails.
        """
        record, responses = await self._taken_up(call)
        found = await self._take_all(record, responses, call)
        told = msgspec.structs.replace(record, told=[item.decode() for item in found.items], rounds=record.rounds + 1)
        may_ask = record.rounds < MAX_ROUNDS and Mode.FORM in call.call.modes
        again = await self._ask(told, found.missing) if found.missing and may_ask else None
        if again is not None:
            return ResumedWait(result=again, items=len(found.missing), left=(*found.left, *found.missing))
        others = [*found.missing, *map(ElicitationId, record.others)]
        items = [*found.items, *(self._left_item(known, record) for known in others)]
        body = write_reply(items, waited_s=max(0.0, self._clock.wall() - record.created))
        left = (*found.left, *others)
        return ResumedWait(result=tool_result(body), items=len(items), left=left)

    async def _taken_up(self, call: SuspendedCall) -> tuple[_Record, Mapping[str, bytes]]:
        retry, binding, wall = call.call.retry, call.binding(), self._clock.wall()
        if retry is None:
            raise InvalidState
        try:
            responses = _responses(retry.responses)
            digest = hashlib.sha256(orjson.dumps(orjson.loads(retry.responses or b"{}"), option=orjson.OPT_SORT_KEYS))
        except (InvalidInput, orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
            raise InvalidState from error
        opened = open_state(retry.state, now=wall, ring=await self._store.keys(), binding=binding)
        kept = await self._store.resume(opened.handle, digest.digest(), now=wall)
        if kept is None:
            raise InvalidState
        record = _RECORD.decode(kept)
        is_callers = (record.agent, record.principal, record.tool, record.binding) == (
            call.ask.agent_id,
            call.principal,
            call.call.name,
            binding,
        )
        if not is_callers:
            raise InvalidState
        return record, responses

    async def _take_all(self, record: _Record, responses: Mapping[str, bytes], call: SuspendedCall) -> _Round:
        taken = _Round(items=[text.encode() for text in record.told], missing=[], left=[])
        for elicitation_id in map(ElicitationId, record.asked):
            response = responses.get(f"{KEY}{elicitation_id}")
            if response is None:
                taken.missing.append(elicitation_id)
                continue
            disposed = await self._give(elicitation_id, response, call)
            taken.items.append(disposed.item)
            if disposed.outcome is not None:
                call.note(disposed.outcome)
            if disposed.is_left:
                taken.left.append(elicitation_id)
        return taken

    async def _give(self, elicitation_id: ElicitationId, response: bytes, call: SuspendedCall) -> Disposed:
        since = call.ask.since
        try:
            question = await self._calls.find(elicitation_id, call.ask.agent_id, call.access)
        except BridgeFault as fault:
            return _lost(elicitation_id, fault, since=since)
        wording = None if question is None else _worded(question)
        if question is None or wording is None:
            gone = ElicitationUnknown(f"elicitation {elicitation_id} is not open any more")
            return _lost(elicitation_id, gone, since=since)
        place = self._calls.place_of(question, since)
        return await self._answers.give(question, read_input_response(wording, response), call.access, since=place)

    def _left_item(self, elicitation_id: ElicitationId, record: _Record) -> bytes:
        question = self._calls.question(elicitation_id)
        if question is None:
            gone = ElicitationUnknown(f"elicitation {elicitation_id} is not open any more")
            return _lost(elicitation_id, gone, since=record.since).item
        return unanswered_item(question, sequence=self._calls.place_of(question, record.since))


def _worded(question: Elicitation) -> Wording | None:
    try:
        return word(FormQuestion(question.message, question.schema), R2026_07_28, _FORM)
    except SchemaRefused:
        return None


def _responses(raw: bytes) -> Mapping[str, bytes]:
    return members(raw or b"{}")


def _lost(elicitation_id: ElicitationId, error: SidecarError, *, since: int) -> Disposed:
    return Disposed(lost_item(elicitation_id, sequence=since, error=error.detail, code=error.code))
