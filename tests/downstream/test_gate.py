"""The gate before all doors: who calls, by token, configuration or nobody, and in whose name."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.house import ON, Heard, House, Stand, house, stand
from tests.support.raw_http import connect
from tests.support.raw_upstream import RawUpstream, raw_upstream

STORE = {"event_type": "CUSTOM", "data": {"n": 1}}
ENFORCE = {"identity.mode": "enforce"}
OBSERVE = {"identity.mode": "observe"}

SPOKEN_BY_BOB: list[tuple[str, str, object]] = [
    ("GET", "/event/wait?agent_id=bob&timeout_seconds=0", None),
    ("HEAD", "/event/wait?agent_id=bob&timeout_seconds=0", None),
    ("GET", "/event/wait?agent_id=alice&agent_id=bob&timeout_seconds=0", None),
    ("GET", "/event/wait?agent_id=bob&agent_id=alice&timeout_seconds=0", None),
    ("GET", "/event/wait?agent%5Fid=bob&timeout_seconds=0", None),
    ("GET", "/event/wait?agent_id=%62ob&timeout_seconds=0", None),
    ("GET", "/event/wait?agent_id=bob%20&timeout_seconds=0", None),
    ("GET", "/event/%77ait?agent_id=bob&timeout_seconds=0", None),
    ("GET", "//event/wait?agent_id=bob", None),
    ("GET", "/event//wait?agent_id=bob", None),
    ("GET", "/x/../event/wait?agent_id=bob", None),
    ("GET", "/event/./wait?agent_id=bob", None),
    ("GET", "/event/wait/?agent_id=bob", None),
    ("GET", "/event/wait.?agent_id=bob", None),
    ("GET", "/EVENT/Wait?agent_id=bob", None),
    ("GET", "/event%2Fwait?agent_id=bob", None),
    ("GET", "/event%252Fwait?agent_id=bob", None),
    ("GET", "/event/wait;x=1?agent_id=bob", None),
    ("GET", "/event\\wait?agent_id=bob", None),
    ("GET", "/elicitation/pending?agent_id=bob", None),
    ("POST", "/event/store", {**STORE, "agent_id": "bob"}),
    ("POST", "/Event//Store", {**STORE, "agent_id": "bob"}),
    ("POST", "/event/store?agent_id=alice", {**STORE, "agent_id": "bob"}),
    ("POST", "/elicitation/create", {"from_agent": "bob", "to_agent": "alice", "message": "?", "schema": {}}),
    ("POST", "/elicitation/respond", {"elicitation_id": "e", "responding_agent": "bob", "response_type": "accept"}),
    ("POST", "/expert/register", {"agent_id": "bob", "agent_type": "x", "capabilities": []}),
    ("POST", "/session/create", {"agent_id": "bob", "ip_address": "127.0.0.1", "user_agent": "t"}),
    ("POST", "/validate", {"agent_id": "bob", "tool_name": "x", "tool_input": {}}),
    ("GET", "/ws/bob", None),
    ("GET", "/WS/bob/", None),
]

UNREADABLE = [
    b'{"agent_id": "alice", "agent_id": "bob"}',
    b'{"agent_id": "bob", "agent_id": "alice"}',
    b'{"agent_id": ["bob"]}',
    b'{"agent_id": "bob", "n": NaN}',
    b"\xef\xbb\xbf" + b'{"agent_id": "bob"}',
    '{"agent_id": "bob"}'.encode("utf-16"),
    b"{",
]


@asynccontextmanager
async def before_anything(overrides: Mapping[str, str]) -> AsyncIterator[tuple[RawUpstream, House]]:
    """A sidecar before an upstream that answers everything with 200."""
    async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", overrides) as made:
        yield upstream, made


def is_refused(heard: Heard, reason: str, code: str = "impersonation") -> None:
    assert (heard.status, heard.problem["code"], heard.problem["reason"]) == (403, code, reason), heard


async def told(made: Stand, metric: str) -> float:
    return (await made.house.metrics()).get(f"elicit_sidecar_{metric}", 0.0)


@pytest.mark.requirement("admission.names")
class TestNames:
    @pytest.mark.parametrize(("method", "target", "body"), SPOKEN_BY_BOB, ids=lambda value: str(value)[:40])
    async def test_a_call_that_speaks_as_another_never_arrives(self, method: str, target: str, body: object) -> None:
        async with raw_upstream() as upstream:
            given = {**ENFORCE, **ON, "agent.id": "alice"}
            async with house(f"http://127.0.0.1:{upstream.port}", given) as made:
                heard = await made.call(method, target, body=body)
                assert heard.status == 403
                if method != "HEAD":
                    is_refused(heard, "claim")
                assert upstream.connections == 0
                assert [line["error_code"] for line in made.lines] == ["impersonation"]
                assert (await made.metrics())["elicit_sidecar_impersonations_total"] == 1

    @pytest.mark.parametrize(("method", "target", "body"), SPOKEN_BY_BOB, ids=lambda value: str(value)[:40])
    async def test_observing_lets_it_through_as_it_came_and_counts_it(
        self, method: str, target: str, body: object
    ) -> None:
        async with before_anything({**OBSERVE, "agent.id": "alice"}) as (upstream, made):
            assert (await made.call(method, target, body=body)).status == 200
            (received,) = upstream.received
            assert received.target == target.encode()
            metrics = await made.metrics()
            assert metrics["elicit_sidecar_impersonations_total"] == 1
            assert metrics['elicit_sidecar_breaches_let_through_total{breach="impersonation"}'] == 1

    @pytest.mark.parametrize("target", ["/event/store", "/event/Store/"])
    @pytest.mark.parametrize("raw", UNREADABLE)
    async def test_a_body_that_two_readers_may_take_differently_is_refused(self, target: str, raw: bytes) -> None:
        async with before_anything({**ENFORCE, "agent.id": "alice"}) as (upstream, made):
            heard = await made.call("POST", target, raw=raw)
            is_refused(heard, "unreadable")
            assert upstream.connections == 0

    async def test_a_body_too_large_to_be_looked_into_is_refused_where_it_says_who_calls(self) -> None:
        raw = b'{"agent_id": "alice", "data": "' + b"x" * (2 * 1024 * 1024) + b'"}'
        async with before_anything({**ENFORCE, "agent.id": "alice"}) as (upstream, made):
            heard = await made.call("POST", "/event/store", raw=raw, headers={"Content-Length": str(len(raw))})
            assert heard.status in {403, 413}
            assert upstream.connections == 0

    async def test_a_compressed_body_is_refused_where_it_says_who_calls(self) -> None:
        async with before_anything({**ENFORCE, "agent.id": "alice"}) as (_, made):
            raw = b'{"agent_id": "alice"}'
            headers = {"Content-Encoding": "gzip"}
            is_refused(await made.call("POST", "/event/store", raw=raw, headers=headers), "unreadable")
            assert (await made.call("POST", "/task/dispatch", raw=raw, headers=headers)).status == 200

    async def test_a_target_in_absolute_form_is_judged_as_any_other(self) -> None:
        async with before_anything({**ENFORCE, "agent.id": "alice"}) as (upstream, made):
            async with connect(made.port) as wire:
                await wire.send(b"GET http://127.0.0.1/event/wait?agent_id=bob HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert (await wire.reply()).status == 403
            assert upstream.connections == 0

    @pytest.mark.parametrize(
        ("method", "target", "body"),
        [
            ("GET", "/event/wait?agent_id=alice&timeout_seconds=0", None),
            ("POST", "/event/store", {**STORE, "agent_id": "alice", "data": {"agent_id": "bob"}}),
            ("POST", "/event/store", STORE),
            ("GET", "/event/query?agent_id=bob", None),
            ("POST", "/session/validate", {"session_token": "x", "agent_id": "bob"}),
            ("OPTIONS", "*", None),
            ("OPTIONS", "/event/store", None),
            ("GET", "/health", None),
            ("GET", "/ws/alice", None),
        ],
        ids=str,
    )
    async def test_calls_in_the_own_name_and_calls_that_name_nobody_pass(
        self, method: str, target: str, body: object
    ) -> None:
        async with before_anything({**ENFORCE, "agent.id": "alice"}) as (upstream, made):
            async with connect(made.port) as wire:
                if target == "*":
                    await wire.send(b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                    assert (await wire.reply()).status == 200
                    return
            assert (await made.call(method, target, body=body)).status == 200
            assert len(upstream.received) == 1

    async def test_off_nothing_is_looked_at(self) -> None:
        async with before_anything({"agent.id": "alice"}) as (upstream, made):
            for raw in UNREADABLE:
                assert (await made.call("POST", "/event/store", raw=raw)).status == 200
            assert [received.body for received in upstream.received] == UNREADABLE
            metrics = await made.metrics()
            assert metrics['elicit_sidecar_breaches_let_through_total{breach="impersonation"}'] == 0


@pytest.mark.requirement("admission.tokens")
class TestTokens:
    async def test_a_token_binds_its_agent_whoever_the_sidecar_stands_beside(self, tmp_path: Path) -> None:
        async with stand(tmp_path, {**ENFORCE, "agent.id": "alice"}) as made:
            bob = await made.bridge.token("bob")
            assert (await made.store(bob, {"n": 1}, agent_id="bob")).status == 200
            is_refused(await made.store(bob, {"n": 1}, agent_id="alice"), "claim")
            assert made.arrived("POST /event/store") == 1

    async def test_a_made_up_token_is_the_bridges_to_refuse(self, tmp_path: Path) -> None:
        async with stand(tmp_path, ENFORCE) as made:
            heard = await made.store("0123456789:bob:1.5:abcdef", {"n": 1}, agent_id="bob")
            assert (heard.status, heard.json["detail"]) == (403, "Authentication token is not valid or has expired")
            assert len(made.bridge.state.log) == 1  # of the Bridge itself

    async def test_a_token_vouches_for_nobody_where_the_bridge_does_not_ask_for_one(self, tmp_path: Path) -> None:
        async with stand(tmp_path, ENFORCE) as made:
            body = {"agent_id": "bob", "ip_address": "127.0.0.1", "user_agent": "t"}
            for target in ("/session/create", "/Session//create"):
                heard = await made.house.call("POST", target, token="0123456789:bob:1.5:abcdef", body=body)
                is_refused(heard, "unbound")
            heard = await made.house.call("GET", "/ws/bob", token="0123456789:bob:1.5:abcdef")
            is_refused(heard, "unbound")
            assert made.arrived("POST /session/create") == 0

    async def test_the_agent_beside_the_sidecar_may_open_its_session(self, tmp_path: Path) -> None:
        async with stand(tmp_path, {**ENFORCE, "agent.id": "bob"}) as made:
            body = {"agent_id": "bob", "ip_address": "127.0.0.1", "user_agent": "t"}
            assert (await made.house.call("POST", "/session/create", body=body)).status == 200

    async def test_two_credentials_are_one_too_many(self, tmp_path: Path) -> None:
        async with stand(tmp_path, ENFORCE) as made:
            mallory = await made.bridge.token("mallory")
            body = b'{"event_type":"CUSTOM","agent_id":"bob","data":{}}'
            async with connect(made.house.port) as wire:
                await wire.send(
                    b"POST /event/store HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer 0123456789:bob:1:x\r\n"
                    b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b" % (mallory.encode(), len(body), body)
                )
                assert (await wire.reply()).status == 403
            assert made.arrived("POST /event/store") == 0

    async def test_the_attack_that_works_at_the_bridge_is_refused_here(self, tmp_path: Path) -> None:
        async with stand(tmp_path, ENFORCE) as made:
            alice, mallory = await made.bridge.token("alice"), await made.bridge.token("mallory")
            direct = await made.bridge.call("GET", "/event/wait?agent_id=bob&timeout_seconds=0", token=mallory)
            assert direct[0] == 200
            heard = await made.house.call("GET", "/event/wait?agent_id=bob&timeout_seconds=0", token=mallory)
            is_refused(heard, "claim")
            asked = (await made.ask(alice))["elicitation_id"]
            is_refused(await made.respond(mallory, asked), "claim")
            assert await made.status(alice, asked) == "pending"
            assert await told(made, "impersonations_total") == 2

    async def test_a_caller_that_leaves_while_it_is_judged_leaves_one_outcome(self) -> None:
        async with before_anything({**ENFORCE, "agent.id": "alice"}) as (_, made):
            async with connect(made.port) as wire:
                await wire.send(b"POST /event/store HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{")
            assert (await made.call("GET", "/health")).status == 200
            assert [line["door"] for line in made.lines] == ["http_store", "http_relay"]
