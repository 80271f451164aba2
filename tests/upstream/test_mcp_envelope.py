"""Our requests to an MCP server of the envelope era, and the rounds that its questions take."""

import asyncio
from collections.abc import Callable

import orjson
import pytest
from aiohttp import web

from proxy.core.elicitation import AnswerKind
from proxy.core.errors import BadBridgeReply, BridgeRefused, BridgeUnavailable, InvalidInput, SchemaRefused
from proxy.mcp.ask import Answered, CannotBeAsked, FormQuestion, Reply, UrlQuestion
from proxy.mcp.calling import OnAsk, OnNote, Outgoing, ServerAsk
from proxy.mcp.jsonrpc import Response
from proxy.mcp.revisions import Era, Mode
from tests.support.scripted_mcp import Answering, Got, UpstreamStand, never_asked, replying, unheard, upstream_stand

pytestmark = pytest.mark.requirement("mcp.upstream.envelope")

YES = Answered(AnswerKind.ACCEPT, {"name": "zed"})
SCHEMA = {"type": "object", "properties": {}}
FORM = {"method": "elicitation/create", "params": {"mode": "form", "message": "Name?", "requestedSchema": SCHEMA}}
LINK = {"method": "elicitation/create", "params": {"mode": "url", "message": "Go", "url": "https://a.example"}}
CALL = Outgoing(
    method="tools/call",
    params=b'{"name":"ask","arguments":{"n":1},"_meta":{"progressToken":9}}',
    headers={"Authorization": "Bearer t", "traceparent": "00-1"},
    principal="p",
    modes=frozenset({Mode.FORM}),
    client_name="tester",
)

Say = Callable[[Got, int], web.StreamResponse]
"""What to answer to a call; the number counts the calls from 1."""


async def send(
    stand: UpstreamStand, call: Outgoing = CALL, *, on_ask: OnAsk = never_asked, on_note: OnNote = unheard
) -> Response:
    return await stand.upstream.request(Era.ENVELOPE, call, on_ask=on_ask, on_note=on_note)


def script(say: Say, tools: Callable[[Got], web.StreamResponse] | None = None) -> "Script":
    return Script(say, tools)


class Script:
    """Answers calls by a function, and lists of tools by another."""

    def __init__(self, say: Say, tools: Callable[[Got], web.StreamResponse] | None) -> None:
        self.say = say
        self.tools = tools
        self.calls = 0

    async def __call__(self, got: Got) -> web.StreamResponse | None:
        if got.method == "tools/list" and self.tools is not None:
            return self.tools(got)
        if got.method != "tools/call":
            return None
        self.calls += 1
        return self.say(got, self.calls)


def complete(got: Got, **more: object) -> web.StreamResponse:
    return got.result({"resultType": "complete", **more})


def required(got: Got, requests: object = None, state: str | None = None) -> web.StreamResponse:
    found = {"inputRequests": requests, "requestState": state}
    kept = {key: value for key, value in found.items() if value is not None}
    return got.result({"resultType": "input_required", **kept})


async def test_a_request_has_its_envelope_and_the_fields_that_repeat_it() -> None:
    async with upstream_stand(script(lambda got, _: complete(got, x=1))) as stand:
        response = await send(stand)
    assert response.result == b'{"resultType":"complete","x":1}'
    (got,) = stand.server.all("tools/call")
    assert got.params["name"] == "ask"
    assert got.params["arguments"] == {"n": 1}
    assert got.meta["progressToken"] == 9
    assert got.meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert got.meta["io.modelcontextprotocol/clientCapabilities"] == {"elicitation": {"form": {}}}
    info = got.meta["io.modelcontextprotocol/clientInfo"]
    assert isinstance(info, dict)
    assert info["name"] == "tester"
    sent = {name: got.headers[name] for name in ("MCP-Protocol-Version", "Mcp-Method", "Mcp-Name", "traceparent")}
    assert sent == {
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "ask",
        "traceparent": "00-1",
    }
    assert stand.server.all("initialize") == []


async def test_any_method_can_be_requested() -> None:
    async def say(got: Got) -> web.StreamResponse:
        return complete(got)

    async with upstream_stand(say) as stand:
        await send(stand, Outgoing(method="resources/read", params=b'{"uri":"a:b"}'))
    assert [got.headers["Mcp-Name"] for got in stand.server.got] == ["a:b"]


