"""The door on standard input and output: which lines are served here, and that all others pass as they came."""

import pytest

from proxy.core.elicitation import AnswerKind
from proxy.core.flags import FlagSet
from proxy.core.outcome import Door, Result
from proxy.core.routing import Route
from tests.support.manual_clock import settle
from tests.support.stdio_pipe import (
    INITIALIZE,
    MODERN,
    asked_by_wait,
    call,
    cancelled,
    pipe,
    respond,
    wait,
)

FOREIGN = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n',
    b'{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"name":"echo","arguments":{"n":1.0}}}\r\n',
    b"no json at all \xff\xfe\n",
    b"\n\r\n",
    b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait_for_messages"}}]\n',
    b'{"jsonrpc":"2.0","id":2,"result":{"action":"accept"}}\n',
    b'{"id":3,"jsonrpc":"2.0","method":"tools/call","params":{"name":"wait_for_messages","arguments":{}}}\n',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}\n',
)


@pytest.mark.requirement("stdio.untouched")
async def test_lines_that_are_not_ours_pass_as_they_came() -> None:
    async with pipe() as made:
        text = INITIALIZE + b"".join(FOREIGN) + b"the rest without an end"
        for at in range(0, len(text), 7):
            made.client.put(text[at : at + 7])
        answers = b'{"jsonrpc":"2.0","id":1,"result":{}}\r\nnot json\n' + b'"' * 100 + b"\n and a tail"
        made.server.put(answers[:30], answers[30:], b"")
        await made.say(b"")
        assert made.to_server.text == text
        assert made.to_client.text == answers
        assert made.stand.recorder.outcomes == []


@pytest.mark.requirement("stdio.wait")
async def test_a_question_ends_the_wait_with_a_result_in_the_legacy_shape() -> None:
    async with pipe() as made:
        await made.open()
        await made.say(wait("w-1"))
        assert made.to_client.text == b""
        asked = made.stand.bridge.ask("bob")
        await made.stand.clock.advance(5)
        (event,) = made.events("w-1")
        assert event["event_type"] == "elicitation_request"
        assert event["data"]["elicitation_id"] == asked.elicitation_id  # type: ignore[index]  # an object
        assert "resultType" not in str(made.to_client.of("w-1"))
        assert made.to_server.text == INITIALIZE
        assert made.results() == [Result.DELIVERED]
        (outcome,) = made.stand.recorder.outcomes
        assert (outcome.door, outcome.items, outcome.route) == (Door.MCP_STDIO, 1, Route.ELICITATION)


@pytest.mark.requirement("stdio.wait")
async def test_a_wait_of_the_envelope_era_needs_no_handshake_and_its_result_is_complete() -> None:
    async with pipe() as made:
        made.stand.bridge.ask("bob")
        await made.say(wait(5, meta=MODERN))
        await made.stand.clock.advance(5)
        result = made.to_client.of(5)["result"]
        assert isinstance(result, dict)
        assert result["resultType"] == "complete"
        assert made.to_server.text == b""


@pytest.mark.requirement("stdio.wait")
@pytest.mark.parametrize(
    "line",
    [wait(1), wait(1, meta={**MODERN, "io.modelcontextprotocol/clientCapabilities": None})],
    ids=["before the handshake", "a broken envelope"],
)
async def test_what_the_server_would_refuse_is_for_the_server_to_refuse(line: bytes) -> None:
    async with pipe() as made:
        await made.say(line)
        assert made.to_server.text == line


@pytest.mark.requirement("stdio.wait")
async def test_two_waits_and_other_lines_flow_beside_each_other() -> None:
    async with pipe() as made:
        await made.open()
        await made.say(wait(1), wait("1", "carol"), FOREIGN[0])
        made.server.put(b'{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}\n')
        await settle()
        assert made.to_server.text == INITIALIZE + FOREIGN[0]
        made.stand.bridge.store({"n": 1})
        await made.stand.clock.advance(1)
        assert [event["data"] for event in made.events("1")] == [{"n": 1}]
        results = [message for message in made.to_client.messages if "result" in message]
        assert [message["id"] for message in results] == [1, "1"] or [message["id"] for message in results] == ["1", 1]


@pytest.mark.requirement("stdio.hold")
@pytest.mark.parametrize(("asked_s", "held_s"), [(300, 55), (20, 20)])
async def test_a_wait_is_held_as_long_as_it_asks_and_not_longer_than_the_client_bears(
    asked_s: int, held_s: int
) -> None:
    async with pipe() as made:
        await made.open()
        await made.say(wait(1, timeout_seconds=asked_s))
        await made.stand.clock.advance(held_s - 0.5)
        assert made.to_client.text == b""
        await made.stand.clock.advance(1)
        assert made.result(1)["status"] == "timeout"
        assert made.results() == [Result.TIMED_OUT]


@pytest.mark.requirement("stdio.cancel")
async def test_a_cancelled_wait_ends_in_silence_and_its_question_is_for_the_next() -> None:
    async with pipe() as made:
        await made.open()
        await made.say(wait(1))
        await made.say(cancelled(1))
        assert made.to_server.text == INITIALIZE
        made.stand.bridge.ask("bob")
        await made.stand.clock.advance(5)
        assert made.to_client.text == b""
        assert made.results() == [Result.GONE]
        await made.say(wait(1), cancelled("1"))
        await made.stand.clock.advance(5)
        assert len(made.events(1)) == 1
        assert made.to_server.text == INITIALIZE + cancelled("1")


@pytest.mark.requirement("stdio.cancel")
async def test_a_call_and_its_cancellation_in_one_breath_leave_one_outcome() -> None:
    async with pipe() as made:
        await made.open()
        await made.say(wait(1) + cancelled(1))
        assert made.results() == [Result.GONE]
        assert made.to_client.text == b""


