"""Whether an answer has reached the server, as both eras tell it."""

import asyncio
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from proxy.core.elicitation import AnswerKind
from proxy.core.errors import BridgeFault, BridgeRefused, BridgeUnavailable
from proxy.mcp.ask import Answered, Reply
from proxy.mcp.calling import Outgoing, ServerAsk
from proxy.mcp.jsonrpc import Response
from proxy.mcp.revisions import Era, Mode
from proxy.upstream.mcp_handshake import LAST_ANSWER_S
from tests.support.manual_clock import settle
from tests.support.scripted_mcp import (
    FORM,
    Answering,
    Calls,
    Got,
    Script,
    UpstreamStand,
    asks,
    result_of,
    unheard,
    upstream_stand,
)

pytestmark = pytest.mark.requirement("mcp.source.arrival")

YES = Answered(AnswerKind.ACCEPT, {"name": "zed"})
CALL = Outgoing(method="tools/call", params=b'{"name":"ask","arguments":{}}', principal="p", modes=frozenset(Mode))
ROUND = {"method": "elicitation/create", "params": {"mode": "form", **FORM}}


@dataclass(slots=True)
class Hearing(Answering):
    """An OnAsk that hears what becomes of its replies."""

    heard: dict[str, BridgeFault | None] = field(default_factory=dict)
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, ask: ServerAsk) -> Reply:
        """Note the fate of the reply."""

        def note(fault: BridgeFault | None) -> None:
            assert ask.key not in self.heard
            self.heard[ask.key] = fault
            self.bell.set()

        ask.arrival.heard_by = note
        return await Answering.__call__(self, ask)

    async def hears(self) -> None:
        """Wait until a reply has its fate."""
        async with asyncio.timeout(5):
            await self.bell.wait()


def send(stand: UpstreamStand, era: Era, asked: Hearing) -> "asyncio.Task[Response]":
    # Not in the group, which an error of the request would end.
    request = stand.upstream.request(era, CALL, on_ask=asked, on_note=unheard)
    return asyncio.get_running_loop().create_task(request)


# The handshake era: the answer is a message of its own.


def answering_with(status: int, may_end: asyncio.Event, may_say: asyncio.Event) -> Script:
    """A tool that asks once and ends when it may; the status of the answer's own reply is said when that may be."""

    async def script(got: Got) -> web.StreamResponse | None:
        if got.method is None and got.verb == "POST":
            await may_say.wait()
            return web.Response(status=status)
        if got.method != "tools/call":
            return None
        line = await got.line()
        await line.say(asks("q"))
        await may_end.wait()
        return await line.finish({"done": True})

    return script


async def test_an_answer_has_arrived_when_the_server_has_taken_it() -> None:
    may_end, may_say, hearing = asyncio.Event(), asyncio.Event(), Hearing()
    async with upstream_stand(answering_with(202, may_end, may_say)) as stand:
        call = send(stand, Era.HANDSHAKE, hearing)
        await hearing.until(1)
        hearing.reply("q", YES)
        await stand.server.until(1, None)
        await settle()
        assert hearing.heard == {}
        may_say.set()
        await hearing.hears()
        assert hearing.heard == {"q": None}
        may_end.set()
        assert result_of(await call) == {"done": True}


async def test_an_answer_that_is_refused_has_not_arrived() -> None:
    may_end, may_say, hearing = asyncio.Event(), asyncio.Event(), Hearing()
    may_say.set()
    async with upstream_stand(answering_with(500, may_end, may_say)) as stand:
        call = send(stand, Era.HANDSHAKE, hearing)
        await hearing.until(1)
        hearing.reply("q", YES)
        with pytest.raises(BridgeRefused):
            await call
        may_end.set()
    fault = hearing.heard["q"]
    assert isinstance(fault, BridgeRefused)
    assert fault.bridge_status == 500


@pytest.mark.parametrize("status", [202, 500])
async def test_a_response_that_overtakes_the_servers_word_on_the_answer_waits_for_it(status: int) -> None:
    may_end, may_say, hearing = asyncio.Event(), asyncio.Event(), Hearing()
    async with upstream_stand(answering_with(status, may_end, may_say)) as stand:
        call = send(stand, Era.HANDSHAKE, hearing)
        await hearing.until(1)
        hearing.reply("q", YES)
        await stand.server.until(1, None)
        may_end.set()
        await stand.pause()
        assert hearing.heard == {}
        may_say.set()
        assert result_of(await call) == {"done": True}
    assert (hearing.heard["q"] is None) == (status == 202)


