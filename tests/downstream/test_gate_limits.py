"""The gate before all doors: what an agent may call, who spends it, and what it is told of it."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from tests.support.dual import cohorts, dual
from tests.support.house import OFF, Heard, Stand, fields, house, stand
from tests.support.raw_http import connect
from tests.support.raw_upstream import answers, raw_upstream

FEW = {"limits.answers": "1/min+1"}
QUESTION = {"to_agent": "bob", "message": "?", "schema": {"type": "object", "properties": {}}, "timeout_seconds": 600}


async def ask(made: Stand, token: str, agent_id: str = "alice") -> Heard:
    body = {**QUESTION, "from_agent": agent_id}
    return await made.house.call("POST", "/elicitation/create", token=token, body=body)


def is_limited(heard: Heard, limit: str, after_s: int) -> None:
    assert heard.status == 429, heard
    assert heard.problem["code"] == "rate_limited"
    assert heard.problem["retryable"] is True
    assert heard.problem["violated-policies"] == [limit]
    assert heard.headers["Retry-After"] == str(after_s)
    assert heard.headers["RateLimit"].endswith(f'"{limit}";r=0;t={after_s}')
    assert f'"{limit}";q=' in heard.headers["RateLimit-Policy"]


@pytest.mark.requirement("admission.limits")
class TestQuestions:
    @pytest.mark.parametrize(
        "flags", [OFF, {"flags.elicitation_enabled": "true", "flags.elicitation_percentage": "100"}]
    )
    async def test_thirteen_at_once_then_one_in_six_seconds(self, tmp_path: Path, flags: dict[str, str]) -> None:
        async with stand(tmp_path, flags=flags) as made:
            alice = await made.bridge.token("alice")
            heard = [await ask(made, alice) for _ in range(14)]
            assert [each.status for each in heard] == [200] * 13 + [429]
            assert [each.headers["RateLimit-Policy"] for each in heard] == ['"questions";q=13;w=78'] * 14
            assert heard[0].headers["RateLimit"] == '"questions";r=12;t=78'
            assert "Retry-After" not in heard[12].headers
            is_limited(heard[13], "questions", 6)
            made.clock.advance(6)
            later = [(await ask(made, alice)).status for _ in range(2)]
            assert (later[0] in {200, 500}, later[1]) == (True, 429)  # the Bridge has a limit of its own
            assert made.arrived("POST /elicitation/create") == 14
            refused = [line for line in made.house.lines if line.get("error_code") == "rate_limited"]
            assert [line["door"] for line in refused] == ["http_create"] * 2
            metrics = await made.house.metrics()
            name = "elicit_sidecar_rate_limit_decisions_total"
            assert metrics[f'{name}{{decision="allowed",limit="questions"}}'] == 14
            assert metrics[f'{name}{{decision="refused",limit="questions"}}'] == 2

    async def test_fifty_at_once_are_thirteen(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice = await made.bridge.token("alice")
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask(made, alice)) for _ in range(50)]
            assert sorted(task.result().status for task in tasks) == [200] * 13 + [429] * 37

    async def test_each_agent_has_its_own(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            for agent in ("alice", "carol"):
                token = await made.bridge.token(agent)
                assert [(await ask(made, token, agent)).status for _ in range(14)] == [200] * 13 + [429]

    async def test_a_second_session_is_no_second_allowance(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            statuses = []
            for _ in range(3):
                token = await made.bridge.token("alice")
                statuses += [(await ask(made, token)).status for _ in range(6)]
            assert statuses == [200] * 13 + [429] * 5

    async def test_made_up_tokens_spend_nothing_of_the_agent_that_they_name(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice = await made.bridge.token("alice")
            assert (await ask(made, alice)).status == 200
            assert [(await ask(made, f"0123456789:alice:{number}:x")).status for number in range(20)] == [403] * 20
            assert [(await ask(made, "0123456789:alice:0:y")).status for _ in range(20)] == [403] * 13 + [429] * 7
            assert [(await ask(made, alice)).status for _ in range(13)] == [200] * 12 + [429]

    async def test_callers_without_a_name_share_nothing_but_their_credential(self) -> None:
        async with (
            raw_upstream() as upstream,
            house(f"http://127.0.0.1:{upstream.port}", {"limits.questions": "1/min+1"}) as made,
        ):
            for token in ("0123456789", "9876543210"):
                heard = [
                    (await made.call("POST", "/elicitation/create", token=token, raw=b"{}")).status for _ in range(3)
                ]
                assert heard == [200, 200, 429]


@pytest.mark.requirement("admission.limits")
class TestOthers:
    async def test_waits_and_all_calls_and_bytes_where_they_are_asked_for(self, tmp_path: Path) -> None:
        limits = {"limits.waits": "1/min+1", "limits.calls": "4/min+1", "limits.bytes": "1KiB/min"}
        async with stand(tmp_path, limits, flags=OFF) as made:
            bob = await made.bridge.token("bob")
            waits = [await made.wait("bob", bob, timeout_seconds=0) for _ in range(3)]
            assert [each.status for each in waits] == [200, 200, 429]
            is_limited(waits[2], "waits", 60)
            other = await made.house.call("GET", "/health", token=bob)
            assert other.headers["RateLimit-Policy"].startswith('"calls";q=5')
            stored = await made.house.call("POST", "/event/store", token=bob, raw=b"{" + b" " * 1024 + b"}")
            assert (stored.status, stored.problem["violated-policies"]) == (429, ["bytes"])
            is_limited(await made.house.call("GET", "/health", token=bob), "calls", 15)

    async def test_a_body_whose_length_is_not_told_is_paid_for_when_it_has_come(self) -> None:
        limits = {"limits.bytes": "1KiB/h", "agent.id": "alice"}
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", limits) as made:
            statuses = []
            for size in (500, 600, 1):
                async with connect(made.port) as wire:
                    head = b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                    await wire.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size))
                    statuses.append((await wire.reply()).status)
            assert statuses == [200, 200, 429]
            assert (await made.call("GET", "/x")).status == 200

    async def test_what_upstream_says_of_its_own_limits_stays_in_front_of_ours(self) -> None:
        reply = (
            b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-First: 1\r\nRateLimit-Policy: "questions";q=5;w=60\r\n'
            b'RateLimit: "questions";r=1;t=9\r\nRetry-After: 7\r\n\r\n'
        )
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}") as made:
            upstream.play(answers(reply))
            heard = await made.call("POST", "/elicitation/create", token="0123456789", raw=b"{}")
            assert heard.headers["RateLimit"] == '"questions";r=1;t=9, "sidecar-questions";r=12;t=78'
            assert heard.headers["RateLimit-Policy"] == '"questions";q=5;w=60, "sidecar-questions";q=13;w=78'
            assert (heard.headers["Retry-After"], heard.headers["X-First"]) == ("7", "1")
            upstream.play(answers(reply))
            relayed = await made.call("GET", "/status", token="0123456789")
            assert relayed.headers["RateLimit"] == '"questions";r=1;t=9'


@pytest.mark.requirement("admission.limits")
class TestAnswers:
    @pytest.mark.parametrize("way", ["respond", "store"])
    async def test_a_refused_answer_leaves_its_question_open_and_is_no_message(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path, FEW) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            asked = [(await made.ask(alice))["elicitation_id"] for _ in range(3)]
            log = len(made.bridge.state.log)

            async def answer(named: object) -> Heard:
                if way == "respond":
                    return await made.respond(bob, named)
                return await made.store(bob, {"elicitation_id": named, "response_type": "accept", "colour": "red"})

            heard = [await answer(named) for named in asked]
            assert [each.status for each in heard][:1] == [200], heard
            assert heard[2].status == 429
            is_limited(heard[2], "answers", 60)
            assert await made.status(alice, asked[2]) == "pending"
            notes = [note for note in made.bridge.state.log.after(log, 100) if str(asked[2]) in str(note)]
            assert len(notes) == 0, notes
            made.clock.advance(60)
            assert (await answer(asked[2])).status in {200, 410}

    async def test_a_reply_by_number_beyond_the_limit_is_no_message_either(self, tmp_path: Path) -> None:
        given = {"limits.answers": "1/h"}
        async with dual(tmp_path, cohorts("alice", "bob"), overrides=given) as made:
            made.bob.answers = False
            numbers = [await made.send(), await made.send()]
            made.start(made.bob)
            await made.until(lambda: len(made.bob.items) == 2)
            replies = [{"in_reply_to": number, "to_agent": "alice", "text": "yes"} for number in numbers]
            assert (await made.bob.store(replies[0])).status == 200
            log = len(made.bridge.state.log)
            refused = await made.bob.store(replies[1])
            is_limited(refused, "answers", 3600)
            assert len(made.bridge.state.log) == log
            named = str(fields(made.bob.items[1]["data"])["elicitation_id"])
            assert (await made.bob.house.call("GET", f"/elicitation/status/{named}", token=made.bob.token)).json[
                "status"
            ] == "pending"

    async def test_a_message_is_no_answer_and_comes_under_no_limit_of_answers(self, tmp_path: Path) -> None:
        async with stand(tmp_path, {"limits.answers": "1/h"}) as made:
            bob = await made.bridge.token("bob")
            for number in range(5):
                assert (await made.store(bob, {"in_reply_to": number + 100, "text": "hello"})).status == 200


@pytest.mark.requirement("admission.limits")
class TestSends:
    async def test_sends_that_ask_and_questions_come_out_of_one_allowance(self, tmp_path: Path) -> None:
        given = {"limits.questions": "3/h"}
        async with dual(tmp_path, cohorts("alice", "bob"), overrides=given) as made:
            for asked in (1, 2):
                await made.send()
                await made.until(lambda asked=asked: len(made.questions()) == asked)  # type: ignore[misc]  # bound now
            body = {**QUESTION, "from_agent": "alice"}
            call = partial(made.alice.house.call, "POST", "/elicitation/create", token=made.alice.token, body=body)
            assert [(await call()).status for _ in range(2)] == [200, 429]
            await made.send()
            await made.pass_s(2)
            assert len(made.questions()) == 3, "the send stayed a message"
