"""What a newer server asks in the middle of an older client's call, and clients that cancel or leave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from proxy.core.elicitation import AnswerKind
from proxy.core.outcome import Result
from proxy.mcp.ask import Answered, CannotBeAsked, Failed, FormQuestion, Question, Reply, UrlQuestion
from proxy.mcp.calling import OnAsk, OnNote, Outgoing, ServerAsk
from proxy.mcp.jsonrpc import Response
from tests.support.house import until
from tests.support.manual_clock import settle
from tests.support.up_stand import PARK_S, Json, Talk, UpStand, done, rpc, tool, up_stand

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
NAME = FormQuestion("Your name?", SCHEMA)
ACCEPT = {"action": "accept", "content": {"name": "zed"}}


@pytest.fixture(name="up")
async def _up() -> AsyncIterator[UpStand]:
    async with up_stand() as stand:
        yield stand


def _asking(replies: list[Reply], *questions: Question) -> Callable[[Outgoing, OnAsk, OnNote], Awaitable[Response]]:
    """A server that asks these, one after the other."""

    async def script(_call: Outgoing, ask: OnAsk, _note: OnNote) -> Response:
        for number, question in enumerate(questions):
            replies.append(await ask(ServerAsk(key=f"k{number}", question=question)))
        return done(f"asked {len(questions)}")

    return script


async def _asked(talk: Talk) -> Json:
    """The question that comes next; its id and parameters."""
    message = await talk.next()
    assert message is not None
    assert message["method"] == "elicitation/create"
    return message


def _answer(question: Json, **fields: object) -> Json:
    return {"jsonrpc": "2.0", "id": question["id"], **fields}


# Answers


@pytest.mark.requirement("eras.up.question")
async def test_a_question_comes_on_the_stream_of_its_call_and_the_answer_lets_it_go_on(up: UpStand) -> None:
    replies: list[Reply] = []
    up.server.script = _asking(replies, NAME)
    session = await up.open({})
    async with up.send(tool(), session) as talk:
        assert talk.reply.content_type == "text/event-stream"
        question = await _asked(talk)
        assert question["params"] == {"mode": "form", "message": "Your name?", "requestedSchema": SCHEMA}
        assert str(question["id"]).startswith("esc-")
        assert await up.say(_answer(question, result=ACCEPT), session) == (202, {})
        (response,) = await talk.rest()
    assert response["id"] == 7
    assert replies == [Answered(AnswerKind.ACCEPT, {"name": "zed"})]
    assert len(up.flow.questions.correlation) == 0


@pytest.mark.requirement("eras.up.question")
@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_refused_question_is_told_as_it_was_refused(up: UpStand, action: str) -> None:
    replies: list[Reply] = []
    up.server.script = _asking(replies, NAME)
    session = await up.open({}, revision="2025-06-18")
    async with up.send(tool(), session) as talk:
        question = await _asked(talk)
        assert question["params"] == {"message": "Your name?", "requestedSchema": SCHEMA}
        await up.say(_answer(question, result={"action": action}), session)
        await talk.rest()
    assert replies == [Answered(AnswerKind(action))]


@pytest.mark.requirement("eras.up.question")
async def test_several_questions_come_at_once_or_one_after_the_other(up: UpStand) -> None:
    replies: list[Reply] = []

    async def both(_call: Outgoing, ask: OnAsk, _note: OnNote) -> Response:
        async def put(key: str) -> None:
            await ask(ServerAsk(key=key, question=FormQuestion(key, SCHEMA)))

        async with asyncio.TaskGroup() as group:
            for key in ("a", "b"):
                group.create_task(put(key))
        replies.append(await ask(ServerAsk(key="a", question=NAME)))
        return done()

    up.server.script = both
    session = await up.open({})
    async with up.send(tool(), session) as talk:
        first, second = await _asked(talk), await _asked(talk)
        assert first["id"] != second["id"]
        for question in (second, first):
            await up.say(_answer(question, result=ACCEPT), session)
        await up.say(_answer(await _asked(talk), result=ACCEPT), session)
        assert len(await talk.rest()) == 1
    assert replies == [Answered(AnswerKind.ACCEPT, {"name": "zed"})]


@pytest.mark.requirement("eras.up.question")
async def test_a_link_is_shown_with_an_id_where_the_client_can_open_links(up: UpStand) -> None:
    replies: list[Reply] = []
    up.server.script = _asking(
        replies, UrlQuestion("Open", "https://a.example/", ""), UrlQuestion("Open", "https://b.example/", "named")
    )
    session = await up.open({"url": {}})
    async with up.send(tool(), session) as talk:
        for name in ("", "named"):
            question = await _asked(talk)
            params = question["params"]
            assert isinstance(params, dict)
            assert params["mode"] == "url"
            assert params["elicitationId"] == name or (not name and len(str(params["elicitationId"])) == 36)
            await up.say(_answer(question, result={"action": "accept"}), session)
        await talk.rest()
    assert replies == [Answered(AnswerKind.ACCEPT)] * 2


@pytest.mark.requirement("eras.up.incapable")
@pytest.mark.parametrize(
    ("elicitation", "question"),
    [(None, NAME), ({"form": {}}, UrlQuestion("Open", "https://a.example/", "")), ({"url": {}}, NAME)],
)
async def test_a_client_that_cannot_be_asked_declines_at_once(
    up: UpStand, elicitation: object, question: Question
) -> None:
    replies: list[Reply] = []
    up.server.script = _asking(replies, question)
    status, body = await up.say(tool(), await up.open(elicitation))
    assert (status, body["id"]) == (200, 7)
    assert replies == [Answered(AnswerKind.DECLINE)]


@pytest.mark.requirement("eras.up.incapable")
async def test_a_client_that_says_it_has_no_way_to_ask_is_not_asked_again(up: UpStand) -> None:
    replies: list[Reply] = []
    up.server.script = _asking(replies, NAME, NAME)
    session = await up.open({})
    async with up.send(tool(), session) as talk:
        question = await _asked(talk)
        error = {"code": -32601, "message": "Method not found"}
        await up.say(_answer(question, error=error), session)
        assert len(await talk.rest()) == 1
    assert replies == [CannotBeAsked(-32601, "Method not found"), Answered(AnswerKind.DECLINE)]
    await up.say(tool(), session)
    assert not up.server.calls[-1].modes


async def test_an_error_about_one_question_leaves_others_to_be_asked(up: UpStand) -> None:
    replies: list[Reply] = []
    up.server.script = _asking(replies, NAME, NAME)
    session = await up.open({})
    async with up.send(tool(), session) as talk:
        await up.say(_answer(await _asked(talk), error={"code": -32602, "message": "m"}), session)
        await up.say(_answer(await _asked(talk), error={"code": 1, "message": "broke"}), session)
        await talk.rest()
    assert replies == [CannotBeAsked(-32602, "m"), Failed("broke", 1)]


async def test_a_question_whose_schema_is_beyond_all_bounds_cannot_be_asked(up: UpStand) -> None:
    replies: list[Reply] = []
    deep: dict[str, object] = {"type": "object"}
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}}
    up.server.script = _asking(replies, FormQuestion("m", deep))
    await up.say(tool(), await up.open({}))
    (reply,) = replies
    assert isinstance(reply, CannotBeAsked)


@pytest.mark.requirement("eras.up.strangers")
async def test_nobody_else_can_answer_a_question(up: UpStand) -> None:
    replies: list[Reply] = []
    up.server.script = _asking(replies, NAME)
    session, other = await up.open({}), await up.open({})
    async with up.send(tool(), session) as talk:
        question = await _asked(talk)
        stolen = _answer(question, result={"action": "accept", "content": {"name": "mallory"}})
        assert await up.say(stolen, other) == (202, {})
        assert (await up.say(stolen, session, Authorization="Bearer m"))[0] == 404
        assert not replies
        await up.say(_answer(question, result=ACCEPT), session)
        await talk.rest()
    assert replies == [Answered(AnswerKind.ACCEPT, {"name": "zed"})]


@pytest.mark.requirement("eras.up.time")
async def test_a_question_that_nobody_answers_in_time_is_cancelled_and_the_call_goes_on(up: UpStand) -> None:
    replies: list[Reply] = []
    up.server.script = _asking(replies, NAME)
    session = await up.open({})
    async with up.send(tool(), session) as talk:
        question = await _asked(talk)
        await up.clock.advance(PARK_S)
        taken_back, response = await talk.rest()
        assert taken_back["method"] == "notifications/cancelled"
        assert taken_back["params"] == {"requestId": question["id"], "reason": "the call is over"}
        assert response["id"] == 7
    assert replies == [Answered(AnswerKind.CANCEL)]
    assert await up.say(_answer(question, result=ACCEPT), session) == (202, {})
    assert len(replies) == 1


# Cancelled calls and clients that leave


@pytest.mark.requirement("eras.up.cancel")
async def test_a_cancelled_call_ends_at_the_server_without_a_response(up: UpStand) -> None:
    async def forever(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    up.server.script = forever
    session, other = await up.open(), await up.open()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(up.say(tool(), session))
        await until(lambda: len(up.server.calls) == 1)
        await up.say(rpc("notifications/cancelled", {"requestId": 7}), other)
        await settle()
        assert up.server.ends == ["failed"]
        assert await up.say(rpc("notifications/cancelled", {"requestId": 7}), session) == (202, {})
        assert await task == (202, {})
    assert up.server.ends == ["cancelled"]
    assert Result.GONE in {outcome.result for outcome in up.recorder.outcomes}


@pytest.mark.requirement("eras.up.cancel")
async def test_the_questions_of_a_cancelled_call_are_taken_back(up: UpStand) -> None:
    replies: list[Reply] = []
    up.server.script = _asking(replies, NAME)
    session = await up.open({})
    async with up.send(tool(), session) as talk:
        question = await _asked(talk)
        await up.say(rpc("notifications/cancelled", {"requestId": 7}), session)
        (taken_back,) = await talk.rest()
    assert taken_back["params"] == {"requestId": question["id"], "reason": "the call is over"}
    assert (up.server.ends, replies) == (["cancelled"], [])
    assert len(up.flow.questions.correlation) == 0


@pytest.mark.requirement("eras.up.sessions")
async def test_the_calls_of_a_session_end_with_it(up: UpStand) -> None:
    up.server.script = _asking([], NAME)
    session = await up.open({})
    async with up.send(tool(), session) as talk:
        await _asked(talk)
        async with up.http.delete(up.url, headers={"Mcp-Session-Id": session}) as reply:
            assert reply.status == 200
        await talk.rest()
    assert up.server.ends == ["cancelled"]


@pytest.mark.requirement("eras.up.leave")
async def test_a_client_that_leaves_does_not_cancel(up: UpStand) -> None:
    replies: list[Reply] = []
    up.server.script = _asking(replies, NAME)
    session = await up.open({})
    async with up.send(tool(), session) as talk:
        question = await _asked(talk)
        talk.reply.close()
    await until(lambda: len(up.flow._parked) == 1)
    assert await up.say(_answer(question, result=ACCEPT), session) == (202, {})
    await until(lambda: up.server.ends == ["done"])
    assert replies == [Answered(AnswerKind.ACCEPT, {"name": "zed"})]
    await until(lambda: not up.flow._parked)
    assert Result.GONE in {outcome.result for outcome in up.recorder.outcomes}


@pytest.mark.requirement("eras.up.leave")
async def test_a_call_without_its_client_ends_after_a_while(up: UpStand) -> None:
    async def forever(_call: Outgoing, _ask: OnAsk, note: OnNote) -> Response:
        await note(b'{"jsonrpc":"2.0","method":"notifications/progress"}')
        await asyncio.Event().wait()
        raise AssertionError

    up.server.script = forever
    session = await up.open({})
    async with up.send(tool(), session) as talk:
        await talk.next()
        talk.reply.close()
    await until(lambda: len(up.flow._parked) == 1)
    await up.clock.advance(PARK_S - 1)
    assert up.server.ends == ["failed"]
    await up.clock.advance(1)
    assert up.server.ends == ["cancelled"]


@pytest.mark.requirement("eras.up.leave")
async def test_a_question_that_nobody_can_see_ends_the_call(up: UpStand) -> None:
    release, replies = asyncio.Event(), []

    async def later(_call: Outgoing, ask: OnAsk, note: OnNote) -> Response:
        await note(b'{"jsonrpc":"2.0","method":"notifications/progress"}')
        await release.wait()
        replies.append(await ask(ServerAsk(key="k", question=NAME)))
        return done()

    up.server.script = later
    session = await up.open({})
    async with up.send(tool(), session) as talk:
        await talk.next()
        talk.reply.close()
    await until(lambda: len(up.flow._parked) == 1)
    release.set()
    await until(lambda: up.server.ends == ["cancelled"])
    assert not replies


@pytest.mark.requirement("eras.up.leave")
async def test_only_so_many_calls_go_on_without_their_client(up: UpStand) -> None:
    up.server.script = _asking([], NAME)
    session = await up.open({})
    for request_id in (1, 2, 3):
        async with up.send(tool(request_id=request_id), session) as talk:
            await _asked(talk)
            talk.reply.close()
        await until(lambda: len(up.recorder.outcomes) == request_id + 1)  # noqa: B023  # awaited in this turn
    await until(lambda: up.server.ends == ["failed", "failed", "cancelled"])
    assert len(up.flow._parked) == 2


@pytest.mark.requirement("eras.up.drain")
async def test_a_question_that_is_open_when_the_sidecar_stops_is_not_answered_for_the_client(up: UpStand) -> None:
    replies: list[Reply] = []
    up.server.script = _asking(replies, NAME)
    session = await up.open({})
    async with up.send(tool(), session) as talk:
        await _asked(talk)
        up.flow.questions.drain()
        response = (await talk.rest())[-1]
    assert (response["id"], "error" in response) == (7, True)
    assert (up.server.ends, replies) == (["cancelled"], [])
