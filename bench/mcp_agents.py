"""A simulated agent behind an MCP client: it waits for ever with its cursor kept, and answers what it is asked.

However a question reaches it (as an item of the result, in the middle of the call, or as a result that needs input
first), it does with it what its fate is.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from bench.ledger import Ledger
from bench.mcp_lines import CALL_ERRORS, HttpLine, Line
from bench.mcp_words import (
    RESPOND_TOOL,
    WAIT_TOOL,
    Fate,
    Message,
    Result,
    Told,
    UnexpectedError,
    answer_of,
    asked_in,
    fate_of,
    number_in,
    read_wait,
    respond_arguments,
    tool_params,
    wait_arguments,
)

RETRY_S: Final = 0.1
"""Pause after a wait that failed. Source: ours; long enough not to flood."""

LATE_S: Final = 1.5
"""Pause before an answer that is to come after the wait. Source: ours; longer than the waits of the soak."""

ROUNDS: Final = 4
"""How often a result may need input before it is one. Source: ours; one round is normal, a second for what was left."""

RENEW_AFTER: Final = 50
"""Waits after which a client ends its session and opens another. Source: ours; a few times an hour."""


IN_RESULT: Final = "in a result"
IN_CALL: Final = "in the middle of a call"
AS_INPUT: Final = "as a result that needs input"


@dataclass(slots=True)
class McpLedger(Ledger):
    """A ledger that also knows on which way items came."""

    ways: Counter[str] = field(default_factory=Counter)

    def came(self, number: int, way: str) -> bool:
        """Note an arrival now; True for the first one of an item."""
        is_first = self.received(number, time.perf_counter())
        self.ways[way] += is_first
        return is_first


class McpAgent:
    """One agent at one client."""

    __slots__ = ("_group", "_ledger", "_line", "_open_answers", "cursor", "name", "waits")

    def __init__(self, name: str, line: Line, ledger: McpLedger) -> None:
        self.name = name
        self.cursor = 0
        self.waits = 0
        self._line = line
        self._ledger = ledger
        self._group: asyncio.TaskGroup | None = None
        self._open_answers = 0

    async def wait_on(self, group: asyncio.TaskGroup, *, wait_s: int) -> None:
        """Wait for ever; answers are given in `group`."""
        self._group = group
        while True:
            try:
                await self._wait(wait_s)
                self.waits += 1
                if self.waits % RENEW_AFTER == 0:
                    await self._renew()
            except CALL_ERRORS as error:
                self.failed("wait", error)
                await asyncio.sleep(RETRY_S)

    def failed(self, what: str, error: BaseException) -> None:
        """Note a call that went wrong."""
        self._ledger.failed(f"{what} of {self.name.partition('-')[0]}: {type(error).__name__}: {str(error)[:200]}")

    async def _wait(self, wait_s: int) -> None:
        params = tool_params(WAIT_TOOL, wait_arguments(self.name, since=self.cursor, wait_s=wait_s))
        result = await self._line.call("tools/call", params, self.asked, wait_s=wait_s)
        for _ in range(ROUNDS):
            if not result.state:
                self._take(read_wait(result, self.name))
                return
            responses, pause_s = self._responses(result)
            if not responses:  # left without an answer; the next wait begins anew
                return
            await asyncio.sleep(pause_s)
            again = {**params, "requestState": result.state, "inputResponses": responses}
            result = await self._line.call("tools/call", again, self.asked, wait_s=wait_s)
            self._ledger.answers += len(responses)
        raise UnexpectedError("a wait needs input again and again")

    def _take(self, told: Told) -> None:
        self.cursor = max(self.cursor, told.cursor)
        for text in told.failed:
            self._ledger.failed(f"answer of {self.name.partition('-')[0]}: {text[:200]}")
        for seen in told.seen:
            is_first = self._ledger.came(seen.number, IN_RESULT)
            if seen.elicitation_id and is_first:
                self._begin(seen.number, seen.elicitation_id, None)

    def asked(self, question: Message) -> None:
        """A question came in the middle of a call."""
        number = number_in(question.params.message)
        if question.id is None or number is None:
            return  # one that nobody counts
        self._ledger.came(number, IN_CALL)
        self._begin(number, "", question.id)

    def _responses(self, result: Result) -> tuple[dict[str, object], float]:
        """The answers that a result needs, and the pause before they are given."""
        fates: dict[str, Fate] = {}
        for key, number in asked_in(result).items():
            self._ledger.came(number, AS_INPUT)
            fates[key] = fate_of(number)
        answered = {key: answer_of(fate) for key, fate in fates.items() if fate is not Fate.LEAVE}
        return {**answered}, LATE_S if Fate.LATE in fates.values() else 0.0

    def _begin(self, number: int, elicitation_id: str, request_id: int | str | None) -> None:
        fate = fate_of(number)
        if fate is Fate.LEAVE or self._group is None:
            return
        self._open_answers += 1
        if request_id is None:
            self._group.create_task(self._respond(elicitation_id, fate))
        else:
            self._group.create_task(self._answer(request_id, fate))

    async def _respond(self, elicitation_id: str, fate: Fate) -> None:
        """Answer with the respond tool."""
        params = tool_params(RESPOND_TOOL, respond_arguments(elicitation_id, fate))
        try:
            await asyncio.sleep(LATE_S if fate is Fate.LATE else 0.0)
            result = await self._line.call("tools/call", params, self.asked)
            if result.is_error:
                raise UnexpectedError(f"the answer was refused: {result.content[:1]}")
            self._ledger.answers += 1
        except CALL_ERRORS as error:
            self.failed("answer", error)
        finally:
            self._open_answers -= 1

    async def _answer(self, request_id: int | str, fate: Fate) -> None:
        """Answer the question that came in the middle of a call."""
        try:
            await asyncio.sleep(LATE_S if fate is Fate.LATE else 0.0)
            await self._line.answer(request_id, answer_of(fate))
            self._ledger.answers += 1
        except CALL_ERRORS as error:
            self.failed("answer", error)
        finally:
            self._open_answers -= 1

    async def _renew(self) -> None:
        """End the session and open another, unless an answer still belongs to it."""
        if isinstance(self._line, HttpLine) and not self._open_answers:
            await self._line.close()
            await self._line.open()