@pytest.mark.requirement("stdio.wait")
async def test_a_second_call_with_the_id_of_a_held_one_is_passed_on() -> None:
    async with pipe() as made:
        await made.open()
        await made.say(wait(1), wait(1))
        assert made.to_server.text == INITIALIZE + wait(1)


@pytest.mark.requirement("stdio.legacy")
async def test_a_wait_of_the_legacy_cohort_is_the_servers_and_leaves_its_outcome_with_the_response() -> None:
    async with pipe(flags=FlagSet()) as made:
        await made.open()
        await made.say(wait("w"), wait(2), wait(3))
        assert made.to_server.text == INITIALIZE + wait("w") + wait(2) + wait(3)
        await made.stand.clock.advance(7)
        made.server.put(b'{"jsonrpc":"2.0","method":"x"}\nnot json\n{"jsonrpc":"2.0","id":"w","result":{}}\n')
        await settle()
        (outcome,) = made.stand.recorder.outcomes
        assert (outcome.result, outcome.seconds, outcome.agent_id) == (Result.RELAYED, 7, "bob")
        assert (outcome.door, outcome.route) == (Door.MCP_STDIO, Route.LEGACY)
        await made.say(cancelled(2))
        assert made.to_server.text.endswith(cancelled(2))
        made.door.drop()
        assert made.results() == [Result.RELAYED, Result.GONE, Result.GONE]


async def test_a_removed_wait_is_an_error_of_the_tool_with_the_guide() -> None:
    async with pipe(flags=FlagSet(legacy_support=False)) as made:
        await made.open()
        await made.say(wait(1))
        told = made.result(1)
        assert (told["code"], told["guide"]) == ("legacy_removed", "https://guide.example")
        assert made.results() == [Result.REFUSED]


async def test_without_a_bridge_session_the_server_answers_and_hears_of_a_cancellation() -> None:
    async with pipe() as made:
        await made.open()
        made.stand.bridge.go_down()
        await made.say(wait(1), cancelled(1))
        assert made.to_server.text in {INITIALIZE + wait(1) + cancelled(1), INITIALIZE}
        await made.say(wait(2))
        assert made.to_server.text.endswith(wait(2))
        await made.say(cancelled(2))
        assert made.to_server.text.endswith(cancelled(2))


@pytest.mark.requirement("stdio.legacy")
async def test_a_wait_of_no_time_that_cannot_be_served_is_the_servers() -> None:
    async with pipe() as made:
        await made.open()
        await made.say(wait(1, timeout_seconds=1))
        await made.stand.clock.advance(2)
        made.stand.bridge.go_down()
        await made.say(peek := wait(2, timeout_seconds=0))
        await made.stand.clock.advance(2)
        assert made.to_server.text == INITIALIZE + peek
        assert made.results() == [Result.TIMED_OUT, Result.RELAYED]


@pytest.mark.requirement("stdio.answer")
async def test_the_respond_tool_answers_as_the_agent_that_waited() -> None:
    async with pipe() as made:
        asked = await asked_by_wait(made)
        await made.say(respond("r", asked, data={"colour": "red"}))
        assert made.result("r")["status"] == "success"
        assert [(answer.kind, answer.content) for answer in made.stand.bridge.answers] == [
            (AnswerKind.ACCEPT, {"colour": "red"})
        ]
        await made.say(respond("again", asked, data={"colour": "red"}))
        assert made.result("again")["status"] == "success"
        await made.say(respond("other", asked, response_type="decline", data=None))
        assert made.result("other")["code"] == "answer_conflict"
        assert made.results() == [Result.DELIVERED, Result.ANSWERED, Result.ANSWERED, Result.REFUSED]
        assert len(made.stand.bridge.answers) == 1
        assert made.to_server.text == INITIALIZE


@pytest.mark.requirement("stdio.answer")
async def test_the_send_tool_answers_too() -> None:
    async with pipe() as made:
        asked = await asked_by_wait(made)
        data = {"elicitation_id": asked, "response_type": "accept", "content": {"colour": "red"}}
        given = {"event_type": "custom", "agent_id": "bob", "event_data": data}
        await made.say(call(2, "lighthouse_store_event", given))
        assert made.result(2)["status"] == "stored"
        assert len(made.stand.bridge.answers) == 1
        await made.say(foreign := call(3, "lighthouse_store_event", {**given, "event_data": {"n": 1}}))
        assert made.to_server.text == INITIALIZE + foreign


@pytest.mark.requirement("stdio.agent")
async def test_the_configured_agent_counts_whatever_a_call_claims() -> None:
    async with pipe(agent_id="bob") as made:
        asked = await asked_by_wait(made, agent_id="mallory")
        assert len(made.events(1)) == 1
        await made.say(respond(2, asked, data={"colour": "red"}))
        assert made.result(2)["status"] == "success"
        assert {outcome.agent_id for outcome in made.stand.recorder.outcomes} == {"bob"}
        assert {outcome.door for outcome in made.stand.recorder.outcomes} == {Door.MCP_STDIO}


@pytest.mark.requirement("stdio.answer")
async def test_answers_that_are_not_ours_or_not_readable_go_where_they_belong() -> None:
    async with pipe() as made:
        asked = await asked_by_wait(made)
        await made.say(respond(2, asked, response_type="perhaps"))
        assert made.result(2)["code"] == "invalid_input"
        await made.say(foreign := respond(3, "elicit_unknown", response_type="perhaps"))
        assert made.to_server.text == INITIALIZE + foreign
        await made.say(unknown := respond(4, "elicit_unknown"))
        await settle()
        assert made.to_server.text == INITIALIZE + foreign + unknown
