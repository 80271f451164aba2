"""What passes from the server to a client on a pipe, and the few lines of it that are changed."""

import orjson
import pytest

from proxy.core.flags import FlagSet
from proxy.downstream import mcp_passing
from tests.support.manual_clock import settle
from tests.support.stdio_pipe import cancelled, line, pipe

pytestmark = pytest.mark.requirement("stdio.tool_notes")

WARNED = FlagSet(deprecation_warnings=True)
WAIT = b'{"description":"Waits.","x":1.0,"name":"wait_for_messages"}'
NOTED = b'{"description":"Waits.\\n\\nDeprecated.","x":1.0,"name":"wait_for_messages"}'
OTHER = b'{ "name" : "echo", "description":"Echoes." }'


def _list(request_id: object = 3) -> bytes:
    return line("tools/list", {}, id=request_id)


def _tools(*tools: bytes, request_id: bytes = b"3", end: bytes = b"\n") -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":{"tools":[%b],"ttlMs":0}}%b' % (request_id, b",".join(tools), end)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
async def test_a_list_of_tools_has_the_note_and_every_other_byte_is_as_it_came(end: bytes) -> None:
    async with pipe(flags=WARNED) as made:
        others = b'{"jsonrpc":"2.0","id":4,"result":{"tools":[%b]}}\n no json \n' % WAIT
        await made.say(_list())
        made.server.put(others + _tools(WAIT, OTHER, end=end) + others)
        await settle()
        assert made.to_server.text == _list()
        assert made.to_client.text == others + _tools(NOTED, OTHER, end=end) + others
        made.to_client.text = b""
        made.server.put(_tools(WAIT))
        await settle()
        assert made.to_client.text == _tools(WAIT)


async def test_the_list_is_noted_whatever_comes_in_one_piece_with_it() -> None:
    async with pipe(flags=WARNED) as made:
        said = line("tools/call", {"name": "echo"}, id=1) + _list("l") + line("resources/list", {}, id=2)
        await made.say(said)
        assert made.to_server.text == said
        made.server.put(_tools(WAIT, request_id=b'"l"')[:20])
        made.server.put(_tools(WAIT, request_id=b'"l"')[20:])
        await settle()
        assert made.to_client.text == _tools(NOTED, request_id=b'"l"')


@pytest.mark.parametrize(
    "reply",
    [
        _tools(OTHER),
        b'{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"no tools"}}\n',
        b'{"jsonrpc":"2.0","id":3,"id":3,"result":{"tools":[%b]}}\n' % WAIT,
        b'{"jsonrpc":"2.0","method":"sampling/createMessage","id":3,"result":{"tools":[%b]}}\n' % WAIT,
        b'[{"jsonrpc":"2.0","id":3,"result":{"tools":[%b]}}]\n' % WAIT,
    ],
)
async def test_what_is_no_list_with_such_a_tool_passes_as_it_came(reply: bytes) -> None:
    async with pipe(flags=WARNED) as made:
        await made.say(_list())
        made.server.put(reply)
        await settle()
        assert made.to_client.text == reply


async def test_without_the_flag_lists_pass_as_they_came() -> None:
    async with pipe(flags=FlagSet()) as made:
        await made.say(_list())
        made.server.put(_tools(WAIT))
        await settle()
        assert made.to_client.text == _tools(WAIT)


async def test_a_cancelled_list_is_no_longer_looked_for() -> None:
    async with pipe(flags=WARNED) as made:
        await made.say(_list(), cancelled(3))
        assert made.to_server.text == _list() + cancelled(3)
        made.server.put(_tools(WAIT))
        await settle()
        assert made.to_client.text == _tools(WAIT)


async def test_so_many_lists_are_looked_for_and_not_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_passing, "MAX_LISTS", 1)
    async with pipe(flags=WARNED) as made:
        await made.say(_list(3), _list(4), line("tools/list", {}))
        made.server.put(_tools(WAIT, request_id=b"4") + _tools(WAIT))
        await settle()
        assert made.to_client.text == _tools(WAIT, request_id=b"4") + _tools(NOTED)


@pytest.mark.requirement("stdio.untouched")
async def test_the_answer_to_the_handshake_passes_as_it_came() -> None:
    async with pipe() as made:
        await made.open()
        answer = b'{ "result" : {"protocolVersion": "2025-06-18", "n": 1.0}, "jsonrpc":"2.0" , "id":0 }\r\n'
        made.server.put(b'{"id":null,"jsonrpc":"2.0","error":{}}\n' + answer)
        await settle()
        assert made.to_client.text == b'{"id":null,"jsonrpc":"2.0","error":{}}\n' + answer
        assert orjson.loads(answer)["id"] == 0
