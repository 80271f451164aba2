"""The server's lines on their way to the client on a pipe: what is learned from them, and the few that are changed.

The answer to `initialize` tells the revision, the responses to waits that were passed on tell their ends, and lists
of tools gain a note while the legacy wait is deprecated. Every other line passes as it came.

Source: PROTOCOL.md 3.3, 3.5 (step 1); ARCHITECTURE.md 2.7.
"""

from collections.abc import Callable
from typing import Final

from proxy.downstream.mcp_ledger import Ledger
from proxy.downstream.mcp_lines import lines_of
from proxy.downstream.tool_list import ToolList
from proxy.flows.client_questions import ClientQuestions
from proxy.flows.mcp_clients import McpClient
from proxy.mcp.correlation import Seat
from proxy.mcp.jsonrpc import RequestId, envelope_of
from proxy.mcp.over_http import agreed_revision

SEAT: Final = Seat(principal="", session="stdio")
"""The one client of a pipe: nobody else can speak there."""

MAX_LISTS: Final = 1_000
"""Most lists of tools under way that gain a note; what is beyond passes as it comes. Source: ours."""

_OF_SIDECAR: Final = b'"esc-'
"""Stands in every question that another sidecar behind us puts. Source: PROTOCOL.md 3.5, step 5."""


class Passing:
    """What is awaited from the server of one client."""

    __slots__ = ("_client", "_ledger", "_lists", "_opening", "_questions", "_tools")

    def __init__(self, client: McpClient, ledger: Ledger, questions: ClientQuestions, tools: ToolList) -> None:
        self._client = client
        self._ledger = ledger
        self._questions = questions
        self._tools = tools
        self._opening: RequestId | None = None
        self._lists: dict[RequestId, Callable[[bytes], bytes]] = {}

    def opening(self, request_id: RequestId) -> None:
        """The client has sent this `initialize`."""
        self._opening = request_id
        self._client.revision = None

    def asked(self, block: bytes) -> None:
        """The client sends these lines; the lists of tools that it asks for are remembered."""
        if b"list" not in block:
            return
        for line in lines_of(block):
            rewrite = self._tools.rewrite_for(line)
            envelope = None if rewrite is None else envelope_of(line)
            if rewrite is None or envelope is None or not isinstance(envelope.id, str | int):
                continue
            if len(self._lists) < MAX_LISTS:
                self._lists[envelope.id] = rewrite.body

    def cancelled(self, request_id: RequestId) -> None:
        """The client no longer wants the response to this request."""
        self._ledger.cancelled(request_id)
        self._lists.pop(request_id, None)

    def passed(self, block: bytes) -> bytes:
        """These lines come from the server; as they go to the client."""
        self._ledger.passed_by(block)
        if not self._lists and self._opening is None and _OF_SIDECAR not in block:
            return block
        return b"".join(map(self._line, lines_of(block)))

    def _line(self, line: bytes) -> bytes:
        envelope = envelope_of(line)
        if envelope is None or not isinstance(envelope.id, str | int):
            return line
        if not envelope.is_response:
            self._questions.overhear(SEAT, envelope.id)
            return line
        if envelope.id == self._opening:
            self._opening = None
            self._client.revision = agreed_revision(line)
        rewrite = self._lists.pop(envelope.id, None)
        return line if rewrite is None else _rewritten(line, rewrite)


def _rewritten(line: bytes, rewrite: Callable[[bytes], bytes]) -> bytes:
    """The line after a change of what it says; its end stays."""
    message = line.rstrip(b"\r\n")
    noted = rewrite(message)
    return line if noted is message else noted + line[len(message) :]