async def test_parameters_that_are_no_object_are_not_sent() -> None:
    async with upstream_stand(script(lambda got, _: complete(got))) as stand:
        with pytest.raises(InvalidInput):
            await send(stand, Outgoing(method="x", params=b"[]"))
    assert stand.server.got == []


async def test_notes_come_before_the_response() -> None:
    async def talk(got: Got) -> web.StreamResponse | None:
        if got.method != "tools/call":
            return None
        line = await got.line()
        await line.say({"method": "notifications/progress", "params": {"progress": 1}})
        return await line.finish({"resultType": "complete"})

    notes: list[bytes] = []

    async def note(raw: bytes) -> None:
        notes.append(raw)

    async with upstream_stand(talk) as stand:
        await send(stand, on_note=note)
    assert [orjson.loads(raw)["method"] for raw in notes] == ["notifications/progress"]


async def test_a_question_is_answered_by_the_same_request_with_the_answer() -> None:
    def say(got: Got, number: int) -> web.StreamResponse:
        return required(got, {"who": FORM}, "st\u00e9te") if number == 1 else complete(got, n=number)

    asked: list[ServerAsk] = []
    async with upstream_stand(script(say)) as stand:
        await send(stand, on_ask=replying(YES, asked))
    assert asked == [ServerAsk(key="who", question=FormQuestion("Name?", SCHEMA))]
    first, second = stand.server.all("tools/call")
    assert second.params == {
        **first.params,
        "inputResponses": {"who": {"action": "accept", "content": {"name": "zed"}}},
        "requestState": "st\u00e9te",
    }
    assert first.body["id"] != second.body["id"]
    assert first.headers["Mcp-Name"] == second.headers["Mcp-Name"]


async def test_each_round_takes_only_what_the_last_one_gave() -> None:
    def say(got: Got, number: int) -> web.StreamResponse:
        if number == 1:
            return required(got, {"a": FORM}, "one")
        return required(got, {"b": FORM}) if number == 2 else complete(got)

    async with upstream_stand(script(say)) as stand:
        await send(stand, on_ask=replying(Answered(AnswerKind.DECLINE)))
    second, third = stand.server.all("tools/call")[1:]
    assert (second.params["inputResponses"], second.params["requestState"]) == ({"a": {"action": "decline"}}, "one")
    assert third.params["inputResponses"] == {"b": {"action": "decline"}}
    assert "requestState" not in third.params


async def test_all_questions_of_a_round_are_open_at_once_and_no_connection_is() -> None:
    def say(got: Got, number: int) -> web.StreamResponse:
        return required(got, {"a": FORM, "b": FORM}) if number == 1 else complete(got)

    answering = Answering()
    async with upstream_stand(script(say)) as stand:
        call = stand.group.create_task(send(stand, on_ask=answering))
        await answering.until(2)
        answering.reply("b", YES)
        answering.reply("a", CannotBeAsked(-32602, "no"))
        await call
    assert stand.server.all("tools/call")[1].params["inputResponses"] == {
        "a": {"action": "cancel"},
        "b": {"action": "accept", "content": {"name": "zed"}},
    }


async def test_whoever_gives_up_between_two_rounds_sends_nothing_more() -> None:
    answering = Answering()
    async with upstream_stand(script(lambda got, _: required(got, {"a": FORM}))) as stand:
        call = stand.group.create_task(send(stand, on_ask=answering))
        await answering.until(1)
        call.cancel()
    assert answering.cancelled == ["a"]
    assert len(stand.server.all("tools/call")) == 1


@pytest.mark.parametrize("question", [LINK, FORM])
async def test_what_was_not_declared_or_is_beyond_all_bounds_is_told_as_a_cancel(question: object) -> None:
    async def refuse(_: ServerAsk) -> Reply:
        raise SchemaRefused("too deep")

    def say(got: Got, number: int) -> web.StreamResponse:
        return required(got, {"a": question}) if number == 1 else complete(got)

    async with upstream_stand(script(say)) as stand:
        await send(stand, on_ask=refuse)
    assert stand.server.all("tools/call")[1].params["inputResponses"] == {"a": {"action": "cancel"}}


async def test_a_link_gets_an_id_that_no_other_question_has() -> None:
    def say(got: Got, number: int) -> web.StreamResponse:
        return required(got, {"a": LINK}) if number <= 2 else complete(got)

    asked: list[ServerAsk] = []
    async with upstream_stand(script(say)) as stand:
        call = Outgoing(method="tools/call", params=b'{"name":"ask"}', modes=frozenset(Mode))
        await send(stand, call, on_ask=replying(Answered(AnswerKind.ACCEPT), asked))
    ids = {ask.question.elicitation_id for ask in asked if isinstance(ask.question, UrlQuestion)}
    assert len(ids) == 2


