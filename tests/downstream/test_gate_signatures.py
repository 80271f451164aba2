"""The gate before all doors: signed calls, each once, in the name of who signs them."""

from pathlib import Path

import pytest

from tests.support.fort import Fort, answer_of, fort, is_problem, question_of
from tests.support.house import Heard
from tests.support.raw_http import connect

OBSERVED = {"identity.mode": "observe", "signatures.mode": "observe"}
STORED = {"event_type": "CUSTOM", "agent_id": "alice", "data": {"n": 1}}


async def _refusals(made: Fort) -> dict[str, float]:
    metrics = await made.house.metrics()
    return {name: value for name, value in metrics.items() if "signature_failures_total{" in name and value}


@pytest.mark.requirement("admission.modes")
class TestModes:
    async def test_what_an_agent_signs_passes_and_counts_as_nothing(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            assert (await made.call("alice", "POST", "/event/store", STORED)).status == 200
            assert (await made.call("alice", "GET", "/event/wait?agent_id=alice&timeout_seconds=0")).status == 200
            assert (await made.call("alice", "HEAD", "/health")).status == 405
            assert await _refusals(made) == {}
            assert not made.warnings

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "PATCH"])
    async def test_without_a_signature_nothing_passes(self, tmp_path: Path, method: str) -> None:
        async with fort(tmp_path) as made:
            async with made.is_refused('signature_failures_total{reason="absent"}', rule="absent"):
                heard = await made.house.call(method, "/health", token=made.tokens["alice"])
            assert heard.status == 401

    async def test_observing_counts_and_lets_through_what_enforcing_refuses(self, tmp_path: Path) -> None:
        async with fort(tmp_path, OBSERVED) as made:
            call = made.sign("alice", "POST", "/event/store", STORED)
            assert [(await made.send(call)).status for _ in range(2)] == [200, 200]
            assert (await made.send(call.with_headers(X_Agent_Id="bob"))).status == 200
            assert (await made.send(made.sign("bob", "POST", "/event/store", STORED))).status == 200
            assert await made.count("replays_total") == 1
            assert await made.count('signature_failures_total{reason="bad_signature"}') == 1
            assert await made.count("impersonations_total") == 1
            assert made.stand.arrived("POST /event/store") == 4

    async def test_off_a_broken_signature_is_relayed_as_any_field(self, tmp_path: Path) -> None:
        async with fort(tmp_path, {"identity.mode": "off", "signatures.mode": "off"}) as made:
            call = made.sign("alice", "GET", "/health").with_headers(Signature="nonsense")
            assert (await made.send(call)).status == 200
            assert await _refusals(made) == {}


@pytest.mark.requirement("admission.modes")
class TestRefused:
    async def test_a_call_counts_once(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            call = made.sign("alice", "POST", "/event/store", STORED)
            assert (await made.send(call)).status == 200
            async with made.is_refused("replays_total", rule="replayed"):
                is_problem(await made.send(call), 403, "replay_refused")

    async def test_a_call_that_is_refused_for_its_names_has_not_been_used(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            call = made.sign("alice", "POST", "/event/store", STORED)
            foreign = call.with_headers(Authorization=f"Bearer {made.tokens['bob']}")
            async with made.is_refused("impersonations_total", rule="token"):
                is_problem(await made.send(foreign), 403, "impersonation")
            assert (await made.send(call)).status == 200

    async def test_a_call_is_good_until_its_end_and_no_longer(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            late = [made.sign("alice", "GET", "/health") for _ in range(2)]
            made.stand.clock.advance(304)
            assert (await made.send(late[0])).status == 200
            made.stand.clock.advance(1)
            async with made.is_refused('signature_failures_total{reason="expired"}', rule="expired"):
                is_problem(await made.send(late[1]), 401, "signature_refused")

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"X_Agent_Id": "bob"}, "bad_signature"),
            ({"Signature": "sig=:AAAA:"}, "malformed"),
            ({"Signature_Input": ""}, "malformed"),
        ],
    )
    async def test_a_changed_call_is_refused_before_its_body_is_read(
        self, tmp_path: Path, changes: dict[str, str], reason: str
    ) -> None:
        async with fort(tmp_path) as made:
            call = made.sign("alice", "POST", "/event/store", STORED).with_headers(**changes)
            async with connect(made.house.port) as wire:
                fields = "".join(f"{name}: {value}\r\n" for name, value in call.headers.items())
                head = f"POST {call.target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: 60\r\n\r\n"
                await wire.send(head.encode())
                assert (await wire.reply()).status == 401
            assert await _refusals(made) == {
                f'elicit_sidecar_signature_failures_total{{reason="{reason}"}}': 1,
            }

    async def test_a_call_for_another_path_method_or_query_is_not_this_one(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            for method, target in (
                ("GET", "/health?x=1"),
                ("POST", "/health"),
                ("GET", "/Health"),
                ("GET", "//health"),
            ):
                call = made.sign("alice", "GET", "/health")
                async with made.is_refused('signature_failures_total{reason="bad_signature"}', rule="bad_signature"):
                    heard = await made.house.call(method, target, headers=call.headers)
                    assert heard.status == 401

    async def test_a_target_in_absolute_form_is_the_one_that_was_signed(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            statuses = []
            for authority in (f"127.0.0.1:{made.house.port}", "evil.example"):
                call = made.sign("alice", "GET", "/health")
                fields = "".join(f"{name}: {value}\r\n" for name, value in call.headers.items())
                async with connect(made.house.port) as wire:
                    await wire.send(
                        f"GET http://{authority}/health HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n".encode()
                    )
                    statuses.append((await wire.reply()).status)
            assert statuses == [200, 200]  # of an absolute target only the path is ours to read

    async def test_whoever_signs_cannot_answer_for_another(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            asked = await made.asked()
            for body in (answer_of("bob", asked), question_of("bob")):
                target = "/elicitation/respond" if "elicitation_id" in body else "/elicitation/create"
                async with made.is_refused("impersonations_total", rule="claim", agent_id="mallory"):
                    is_problem(await made.call("mallory", "POST", target, body), 403, "impersonation")

    async def test_a_refusal_says_what_is_wanted_and_nothing_that_is_secret(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            heard: Heard = await made.house.call("GET", "/health", token=made.tokens["alice"])
            assert heard.problem["reason"] == "absent"
            assert "RFC 9421" in str(heard.problem["detail"])
            assert made.tokens["alice"] not in heard.body.decode() + str(made.warnings)
