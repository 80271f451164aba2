"""Requests in the envelope era: the server asks by a result, and is answered by the request sent once more.

No connection is open while a question waits. Whoever gives up a request closes its connection, which is how this era
cancels.

Source: PROTOCOL.md 2.3, 2.5 and 2.7.
"""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from proxy.core.errors import BadBridgeReply, BridgeRefused, InvalidInput
from proxy.mcp.ask import Reply
from proxy.mcp.calling import OnAsk, OnNote, Outgoing, ServerAsk
from proxy.mcp.client_headers import Path, argument_headers, envelope_headers, read_tools
from proxy.mcp.client_words import (
    DISCOVER,
    InputRequired,
    dress,
    is_refusal_of,
    read_input_required,
    retry_members,
)
from proxy.mcp.jsonrpc import (
    HEADER_MISMATCH,
    Request,
    Response,
    members,
    read_value,
    request_message,
)
from proxy.ports import Clock
from proxy.upstream.clock_sleep import sleep_on
from proxy.upstream.mcp_asks import arriving, put_question, tell
from proxy.upstream.mcp_sessions import refused
from proxy.upstream.mcp_wire import Heard, Incoming, McpWire, ended_early, is_for, unasked

MAX_ROUNDS: Final = 10
"""Most times that one request is sent again. Source: PROTOCOL.md 2.5, rule 6."""

FIRST_PAUSE_S: Final = 0.05
"""Wait before a request is sent again that the server asked nothing about. Source: PROTOCOL.md 2.5, rule 5."""

LONGEST_PAUSE_S: Final = 0.25
"""What that wait doubles up to. Source: PROTOCOL.md 2.5, rule 5."""

TOOLS_S: Final = 300.0
"""How long it is remembered which arguments a tool wants repeated. Source: ours; a refusal asks again at once."""

MAX_PRINCIPALS: Final = 1_000
"""Most principals whose tools are remembered; the oldest is forgotten first. Source: ours."""

MAX_PAGES: Final = 100
"""Most pages of one list of tools. Source: ours."""

_CALL: Final = "tools/call"
_LIST: Final = "tools/list"

Marked = Mapping[Path, str]


@dataclass(frozen=True, slots=True)
class _Tools:
    """What the tools want repeated, as one principal sees them."""

    marked: Mapping[str, Marked]
    until: float


@dataclass(frozen=True, slots=True)
class _Extra:
    """What a round has beyond the request itself."""

    members: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    answered: tuple[ServerAsk, ...] = ()
    """The questions whose answers are among it."""


_NOTHING: Final = _Extra()


