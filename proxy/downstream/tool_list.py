"""The list of tools on its way to an MCP client: while the legacy wait is deprecated, it says so.

The tool itself stays what it is and where it is. Source: ARCHITECTURE.md 2.7.
"""

from dataclasses import dataclass
from functools import partial

from proxy.core.errors import InvalidInput
from proxy.downstream.relay_edit import Rewrite
from proxy.flows.flags import FlagBoard
from proxy.mcp.tool_notes import METHOD, ToolNote, lists_tools, noted_frame, noted_message, noted_result


@dataclass(frozen=True, slots=True)
class ToolList:
    """What is said in every list of tools, as long as the flag `deprecation_warnings` is on."""

    board: FlagBoard
    note: ToolNote

    def rewrite_for(self, body: bytes) -> Rewrite | None:
        """How the reply to a message of a client has to be changed; None where it passes as it comes."""
        if not self.board.flags.deprecation_warnings or not lists_tools(body):
            return None
        return Rewrite(body=partial(noted_message, note=self.note), frame=partial(noted_frame, note=self.note))

    def noted(self, method: str, result: bytes) -> bytes:
        """A result that is written here in the server's place, as the client gets it."""
        if not self.board.flags.deprecation_warnings or method != METHOD:
            return result
        try:
            return noted_result(result, self.note)
        except InvalidInput:  # what cannot be read passes as it came
            return result
