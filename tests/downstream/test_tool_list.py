"""When a list of tools gets its note on the way to a client."""

import pytest

from proxy.core.flags import FlagSet
from proxy.downstream.tool_list import ToolList
from proxy.flows.flags import FlagBoard
from proxy.mcp.tool_notes import ToolNote
from proxy.stores.memory import MemoryFlagStore
from tests.support.manual_clock import ManualClock

pytestmark = pytest.mark.requirement("mcp.tool_notes.flag")

LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list"}}'
RESULT = b'{"tools":[{"name":"wait"}]}'
NOTED = b'{"tools":[{"name":"wait","description":"Ask."}]}'


async def _tools(*, deprecated: bool) -> ToolList:
    board = FlagBoard(MemoryFlagStore(), ManualClock(), salt="", groups={})
    await board.open(FlagSet(deprecation_warnings=deprecated))
    return ToolList(board, ToolNote(frozenset({"wait"}), "Ask."))


async def test_without_the_flag_every_list_passes_as_it_comes() -> None:
    tools = await _tools(deprecated=False)
    assert tools.rewrite_for(LIST) is None
    assert tools.noted("tools/list", RESULT) is RESULT


async def test_with_the_flag_a_list_has_the_note_and_nothing_else_changes() -> None:
    tools = await _tools(deprecated=True)
    rewrite = tools.rewrite_for(LIST)
    assert rewrite is not None
    message = b'{"id":1,"result":%b}'
    assert rewrite.body(message % RESULT) == message % NOTED
    assert rewrite.frame(b"data: " + message % RESULT + b"\n\n") == b"data: " + message % NOTED + b"\n\n"
    assert tools.rewrite_for(CALL) is None


async def test_a_result_that_is_written_here_has_the_note_too() -> None:
    tools = await _tools(deprecated=True)
    assert tools.noted("tools/list", RESULT) == NOTED
    assert tools.noted("prompts/list", RESULT) is RESULT
    assert tools.noted("tools/list", b"nonsense") == b"nonsense"
