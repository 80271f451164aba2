"""Waits on a pipe whose questions are put to the client itself, in the middle of them."""

import asyncio

import orjson
import pytest

from proxy.core.delivery import DeliveryRule
from proxy.core.elicitation import BridgeStatus
from proxy.core.ids import ElicitationId
from proxy.core.outcome import Door, ElicitationOutcome, Result
from proxy.downstream.mcp_passing import SEAT
from proxy.mcp.jsonrpc import Response, parse
from tests.support.manual_clock import settle
from tests.support.stdio_pipe import ELICIT, Json, Piped, cancelled, line, pipe, respond, wait

pytestmark = pytest.mark.requirement("stdio.elicit")

RED = {"colour": "red"}
ACCEPT: Json = {"action": "accept", "content": RED}
SHAPE = {"colour": {"type": "string"}}


async def _asked(made: Piped, *, timeout_s: int = 30) -> tuple[ElicitationId, Json]:
    """A wait that has put its question: the question's id at the Bridge, and as the client reads it."""
    await made.say(wait(1, timeout_seconds=timeout_s))
    asked = made.stand.bridge.ask("bob", shape=SHAPE)
    await made.stand.clock.advance(5)
    return asked.elicitation_id, made.asked()[-1]


def _noted(made: Piped) -> list[ElicitationOutcome]:
    return list(made.stand.recorder.outcomes[-1].elicitations)


