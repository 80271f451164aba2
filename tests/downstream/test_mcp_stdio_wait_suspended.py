"""Waits on a pipe that are suspended while their client asks for the answers, and their retries."""

import orjson
import pytest

from proxy.core.delivery import DeliveryRule
from proxy.core.errors import BridgeUnavailable
from proxy.core.flags import Patch
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import ElicitationOutcome, Result
from tests.support.manual_clock import settle
from tests.support.stdio_pipe import ELICIT, MODERN, Json, Piped, cancelled, pipe, wait

pytestmark = pytest.mark.requirement("stdio.elicit.retry")

BOB = AgentId("bob")
RED = {"colour": "red"}
ACCEPT: Json = {"action": "accept", "content": RED}
SHAPE = {"colour": {"type": "string"}}


def _noted(made: Piped) -> list[ElicitationOutcome]:
    return list(made.stand.recorder.outcomes[-1].elicitations)


def _modern(*, form: bool = True, name: str = "t") -> dict[str, object]:
    can: Json = {"elicitation": {"form": {}}} if form else {}
    return {
        **MODERN,
        "io.modelcontextprotocol/clientCapabilities": can,
        "io.modelcontextprotocol/clientInfo": {"name": name},
    }


def _again(request_id: object, state: object, responses: object, *, since: int | None = None) -> bytes:
    """A retry of the wait."""
    changes = {} if since is None else {"since_sequence": since}
    message = orjson.loads(wait(request_id, "bob", meta=_modern(), **changes))
    message["params"] |= {"requestState": state, "inputResponses": responses}
    return orjson.dumps(message) + b"\n"


def _result(made: Piped, request_id: object) -> Json:
    result = made.to_client.of(request_id)["result"]
    assert isinstance(result, dict)
    return result


async def _suspended(made: Piped) -> tuple[ElicitationId, str]:
    """A wait that was suspended: its question's id and its state."""
    asked = made.stand.bridge.ask("bob", shape=SHAPE)
    await made.say(wait(1, meta=_modern()))
    await made.stand.clock.advance(5)
    return asked.elicitation_id, str(_result(made, 1)["requestState"])


