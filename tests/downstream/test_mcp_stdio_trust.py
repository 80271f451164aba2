"""Who calls tools over a pipe: nobody but the agent that the sidecar stands beside, and within its limits."""

import orjson
import pytest

from proxy.core.limits import ANSWERS, BYTES, CALLS, QUESTIONS, WAITS, LimitName
from proxy.core.outcome import Result
from proxy.core.rate import Rate, Unit
from proxy.flows.admission import AdmissionRules
from tests.support.stdio_pipe import INITIALIZE, asked_by_wait, call, pipe, respond, wait

ENFORCE = AdmissionRules(identity="enforce")
ONE = Rate(count=1, period_s=60, burst=0)


def limits(*names: LimitName) -> AdmissionRules:
    return AdmissionRules(limits=dict.fromkeys(names, ONE))


def code_of(message: dict[str, object]) -> tuple[object, object]:
    error = message["error"]
    assert isinstance(error, dict)
    return error["code"], error["data"]["code"]


@pytest.mark.requirement("admission.tools")
class TestNames:
    @pytest.mark.parametrize(
        "line",
        [
            wait(7),
            call(7, "lighthouse_store_event", {"agent_id": "bob", "event_type": "x", "event_data": {}}),
            call(7, "anything", {"from_agent": "bob"}),
            call(7, "anything", {"agent_id": 7}),
            (
                b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":'
                b'{"agent_id":"alice","agent_id":"bob"}}}\n'
            ),
        ],
    )
    async def test_a_tool_is_called_in_nobody_elses_name(self, line: bytes) -> None:
        async with pipe(agent_id="alice", rules=ENFORCE) as made:
            await made.open()
            await made.say(line)
            assert code_of(made.to_client.of(7)) == (1403, "impersonation")
            assert made.to_server.text == INITIALIZE
            assert made.results() == [Result.REFUSED]
            assert len(made.stand.recorder.suspicions) == 1

    async def test_a_batch_or_a_notification_for_another_goes_nowhere(self) -> None:
        async with pipe(agent_id="alice", rules=ENFORCE) as made:
            await made.open()
            one = orjson.loads(call(7, "x", {"agent_id": "bob"}))
            await made.say(orjson.dumps([one]) + b"\n")
            del one["id"]
            await made.say(orjson.dumps(one) + b"\n")
            assert made.to_server.text == INITIALIZE
            assert made.to_client.text == b""
            assert made.results() == [Result.REFUSED] * 2

    async def test_what_names_its_own_agent_or_nobody_passes_as_it_came(self) -> None:
        async with pipe(agent_id="alice", rules=ENFORCE) as made:
            lines = [
                call(1, "x", {"agent_id": "alice"}),
                call(2, "query_events", {"agent_id": "bob"}),
                call(3, "x", {}),
            ]
            await made.say(INITIALIZE, *lines)
            assert made.to_server.text == INITIALIZE + b"".join(lines)
            assert not made.stand.recorder.suspicions

    async def test_without_an_agent_that_is_vouched_for_no_name_counts(self) -> None:
        async with pipe(rules=ENFORCE) as made:
            await made.open()
            await made.say(wait(7))
            assert code_of(made.to_client.of(7)) == (1403, "impersonation")

    async def test_observing_passes_everything_and_counts(self) -> None:
        async with pipe(agent_id="alice", rules=AdmissionRules(identity="observe")) as made:
            line = call(7, "x", {"agent_id": "bob"})
            await made.say(INITIALIZE, line)
            assert made.to_server.text == INITIALIZE + line
            assert [each.is_enforced for each in made.stand.recorder.suspicions] == [False]


@pytest.mark.requirement("admission.limits")
class TestLimits:
    async def test_a_wait_beyond_the_limit_is_told_when_to_come_again(self) -> None:
        async with pipe(agent_id="bob", rules=limits(WAITS)) as made:
            await made.open()
            await made.say(wait(1), wait(2))
            error = made.to_client.of(2)["error"]
            assert isinstance(error, dict)
            assert (error["code"], error["data"]["retryAfterMs"]) == (1429, 60_000)
            assert error["data"]["violated-policies"] == ["waits"]

    async def test_questions_calls_and_bytes_come_under_theirs(self) -> None:
        ask = call(7, "lighthouse_elicit_information", {"to_agent": "x"})
        few = Rate(count=150, period_s=60, burst=0, unit=Unit.BYTES)
        for rules in (limits(QUESTIONS), limits(CALLS), AdmissionRules(limits={BYTES: few})):
            async with pipe(agent_id="bob", rules=rules) as made:
                await made.say(INITIALIZE, ask, ask)
                assert made.to_server.text == INITIALIZE + ask
                assert code_of(made.to_client.of(7)) == (1429, "rate_limited")

    @pytest.mark.parametrize("way", ["respond", "send"])
    async def test_a_refused_answer_leaves_its_question_open(self, way: str) -> None:
        async with pipe(agent_id="bob", rules=limits(ANSWERS)) as made:
            asked = await asked_by_wait(made)
            other = made.stand.bridge.ask("bob", shape={"colour": {"type": "string"}}).elicitation_id
            for number, named in ((2, asked), (3, other)):
                data = {"elicitation_id": named, "response_type": "accept", "content": {}}
                given = {"agent_id": "bob", "event_type": "x", "event_data": data}
                line = respond(number, named) if way == "respond" else call(number, "lighthouse_store_event", given)
                await made.say(line)
            assert "result" in made.to_client.of(2)
            assert code_of(made.to_client.of(3)) == (1429, "rate_limited")
            assert [answer.elicitation_id for answer in made.stand.bridge.answers] == [asked]
            assert made.to_server.text == INITIALIZE