class TestHandshake:
    async def test_an_accepted_question_reaches_the_bridge_and_the_result_tells_it(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            asked, question = await _asked(made)
            assert str(question["id"]).startswith("esc-")
            params = question["params"]
            assert isinstance(params, dict)
            assert (params["mode"], params["message"]) == ("form", "Which colour?")
            assert params["requestedSchema"]["properties"] == SHAPE
            assert made.to_client.text.count(b"\n") == 1
            await made.answer(question, ACCEPT)
            ((kind, data),) = made.items(1)
            assert (kind, data["elicitation_id"], data["data"]) == ("elicitation_answered", asked, RED)
            assert [answer.content for answer in made.stand.bridge.answers] == [RED]
            assert made.to_server.text == b""
            taken, waited = made.stand.recorder.outcomes
            assert (taken.door, taken.result, taken.method) == (Door.MCP_STDIO, Result.ANSWERED, "response")
            assert (waited.door, waited.result, waited.agent_id) == (Door.MCP_STDIO, Result.DELIVERED, "bob")
            assert waited.elicitations == (ElicitationOutcome.OFFERED, ElicitationOutcome.ACCEPTED)

    @pytest.mark.parametrize("action", ["decline", "cancel"])
    async def test_a_no_is_an_answer_too(self, action: str) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            asked, question = await _asked(made)
            await made.answer(question, {"action": action})
            ((kind, data),) = made.items(1)
            assert (kind, data["response_type"]) == ("elicitation_answered", action)
            assert [answer.kind for answer in made.stand.bridge.answers] == [action]
            assert made.stand.bridge.answers[0].elicitation_id == asked

    async def test_several_questions_come_one_after_the_other(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            asked = [made.stand.bridge.ask("bob", shape=SHAPE).elicitation_id for _ in range(2)]
            await made.say(wait(1))
            for count in (1, 2):
                await made.stand.clock.advance(1)
                assert len(made.asked()) == count
                await made.answer(made.asked()[-1], ACCEPT)
            assert [data["elicitation_id"] for _, data in made.items(1)] == asked

    @pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
    async def test_the_words_are_those_of_the_revision_that_the_server_agreed_to(self, revision: str) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree(revision=revision, elicitation={})
            _, question = await _asked(made)
            params = question["params"]
            assert isinstance(params, dict)
            assert ("mode" in params) is (revision == "2025-11-25")

    @pytest.mark.parametrize(
        ("rule", "elicitation", "revision"),
        [
            (ELICIT, None, "2025-11-25"),
            (ELICIT, {"url": {}}, "2025-11-25"),
            (ELICIT, {}, "2025-03-26"),
            (ELICIT, {}, "2031-01-01"),
            (DeliveryRule(), {}, "2025-11-25"),
            (DeliveryRule(clients=frozenset({"u"})), {}, "2025-11-25"),
            (DeliveryRule(agents=frozenset({"carol"})), {}, "2025-11-25"),
        ],
    )
    async def test_who_cannot_or_must_not_be_asked_reads_the_question_in_the_result(
        self, rule: DeliveryRule, elicitation: object, revision: str
    ) -> None:
        async with pipe(rule=rule) as made:
            await made.agree(elicitation=elicitation, revision=revision)
            made.stand.bridge.ask("bob")
            await made.say(wait(1))
            await made.stand.clock.advance(5)
            assert [kind for kind, _ in made.items(1)] == ["elicitation_request"]
            assert made.asked() == []

    @pytest.mark.parametrize("rule", [DeliveryRule(clients=frozenset({"t"})), DeliveryRule(agents=frozenset({"bob"}))])
    async def test_whom_the_operator_named_is_asked(self, rule: DeliveryRule) -> None:
        async with pipe(rule=rule) as made:
            await made.agree()
            await _asked(made)
            assert len(made.asked()) == 1

    async def test_before_the_server_has_agreed_to_a_revision_nobody_is_asked(self) -> None:
        async with pipe(rule=ELICIT) as made:
            params = {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}}
            await made.say(line("initialize", params, id=0), wait(1))
            made.stand.bridge.ask("bob")
            await made.stand.clock.advance(5)
            assert [kind for kind, _ in made.items(1)] == ["elicitation_request"]

    async def test_a_client_that_turns_out_not_to_be_able_is_not_asked_again(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            _, question = await _asked(made)
            await made.answer(question, error={"code": -32601, "message": "Method not found"})
            assert [kind for kind, _ in made.items(1)] == ["elicitation_request"]
            made.stand.bridge.ask("bob")
            await made.say(wait(2))
            await made.stand.clock.advance(5)
            assert [kind for kind, _ in made.items(2)] == ["elicitation_request"]
            assert len(made.asked()) == 1

    @pytest.mark.parametrize(
        ("given", "error"),
        [
            ({"action": "perhaps"}, None),
            ({"action": "accept", "content": {"colour": 7}}, None),
            (None, {"code": -32000, "message": "the dialog broke"}),
        ],
    )
    async def test_what_is_no_answer_leaves_the_question_to_the_agent(self, given: Json | None, error: object) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            asked, question = await _asked(made)
            await made.answer(question, given, error=error)
            ((kind, data),) = made.items(1)
            assert (kind, data["elicitation_id"]) == ("elicitation_request", asked)
            assert data["error"]
            assert made.stand.bridge.answers == []
            await made.say(respond(2, asked, data=RED))
            assert made.result(2)["status"] == "success"

    async def test_a_question_that_nobody_answers_is_taken_back_at_the_end_of_the_wait(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            asked, question = await _asked(made, timeout_s=20)
            await made.stand.clock.advance(20)
            ((kind, data),) = made.items(1)
            assert (kind, data["elicitation_id"]) == ("elicitation_request", asked)
            assert made.taken_back() == [question["id"]]
            assert made.to_client.messages[-1]["id"] == 1

    async def test_an_answer_after_the_end_of_the_wait_still_counts_once(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            asked, question = await _asked(made, timeout_s=20)
            await made.stand.clock.advance(16)
            for _ in range(2):
                await made.answer(question, ACCEPT)
            assert made.stand.bridge.states[asked] is BridgeStatus.ACCEPTED
            assert len(made.stand.bridge.answers) == 1
            assert (ElicitationOutcome.ACCEPTED, "bob") in made.stand.recorder.elicitations
            assert made.results()[-2:] == [Result.ANSWERED, Result.REFUSED]
            assert made.to_server.text == b""

    async def test_an_answer_after_the_end_of_the_question_goes_nowhere(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            _, question = await _asked(made, timeout_s=10)
            await made.stand.clock.advance(700)
            await made.answer(question, ACCEPT)
            assert made.stand.bridge.answers == []
            assert made.results()[-1] is Result.REFUSED
            assert made.to_server.text == b""

    async def test_responses_to_the_servers_own_requests_pass_as_they_came(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            _, question = await _asked(made)
            request = line("elicitation/create", {"message": "The server's own."}, id=3)
            made.server.put(request)
            answers = [
                b'{"jsonrpc":"2.0","id":3,"result":{"action":"accept","content":{"of":"esc-"}}}\n',
                b'{"id":"esc-7","jsonrpc":"2.0","result":{}}\n',
                b'{"jsonrpc":"2.0", "id":"3", "error":{"code":1,"message":"\\"esc-\\""}}\n',
            ]
            await made.say(*answers)
            assert request in made.to_client.text
            assert made.to_server.text == b"".join(answers)
            await made.answer(question, ACCEPT)
            assert made.to_server.text == b"".join(answers)
            assert made.items(1)[0][0] == "elicitation_answered"

    async def test_the_questions_of_another_sidecar_behind_this_one_pass_and_so_do_their_answers(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            _, question = await _asked(made)
            theirs = f"esc-{'0' * 31}1"
            made.server.put(line("elicitation/create", {"message": "Theirs."}, id=theirs))
            await settle()
            assert [asked["id"] for asked in made.asked()] == [question["id"], theirs]
            await made.answer({"id": theirs}, ACCEPT)
            assert orjson.loads(made.to_server.text)["id"] == theirs
            await made.answer({"id": f"esc-{'0' * 31}2"}, ACCEPT)
            assert made.to_server.text.count(b"\n") == 1


class TestCancel:
    async def test_a_cancelled_wait_takes_its_question_back_and_ends_in_silence(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            asked, question = await _asked(made)
            await made.say(cancelled(1))
            assert made.taken_back() == [question["id"]]
            assert made.to_server.text == b""
            assert made.results() == [Result.GONE]
            assert _noted(made) == [ElicitationOutcome.OFFERED]
            assert made.stand.bridge.states[asked] is BridgeStatus.PENDING
            await made.say(wait(2))
            await made.stand.clock.advance(1)
            assert len(made.asked()) == 2
            assert made.asked()[1]["id"] != question["id"]

    async def test_its_late_answer_counts(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            _, question = await _asked(made)
            await made.say(cancelled(1))
            await made.answer(question, ACCEPT)
            assert [answer.content for answer in made.stand.bridge.answers] == [RED]

    async def test_a_question_that_is_still_being_written_is_taken_back_after_it(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            made.to_client.room.clear()
            _, question = await _asked(made)
            await made.say(cancelled(1))
            made.to_client.room.set()
            await settle()
            assert [message["method"] for message in made.to_client.messages] == [
                "elicitation/create",
                "notifications/cancelled",
            ]
            assert made.taken_back() == [question["id"]]

    async def test_a_cancel_and_an_answer_in_one_breath_lose_no_answer(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            _, question = await _asked(made)
            answer = orjson.dumps({"jsonrpc": "2.0", "id": question["id"], "result": ACCEPT}) + b"\n"
            await made.say(answer + cancelled(1))
            assert [given.content for given in made.stand.bridge.answers] == [RED]


class TestEnds:
    @pytest.mark.requirement("stdio.drain")
    async def test_a_stop_takes_the_question_back_and_answers_the_wait(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            _, question = await _asked(made)
            made.stand.feeds.drain()
            made.questions.drain()
            await settle()
            assert made.taken_back() == [question["id"]]
            assert [kind for kind, _ in made.items(1)] == ["elicitation_request"]

    @pytest.mark.requirement("stdio.end")
    async def test_a_client_that_leaves_leaves_the_question_open_at_the_bridge(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            asked, question = await _asked(made)
            made.door.drop()
            await settle()
            assert made.results() == [Result.GONE]
            assert made.taken_back() == []
            assert made.stand.bridge.states[asked] is BridgeStatus.PENDING
            await made.answer(question, ACCEPT)
            assert made.stand.bridge.answers == []

    @pytest.mark.requirement("stdio.end")
    async def test_an_answer_that_was_given_is_waited_for_at_the_end(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            _, question = await _asked(made)
            gate = made.stand.bridge.gate("respond")
            await made.answer(question, ACCEPT)
            await gate.reached()
            made.door.drop()
            async with asyncio.TaskGroup() as group:
                settling = group.create_task(made.door.settle(5))
                await settle()
                assert not settling.done()
                gate.open()
            assert [given.content for given in made.stand.bridge.answers] == [RED]

    @pytest.mark.requirement("stdio.end")
    async def test_an_answer_right_before_the_end_is_not_lost(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            _, question = await _asked(made)
            answer = parse(orjson.dumps({"jsonrpc": "2.0", "id": question["id"], "result": ACCEPT}))
            assert isinstance(answer, Response)
            assert made.questions.take(SEAT, answer) is None
            made.door.drop()
            await made.door.settle(5)
            assert [given.content for given in made.stand.bridge.answers] == [RED]
            assert made.to_client.text.count(b"\n") == 1

    async def test_a_client_that_reads_no_more_has_not_seen_the_question(self) -> None:
        async with pipe(rule=ELICIT) as made:
            await made.agree()
            made.to_client.is_broken = True
            await made.say(wait(1))
            made.stand.bridge.ask("bob", shape=SHAPE)
            await made.stand.clock.advance(5)
            assert made.results() == [Result.GONE]
            made.to_client.is_broken = False
            await made.say(wait(2))
            await made.stand.clock.advance(5)
            assert len(made.asked()) == 1
