"""The outcomes of the calls of one MCP client on a pipe: of those served here, and of waits that the server serves.

A wait that was passed on is over when a response with its id passes by; until then its id is remembered.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from proxy.core.outcome import Result
from proxy.downstream.mcp_lines import lines_of
from proxy.downstream.served import Draft
from proxy.mcp.jsonrpc import RequestId, envelope_of
from proxy.ports import Clock, Recorder

MAX_RELAYED: Final = 1_000
"""Most waits at the server whose end is waited for; what is beyond leaves no outcome. Source: ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One call while it is served."""

    draft: Draft
    method: str
    tool: str
    began: float


class Ledger:
    """Turns each call into one outcome."""

    __slots__ = ("_clock", "_recorder", "_relayed")

    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock
        self._relayed: dict[RequestId, Served] = {}

    def begin(self, draft: Draft, tool: str, *, method: str = "tools/call") -> Served:
        """A call is served from now on."""
        draft.opened_at = self._clock.wall()
        return Served(draft=draft, method=method, tool=tool, began=self._clock.now())

    def follow(self, task: "asyncio.Task[None]", draft: Draft, tool: str) -> None:
        """The same, by this task: its end is the end of the call, whatever ends it."""
        served = self.begin(draft, tool)
        task.add_done_callback(lambda _: self.end(served))

    def end(self, served: Served) -> None:
        """It is over, as its draft says."""
        seconds = self._clock.now() - served.began
        self._recorder.record(served.draft.outcome(seconds=seconds, method=served.method, path=served.tool))

    def passed_on(self, request_id: RequestId, draft: Draft, tool: str) -> None:
        """The server serves this wait."""
        if len(self._relayed) < MAX_RELAYED:
            self._relayed[request_id] = self.begin(draft, tool)

    def cancelled(self, request_id: RequestId) -> None:
        """The client no longer wants this response."""
        served = self._relayed.pop(request_id, None)
        if served is not None:
            self.end(served)

    def passed_by(self, block: bytes) -> None:
        """These lines go from the server to the client; the responses among them end their waits."""
        if not self._relayed:
            return
        for line in lines_of(block):
            envelope = envelope_of(line)
            if envelope is None or not envelope.is_response or not isinstance(envelope.id, str | int):
                continue
            served = self._relayed.pop(envelope.id, None)
            if served is not None:
                served.draft.result, served.draft.status = Result.RELAYED, 200
                self.end(served)

    def close(self) -> None:
        """The client has left before its waits were over."""
        for served in self._relayed.values():
            self.end(served)
        self._relayed.clear()