async def test_such_a_response_does_not_wait_for_long() -> None:
    may_end, may_say, hearing = asyncio.Event(), asyncio.Event(), Hearing()
    async with upstream_stand(answering_with(202, may_end, may_say)) as stand:
        call = send(stand, Era.HANDSHAKE, hearing)
        await hearing.until(1)
        hearing.reply("q", YES)
        await stand.server.until(1, None)
        may_end.set()
        assert await stand.pause() == LAST_ANSWER_S
        await stand.clock.advance(LAST_ANSWER_S)
        assert result_of(await call) == {"done": True}
        may_say.set()
    assert isinstance(hearing.heard["q"], BridgeUnavailable)


@pytest.mark.parametrize("era", list(Era))
async def test_without_a_reply_nothing_arrives(era: Era) -> None:
    async def ask(got: Got) -> web.StreamResponse:
        if era is Era.ENVELOPE:
            return got.result({"resultType": "input_required", "inputRequests": {"q": ROUND}})
        line = await got.line()
        await line.say(asks("q"))
        await stand.server.until(1, "notifications/cancelled")
        return line.stream

    hearing = Hearing()
    async with upstream_stand(Calls(ask)) as stand:
        call = send(stand, era, hearing)
        await hearing.until(1)
        call.cancel()
        await asyncio.wait({call})
    assert isinstance(hearing.heard["q"], BridgeUnavailable)
    assert stand.server.answers == []


# The envelope era: the answers of a round are sent together, with the request.


def rounds(reply: object, *keys: str) -> Calls:
    """A tool that asks these questions in one round, and replies so to the next one."""

    async def ask(got: Got) -> web.StreamResponse:
        return got.result({"resultType": "input_required", "inputRequests": dict.fromkeys(keys, ROUND)})

    return Calls(ask, reply)


async def test_answers_have_arrived_when_the_next_round_is_taken_before_its_end() -> None:
    may_begin, may_end, hearing = asyncio.Event(), asyncio.Event(), Hearing()

    async def take(got: Got) -> web.StreamResponse:
        await may_begin.wait()
        line = await got.line()
        await may_end.wait()
        return await line.finish({"resultType": "complete"})

    async with upstream_stand(rounds(take, "q")) as stand:
        call = send(stand, Era.ENVELOPE, hearing)
        await hearing.until(1)
        hearing.reply("q", YES)
        await stand.server.until(2, "tools/call")
        await settle()
        assert hearing.heard == {}
        may_begin.set()
        await hearing.hears()
        assert hearing.heard == {"q": None}
        assert not call.done()
        may_end.set()
        await call


async def test_only_the_last_answer_of_a_round_waits_for_it() -> None:
    async def refuse(_: Got) -> web.StreamResponse:
        return web.Response(status=500)

    hearing = Hearing()
    async with upstream_stand(rounds(refuse, "one", "two")) as stand:
        call = send(stand, Era.ENVELOPE, hearing)
        await hearing.until(2)
        hearing.reply("two", YES)
        await hearing.hears()
        assert hearing.heard == {"two": None}
        hearing.reply("one", YES)
        with pytest.raises(BridgeRefused):
            await call
    fault = hearing.heard["one"]
    assert isinstance(fault, BridgeRefused)
    assert fault.bridge_status == 500


async def test_answers_that_the_protocol_refuses_have_not_arrived() -> None:
    async def refuse(got: Got) -> web.StreamResponse:
        return got.error(-32602, status=400)

    hearing = Hearing()
    async with upstream_stand(rounds(refuse, "q")) as stand:
        call = send(stand, Era.ENVELOPE, hearing)
        await hearing.until(1)
        hearing.reply("q", YES)
        assert (await call).error is not None
    fault = hearing.heard["q"]
    assert isinstance(fault, BridgeRefused)
    assert (fault.bridge_status, b"-32602" in fault.body) == (400, True)


async def test_whoever_gives_up_the_round_leaves_no_answer_without_a_fate() -> None:
    may_end, hearing = asyncio.Event(), Hearing()

    async def hang(got: Got) -> web.StreamResponse:
        await may_end.wait()
        return got.result({"resultType": "complete"})

    async with upstream_stand(rounds(hang, "q")) as stand:
        call = send(stand, Era.ENVELOPE, hearing)
        await hearing.until(1)
        hearing.reply("q", YES)
        await stand.server.until(2, "tools/call")
        call.cancel()
        await asyncio.wait({call})
        may_end.set()
    assert isinstance(hearing.heard["q"], BridgeUnavailable)