class TestEnvelope:
    async def test_a_wait_asks_for_input_and_its_retry_brings_the_answer(self) -> None:
        async with pipe(rule=ELICIT) as made:
            asked, state = await _suspended(made)
            result = _result(made, 1)
            assert result["resultType"] == "input_required"
            ((key, request),) = result["inputRequests"].items()  # type: ignore[attr-defined]  # an object
            assert (key, request["method"]) == (f"esc:{asked}", "elicitation/create")
            assert _noted(made) == [ElicitationOutcome.OFFERED]
            await made.say(_again(2, state, {key: ACCEPT}))
            assert _result(made, 2)["resultType"] == "complete"
            ((kind, data),) = made.items(2)
            assert (kind, data["elicitation_id"], data["data"]) == ("elicitation_answered", asked, RED)
            assert [answer.content for answer in made.stand.bridge.answers] == [RED]
            assert made.to_server.text == b""
            last = made.stand.recorder.outcomes[-1]
            assert (last.result, last.items, last.elicitations) == (
                Result.DELIVERED,
                1,
                (ElicitationOutcome.ACCEPTED,),
            )

    async def test_a_missing_answer_is_asked_for_again(self) -> None:
        async with pipe(rule=ELICIT) as made:
            asked, state = await _suspended(made)
            await made.say(_again(2, state, {}))
            again = _result(made, 2)
            assert again["resultType"] == "input_required"
            assert _noted(made) == [ElicitationOutcome.OFFERED]
            await made.say(_again(3, again["requestState"], {f"esc:{asked}": {"action": "decline"}}))
            ((kind, data),) = made.items(3)
            assert (kind, data["response_type"]) == ("elicitation_answered", "decline")

    async def test_a_retry_goes_on_whatever_the_flags_say_by_then(self) -> None:
        async with pipe(rule=ELICIT) as made:
            asked, state = await _suspended(made)
            await made.stand.board.change(
                Patch(changes={"elicitation_enabled": False}), author="operator", expected=None
            )
            await made.say(_again(2, state, {f"esc:{asked}": ACCEPT}))
            assert made.items(2)[0][0] == "elicitation_answered"

    @pytest.mark.parametrize("how", ["altered", "another call", "another answer", "expired"])
    async def test_a_state_that_is_not_of_this_call_is_refused(self, how: str) -> None:
        async with pipe(rule=ELICIT) as made:
            asked, state = await _suspended(made)
            since = None
            match how:
                case "altered":
                    state = state[:-1] + ("A" if state[-1] != "A" else "B")
                case "another call":
                    since = 4
                case "another answer":
                    await made.say(_again(2, state, {f"esc:{asked}": {"action": "decline"}}))
                case _:
                    await made.stand.clock.advance(700)
            await made.say(_again(3, state, {f"esc:{asked}": ACCEPT}, since=since))
            assert made.to_client.of(3)["error"] == {
                "code": -32602,
                "message": "Invalid or expired requestState",
                "data": {"reason": "invalid_request_state"},
            }
            assert made.results()[-1] is Result.REFUSED
            assert made.to_server.text == b""

    async def test_the_same_retry_ends_the_same(self) -> None:
        async with pipe(rule=ELICIT) as made:
            asked, state = await _suspended(made)
            for request_id in (2, 3):
                await made.say(_again(request_id, state, {f"esc:{asked}": ACCEPT}))
            assert made.items(2) == made.items(3)
            assert len(made.stand.bridge.answers) == 1

    async def test_a_retry_of_somebody_elses_call_is_passed_on(self) -> None:
        async with pipe(rule=ELICIT) as made:
            asked, state = await _suspended(made)
            lines = [
                _again(2, state, {"of-the-server": ACCEPT}),
                _again(3, "of the server", {f"esc:{asked}": ACCEPT}),
                wait(4, meta=_modern()).replace(b'"name"', b'"inputResponses":{},"name"', 1),
            ]
            await made.say(*lines)
            assert made.to_server.text == b"".join(lines)

    async def test_a_retry_without_a_bridge_session_is_passed_on(self) -> None:
        async with pipe(rule=ELICIT) as made:
            asked, state = await _suspended(made)
            sessions = made.stand.feeds.parts.sessions
            sessions.forget(BOB, await sessions.credential_for(BOB))
            made.stand.bridge.fails("open_session", lambda: BridgeUnavailable("down"))
            await made.say(retry := _again(2, state, {f"esc:{asked}": ACCEPT}))
            assert made.to_server.text == retry

    async def test_a_cancelled_retry_ends_in_silence_and_its_answer_goes_on(self) -> None:
        async with pipe(rule=ELICIT) as made:
            asked, state = await _suspended(made)
            gate = made.stand.bridge.gate("respond")
            await made.say(_again(2, state, {f"esc:{asked}": ACCEPT}))
            await gate.reached()
            await made.say(cancelled(2))
            gate.open()
            await settle()
            assert [answer.content for answer in made.stand.bridge.answers] == [RED]
            assert [message["id"] for message in made.to_client.messages] == [1]
            assert made.to_server.text == b""

    async def test_a_retry_whose_result_never_arrives_leaves_its_questions_to_the_next_wait(self) -> None:
        async with pipe(rule=ELICIT) as made:
            _, state = await _suspended(made)
            made.to_client.is_broken = True
            await made.say(_again(2, state, {}))
            assert made.results()[-1] is Result.GONE
            made.to_client.is_broken = False
            await made.say(wait(3, meta=_modern()))
            await made.stand.clock.advance(5)
            assert _result(made, 3)["resultType"] == "input_required"

    @pytest.mark.parametrize(
        ("rule", "meta", "is_asked"),
        [
            (ELICIT, _modern(form=False), False),
            (DeliveryRule(), _modern(), False),
            (DeliveryRule(clients=frozenset({"t"})), _modern(), True),
            (DeliveryRule(clients=frozenset({"t"})), _modern(name="u"), False),
        ],
    )
    async def test_who_cannot_or_must_not_be_asked_reads_the_question_in_the_result(
        self, *, rule: DeliveryRule, meta: dict[str, object], is_asked: bool
    ) -> None:
        async with pipe(rule=rule) as made:
            made.stand.bridge.ask("bob", shape=SHAPE)
            await made.say(wait(1, meta=meta))
            await made.stand.clock.advance(5)
            assert _result(made, 1)["resultType"] == ("input_required" if is_asked else "complete")

    async def test_the_configured_agent_counts_in_a_retry_as_well(self) -> None:
        async with pipe(rule=ELICIT, agent_id="bob") as made:
            asked = made.stand.bridge.ask("bob", shape=SHAPE).elicitation_id
            await made.say(wait(1, "mallory", meta=_modern()))
            await made.stand.clock.advance(5)
            message = orjson.loads(wait(2, "mallory", meta=_modern()))
            state = _result(made, 1)["requestState"]
            message["params"] |= {"requestState": state, "inputResponses": {f"esc:{asked}": ACCEPT}}
            await made.say(orjson.dumps(message) + b"\n")
            assert made.items(2)[0][0] == "elicitation_answered"
