"""The door on standard input and output where something does not flow: full pipes, ends, lines that are too long."""

import asyncio

import orjson
import pytest

from proxy.core.outcome import Result
from proxy.downstream import mcp_lines, mcp_pipe
from tests.support.manual_clock import settle
from tests.support.stdio_pipe import INITIALIZE, asked_by_wait, pipe, respond, wait

LINES = (b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n', b"no json\n", b'{"jsonrpc":"2.0","method":"x"}\n')


@pytest.mark.requirement("stdio.end")
async def test_what_never_reached_the_client_is_offered_again() -> None:
    async with pipe() as made:
        await made.open()
        made.stand.bridge.ask("bob")
        made.to_client.is_broken = True
        await made.say(wait(1))
        await made.stand.clock.advance(5)
        assert made.door.client_gone.is_set()
        assert made.results() == [Result.GONE]
        made.to_client.is_broken = False
        await made.say(wait(2))
        await made.stand.clock.advance(1)
        assert len(made.events(2)) == 1


@pytest.mark.requirement("stdio.end")
async def test_dropped_waits_say_nothing_and_give_their_questions_back() -> None:
    async with pipe() as made:
        await made.open()
        made.to_client.room.clear()
        made.stand.bridge.ask("bob")
        await made.say(wait(1), wait(2, "carol"))
        await made.stand.clock.advance(5)
        made.door.drop()
        await settle()
        assert made.results() == [Result.GONE, Result.GONE]
        made.to_client.room.set()
        made.to_client.text = b""
        await made.say(wait(3))
        await made.stand.clock.advance(1)
        assert len(made.events(3)) == 1


@pytest.mark.requirement("stdio.end")
async def test_an_answer_that_is_on_its_way_is_waited_for() -> None:
    async with pipe() as made:
        asked = await asked_by_wait(made)
        gate = made.stand.bridge.gate("respond")
        await made.say(respond(2, asked, data={"colour": "red"}))
        await gate.reached()
        made.door.drop()
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(made.door.settle(5))
            await settle()
            assert not settling.done()
            gate.open()
        assert len(made.stand.bridge.answers) == 1


async def test_what_takes_too_long_is_given_up() -> None:
    async with pipe() as made:
        asked = await asked_by_wait(made)
        gate = made.stand.bridge.gate("respond")
        await made.say(respond(2, asked, data={"colour": "red"}))
        await gate.reached()
        await made.door.settle(0)
        await settle()
        assert made.results()[-1] is Result.GONE
        gate.open()


@pytest.mark.requirement("stdio.flow")
async def test_a_client_that_does_not_read_holds_up_nothing_it_says() -> None:
    async with pipe() as made:
        await made.open()
        made.to_client.room.clear()
        made.server.put(b"{}\n")
        await made.say(*LINES)
        assert made.to_server.text == INITIALIZE + b"".join(LINES)


@pytest.mark.requirement("stdio.flow")
async def test_a_server_that_does_not_read_holds_up_nothing_it_says() -> None:
    async with pipe() as made:
        made.to_server.room.clear()
        await made.say(*LINES)
        assert made.to_server.text == LINES[0]
        made.server.put(b"{}\n", b"[]\n")
        await settle()
        assert made.to_client.text == b"{}\n[]\n"


async def test_requests_to_a_server_that_reads_no_more_are_refused() -> None:
    async with pipe() as made:
        made.to_server.is_broken = True
        await made.say(b'{"jsonrpc":"2.0","id":"a","method":"tools/list"}\n{"jsonrpc":"2.0","method":"x"}\nnonsense\n')
        error = made.to_client.of("a")["error"]
        assert isinstance(error, dict)
        assert error["code"] == 1502
        assert len(made.to_client.messages) == 1
        await made.say(b"the rest", b"")
        assert [what for what, _ in made.log.said] == ["the server reads no more"] * 2


@pytest.fixture(name="_short_lines")
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_pipe, "LineSplitter", lambda: mcp_lines.LineSplitter(2_000))


@pytest.mark.requirement("stdio.too_long")
@pytest.mark.usefixtures("_short_lines")
async def test_lines_that_are_too_long_are_refused_to_whoever_waits_for_them() -> None:
    big = {"text": "x" * 3_000}
    async with pipe() as made:
        for message in (
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": big},
            {"jsonrpc": "2.0", "id": 2, "result": big},
            {"jsonrpc": "2.0", "method": "notifications/message", "params": big},
        ):
            text = orjson.dumps(message) + b"\n"
            made.client.put(text[:1_500], text[1_500:])
            made.server.put(text[:1_500], text[1_500:])
        await settle()
        for paper in (made.to_client, made.to_server):
            errors = [(message["id"], message["error"]["code"]) for message in paper.messages]  # type: ignore[index]
            assert sorted(errors) == [(1, 1413), (2, 1413)]
        assert len(made.log.said) == 6


@pytest.mark.requirement("stdio.flow")
@pytest.mark.usefixtures("_short_lines")
async def test_what_is_served_here_at_once_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_pipe, "MAX_SERVED", 2)
    async with pipe() as made:
        await made.open()
        await made.say(wait(1), wait(2), wait(3))
        assert made.to_server.text == INITIALIZE + wait(3)
        text = orjson.dumps({"jsonrpc": "2.0", "id": 9, "method": "x", "params": ["y" * 3_000]}) + b"\n"
        await made.say(text[:1_500], text[1_500:])
        assert made.to_client.text == b""
        assert [what for what, _ in made.log.said] == ["a line is too long", "nobody reads the refusals"]


async def test_downward_ends_when_the_client_reads_no_more() -> None:
    async with pipe() as made:
        made.to_client.is_broken = True
        made.server.put(b"{}\n", b"lost")
        async with asyncio.timeout(5):
            await made.door.client_gone.wait()
