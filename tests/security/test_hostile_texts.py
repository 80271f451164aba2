"""Texts of peers that would be something else where they are shown: an event, a line of a log, a command."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result

from proxy.cli.flags import command as flags_command
from proxy.mcp.sse import write_comment, write_event
from proxy.observe.logs import Format, configure, logger
from tests.support.house import fields, stand
from tests.support.mcp_dialogue import dialogue, open_as
from tests.support.mcp_stand import WAIT, mcp_stand, tool
from tests.support.raw_http import connect

ESC: Final = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2066\u200b\u2028\x7f"
"""Sets the title, clears the screen, colours, turns the text around, and hides."""

LINES: Final = '\r\n\n{"event":"forged","level":"info"}\n2026-01-01 [info] forged\r'


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Leave the loggers as they were."""
    root, ours = logging.getLogger(), logging.getLogger("proxy")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.mark.requirement("texts.streams")
class TestStreams:
    @pytest.mark.parametrize("text", ["a\r\n\r\nevent: forged\r\ndata: {}", "a\n\nid: 7\n\n", "\r\rdata: x", LINES])
    def test_no_text_begins_another_event(self, text: str) -> None:
        for frame in (write_event(text.encode()), write_comment(text)):
            body, end = frame[:-2], frame[-2:]
            assert (end, b"\r" in frame, b"\n\n" in body) == (b"\n\n", False, False)
            allowed = (b"event: message", b"data: ", b": ")
            assert all(line.startswith(allowed) for line in body.split(b"\n"))

    async def test_a_question_with_line_ends_is_one_event_and_says_the_same(self, tmp_path: Path) -> None:
        text = "Which?\r\n\r\nevent: message\r\ndata: {}\n\nid: 9\u2028" + ESC
        async with mcp_stand(tmp_path, MappingProxyType({"agent.delivery": "elicit"})) as made:
            await made.ask(message=text)
            body = tool(WAIT, {"agent_id": "bob", "since_sequence": 5, "timeout_seconds": 5})
            async with dialogue(made, body, await open_as(made)) as talk:
                question = await talk.asked()
                assert fields(question["params"])["message"] == text
                await talk.answer(question, {"action": "decline"})
                assert await talk.next() is not None
                assert await talk.next() is None
            assert not [line for line in bytes(talk.raw).splitlines() if line.startswith(b"id:")]


@pytest.mark.requirement("texts.logs")
class TestLogs:
    @pytest.mark.parametrize("form", ["json", "console"])
    @pytest.mark.usefixtures("root_logger")
    async def test_no_peer_writes_a_line_or_drives_a_terminal(self, tmp_path: Path, form: Format) -> None:
        stream = io.StringIO()
        configure("debug", form, stream)
        async with stand(tmp_path) as made:
            token = await made.bridge.token("bob")
            agent = "bob\u00ad\ue000" + ESC + LINES
            await made.house.call(
                "GET",
                "/event/wait?agent_id=a%0d%0aforged%1b%5b2J%C2%9B31m%E2%80%AE&timeout_seconds=0",
                token=token,
                headers={"User-Agent": "x \x9b31m"},
            )
            await made.respond(token, f"elicit{ESC}", responding_agent=agent)
            await made.store(token, {"elicitation_id": LINES, "x": ESC}, agent_id=agent)
            async with connect(made.house.port) as wire:
                await wire.send("GET /\x9b2J%0aforged\u202e HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                await wire.reply()
            log, event = logger("proxy.observe.recorder"), f"defect{ESC}{LINES}"
            log.warning(event, where=LINES, names=[ESC, LINES], **{f"key{ESC}": ESC})
            log.warning("defect", where=ESC, exc_info=ValueError(ESC + LINES))
        text = stream.getvalue()
        assert text.count("defect") >= 2
        assert [line for line in text.split("\n") if not line.isprintable()] == []
        assert not [line for line in text.split("\n") if line.startswith(('{"event":"forged"', "2026-01-01 [info]"))]
        if form == "json":
            assert all(isinstance(json.loads(line), dict) for line in text.splitlines())


@asynccontextmanager
async def _liar(status: int, document: object, content_type: str = "application/json") -> AsyncIterator[str]:
    """An admin port that is none."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=orjson.dumps(document), content_type=content_type)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"127.0.0.1:{server.port}"


async def _flags(address: str, *words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, flags_command, [*words, "--admin", address])


def _is_harmless(result: Result) -> bool:
    return all(line.isprintable() for line in result.output.split("\n"))


@pytest.mark.requirement("texts.terminal")
class TestTerminal:
    @pytest.mark.parametrize("words", [("get",), ("get", "--json"), ("set", "legacy_support=true")])
    async def test_flags_with_escapes_are_shown_and_not_obeyed(self, words: tuple[str, ...]) -> None:
        async with _liar(200, {f"flag{ESC}": ESC + LINES, "elicitation_whitelist": [ESC], "version": 1}) as address:
            result = await _flags(address, *words)
        assert (result.exit_code, _is_harmless(result)) == (0, True)
        assert "owned" in result.output

    @pytest.mark.parametrize("words", [("history",), ("history", "--json")])
    async def test_a_history_with_escapes_is_shown_and_not_obeyed(self, words: tuple[str, ...]) -> None:
        change = {"version": 1, "at": 1.0, "author": ESC, "reason": LINES, "changes": {ESC: [ESC, LINES]}}
        async with _liar(200, {"history": [change]}) as address:
            result = await _flags(address, *words)
        assert (result.exit_code, _is_harmless(result)) == (0, True)
        assert result.output.count("\n") == 1

    async def test_json_means_the_same_after_it_was_made_harmless(self) -> None:
        told = {"flag": ESC + LINES, "n": 9007199254740993}
        async with _liar(200, told) as address:
            result = await _flags(address, "get", "--json")
        assert json.loads(result.stdout) == told

    @pytest.mark.parametrize("document", [{"detail": ESC + LINES}, {"detail": [ESC]}, [ESC], {}])
    async def test_a_refusal_with_escapes_is_shown_and_not_obeyed(self, document: object) -> None:
        async with _liar(403, document, "application/problem+json") as address:
            result = await _flags(address, "get")
        assert (result.exit_code, _is_harmless(result)) == (1, True)