async def test_an_error_of_whoever_is_asked_ends_the_request() -> None:
    async def fail(_: ServerAsk) -> Reply:
        raise BridgeUnavailable("gone")

    async with upstream_stand(script(lambda got, _: required(got, {"a": FORM, "b": FORM}))) as stand:
        with pytest.raises(BridgeUnavailable, match="gone"):
            await send(stand, on_ask=fail)


async def test_a_result_that_asks_nothing_is_asked_for_again_after_a_growing_pause() -> None:
    def say(got: Got, number: int) -> web.StreamResponse:
        return required(got, state=f"s{number}") if number <= 5 else complete(got)

    async with upstream_stand(script(say)) as stand:
        call = stand.group.create_task(send(stand))
        pauses = []
        for number in range(1, 6):
            await stand.server.until(number, "tools/call")
            pauses.append(await stand.pause())
            await stand.clock.advance(pauses[-1])
        await call
    assert pauses == [0.05, 0.1, 0.2, 0.25, 0.25]
    states = [got.params.get("requestState") for got in stand.server.all("tools/call")]
    assert states == [None, "s1", "s2", "s3", "s4", "s5"]
    assert all("inputResponses" not in got.params for got in stand.server.all("tools/call"))


async def test_rounds_without_an_end_are_given_up() -> None:
    async with upstream_stand(script(lambda got, _: required(got, {"a": FORM}))) as stand:
        with pytest.raises(BadBridgeReply, match="10 rounds"):
            await send(stand, on_ask=replying(YES))
    assert len(stand.server.all("tools/call")) == 11


@pytest.mark.parametrize("requests", [{"a": {"method": "sampling/createMessage", "params": {}}}, {}, {"a": {}}])
async def test_a_round_that_asks_for_anything_else_is_a_bad_reply(requests: object) -> None:
    async with upstream_stand(script(lambda got, _: required(got, requests))) as stand:
        with pytest.raises(BadBridgeReply):
            await send(stand)


@pytest.mark.parametrize(("code", "status"), [(-32602, 400), (-32601, 404), (-32021, 400), (-32042, 200)])
async def test_an_error_of_the_protocol_is_a_response_whatever_its_status(code: int, status: int) -> None:
    async with upstream_stand(script(lambda got, _: got.error(code, status))) as stand:
        response = await send(stand)
    assert response.error is not None
    assert orjson.loads(response.error)["code"] == code


@pytest.mark.parametrize(
    "reply", [web.Response(status=400, text="bad"), web.Response(status=502), web.Response(status=302)]
)
async def test_any_other_error_is_the_servers_refusal(reply: web.Response) -> None:
    async with upstream_stand(script(lambda _, __: reply)) as stand:
        with pytest.raises(BridgeRefused) as raised:
            await send(stand)
    assert raised.value.bridge_status == reply.status


async def test_a_reply_without_a_response_is_unavailable_and_one_to_another_request_is_bad() -> None:
    async with upstream_stand(script(lambda _, __: web.Response(status=202))) as stand:
        with pytest.raises(BridgeUnavailable):
            await send(stand)
    async with upstream_stand(script(lambda got, _: got.json({"id": "other", "result": {}}))) as stand:
        with pytest.raises(BadBridgeReply):
            await send(stand)


async def test_a_request_of_the_servers_own_is_a_bad_reply() -> None:
    async def ask(got: Got) -> web.StreamResponse | None:
        if got.method != "tools/call":
            return None
        line = await got.line()
        await line.say({"id": 1, **FORM})
        return line.stream

    async with upstream_stand(ask) as stand:
        with pytest.raises(BadBridgeReply, match="no request"):
            await send(stand, on_ask=replying(YES))


async def test_a_request_that_is_given_up_closes_its_connection() -> None:
    is_gone = asyncio.Event()

    async def hang(got: Got) -> web.StreamResponse | None:
        if got.method != "tools/call":
            return None
        try:
            await asyncio.Event().wait()
        finally:
            is_gone.set()
        return None

    async with upstream_stand(hang) as stand:
        call = stand.group.create_task(send(stand))
        await stand.server.until(1, "tools/call")
        call.cancel()
        async with asyncio.timeout(5):
            await is_gone.wait()
    assert stand.server.all("notifications/cancelled") == []