class EnvelopeCalls:
    """Requests to one server of the envelope era."""

    __slots__ = ("_clock", "_numbers", "_tools", "_wire")

    def __init__(self, wire: McpWire, clock: Clock) -> None:
        self._wire = wire
        self._clock = clock
        self._numbers = itertools.count(1)
        self._tools: dict[str, _Tools] = {}

    async def discover(self, call: Outgoing) -> Heard:
        """Ask what the server is. See `McpWire.ask` for what it raises."""
        return await self._short(
            Outgoing(method=DISCOVER, headers=call.headers, modes=call.modes, client_name=call.client_name)
        )

    async def _short(self, call: Outgoing) -> Heard:
        number, params = next(self._numbers), dress(call)
        headers = envelope_headers(call.headers, call.method, params)
        return await self._wire.ask(headers, request_message(number, call.method, params), number)

    async def request(self, call: Outgoing, *, on_ask: OnAsk, on_note: OnNote) -> Heard:
        """Send one request, and again with the answers, until its result is complete; see the port."""
        heard = await self._sent(call, _NOTHING, on_note)
        pause_s = FIRST_PAUSE_S
        for _ in range(MAX_ROUNDS):
            asked = self._asked_in(heard)
            if asked is None:
                return heard
            with arriving(asked.asks):
                if asked.asks:
                    replies, pause_s = await _collect(asked, call, on_ask), FIRST_PAUSE_S
                else:
                    await sleep_on(self._clock, pause_s)
                    replies, pause_s = {}, min(pause_s * 2, LONGEST_PAUSE_S)
                heard = await self._sent(call, _Extra(retry_members(asked, replies), asked.asks), on_note)
                if heard.status >= 300:
                    tell(asked.asks, refused(heard, "the answer"))
        if self._asked_in(heard) is None:
            return heard
        raise BadBridgeReply(f"expected a complete result within {MAX_ROUNDS} rounds")

    def _asked_in(self, heard: Heard) -> InputRequired | None:
        result = heard.response.result
        return None if result is None else read_input_required(result, next(self._numbers))

    async def _sent(self, call: Outgoing, extra: _Extra, on_note: OnNote) -> Heard:
        """One round; a call whose repeated arguments are refused is sent again with what its tool wants now."""
        heard = await self._round(call, extra, on_note)
        if call.method == _CALL and is_refusal_of(heard.response, HEADER_MISMATCH):
            self._tools.pop(call.principal, None)
            heard = await self._round(call, extra, on_note)
        return heard

    async def _round(self, call: Outgoing, extra: _Extra, on_note: OnNote) -> Heard:
        number, params = next(self._numbers), dress(call, extra.members)
        headers = envelope_headers(call.headers, call.method, params) | await self._argument_headers(call)
        body = request_message(number, call.method, params)
        async with self._wire.open(headers, body) as incoming:
            if incoming.status >= 300:
                return await incoming.refusal()
            tell(extra.answered)
            response = await _listen(incoming, on_note)
        if response is None:
            raise ended_early(self._wire.url)
        if not is_for(response, number):
            raise unasked(response)
        return Heard(response, 200)

    async def _argument_headers(self, call: Outgoing) -> dict[str, str]:
        if call.method != _CALL:
            return {}
        found = members(call.params)
        name = read_value(found.get("name", b"null"))
        marked = (await self._tools_of(call)).get(name) if isinstance(name, str) else None
        return argument_headers(marked, found.get("arguments", b"{}")) if marked else {}

    async def _tools_of(self, call: Outgoing) -> Mapping[str, Marked]:
        known = self._tools.get(call.principal)
        if known is None or self._clock.now() >= known.until:
            marked = await self._listed(call)
            known = _Tools(marked, self._clock.now() + TOOLS_S)
            self._tools.pop(call.principal, None)
            self._tools[call.principal] = known
            while len(self._tools) > MAX_PRINCIPALS:
                del self._tools[next(iter(self._tools))]
        return known.marked

    async def _listed(self, call: Outgoing) -> dict[str, Marked]:
        found: dict[str, Marked] = {}
        params = b"{}"
        for _ in range(MAX_PAGES):
            page = Outgoing(
                method=_LIST, params=params, headers=call.headers, modes=call.modes, client_name=call.client_name
            )
            try:
                heard = await self._short(page)
                tools, cursor = read_tools(heard.response.result or b"{}")
            except (BridgeRefused, BadBridgeReply, InvalidInput):
                break  # no tools that we could know anything of; the call itself says what is wrong
            found |= tools
            if cursor is None:
                break
            params = b'{"cursor":%b}' % cursor
        return found

    def forget(self, principal: str) -> None:
        """Forget the tools that this principal sees."""
        self._tools.pop(principal, None)


async def _listen(incoming: Incoming, on_note: OnNote) -> Response | None:
    while (message := await incoming.next()) is not None:
        if isinstance(message, Response):
            return message
        if isinstance(message, Request):
            raise BadBridgeReply("expected no request of the server's own, as its era has none")
        await on_note(message.raw)
    return None


async def _collect(asked: InputRequired, call: Outgoing, on_ask: OnAsk) -> dict[str, Reply]:
    """The replies to all questions of a round, which go up together.

    Whoever gave one of the first may be the one who has to give the last: only that one hears whether they arrived.
    """
    left = {ask.key for ask in asked.asks}

    async def put(ask: ServerAsk) -> Reply:
        reply = await put_question(ask, call, on_ask)
        left.discard(ask.key)
        if left:
            ask.arrival.tell()
        return reply

    try:
        async with asyncio.TaskGroup() as group:
            tasks = {ask.key: group.create_task(put(ask)) for ask in asked.asks}
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return {key: task.result() for key, task in tasks.items()}
