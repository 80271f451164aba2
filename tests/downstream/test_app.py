"""The data port as a whole: which door answers, the checks before all doors, one outcome per call, defects."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from aiohttp import WSMsgType

from tests.support.house import OFF, ON, house, stand, until
from tests.support.raw_http import connect
from tests.support.raw_upstream import answers, raw_upstream

_EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

CALLS = [
    ("GET", "/event/wait?agent_id=bob", "http_wait"),
    ("POST", "/event/store", "http_store"),
    ("POST", "/elicitation/create", "http_create"),
    ("POST", "/elicitation/respond", "http_respond"),
    ("GET", "/health", "http_relay"),
    ("DELETE", "/event/store", "http_relay"),
    ("POST", "/event%2Fstore", "http_store"),
    ("POST", "/elicitation/%72espond", "http_respond"),
    ("POST", "/event%252Fstore", "http_relay"),
    ("GET", "/event/%77ait?agent_id=bob", "http_wait"),
]


@pytest.mark.requirement("door.names")
class TestNames:
    @pytest.mark.parametrize(("method", "target", "door"), CALLS)
    @pytest.mark.parametrize(
        "headers",
        [
            {"Host": "evil.example"},
            {"Host": "127.0.0.1.evil.example:8766"},
            {"Host": ""},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
        ],
        ids=str,
    )
    async def test_a_page_of_a_foreign_site_is_refused_and_counted(
        self, method: str, target: str, door: str, headers: dict[str, str]
    ) -> None:
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", ON) as made:
            heard = await made.call(method, target, token="0123456789", headers=headers)
            assert heard.status == 403
            assert heard.problem["code"] == "host_refused"
            assert "listen.allowed_hosts" in str(heard.problem["detail"])
            assert upstream.connections == 0
            (line,) = made.lines
            assert (line["event"], line["door"], line["error_code"]) == ("refused", door, "host_refused")
            snapshot = (await made.admin("GET", "/elicitation/metrics", token="")).json
            security = snapshot["security"]
            assert isinstance(security, dict)
            assert security["hosts_refused"] == 1

    @pytest.mark.parametrize(
        "headers",
        [
            {"Host": "localhost:1"},
            {"Host": "[::1]"},
            {"Host": "sidecar.example:8766"},
            {"Origin": "http://localhost:3000"},
            {"Host": "sidecar.example", "Origin": "https://sidecar.example"},
        ],
        ids=str,
    )
    async def test_names_of_loopback_and_configured_ones_pass(self, headers: dict[str, str]) -> None:
        async with raw_upstream() as upstream:
            url = f"http://127.0.0.1:{upstream.port}"
            async with house(url, {"listen.allowed_hosts": "sidecar.example"}) as made:
                assert (await made.call("GET", "/x", headers=headers)).status == 200

    async def test_a_call_without_host_comes_from_no_browser_and_passes(self) -> None:
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}") as made:
            async with connect(made.port) as wire:
                await wire.send(b"GET /x HTTP/1.0\r\n\r\n")
                assert (await wire.reply()).status == 200
            assert upstream.received[0].head.all(b"host") == [b"127.0.0.1:%d" % upstream.port]


@pytest.mark.requirement("door.one_outcome")
class TestDoors:
    @pytest.mark.parametrize(("method", "target", "door"), CALLS)
    @pytest.mark.parametrize("flags", [ON, OFF], ids=["on", "off"])
    async def test_every_call_leaves_exactly_one_outcome_at_its_door(
        self, method: str, target: str, door: str, flags: Mapping[str, str]
    ) -> None:
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", flags) as made:
            upstream.play(answers(*[_EMPTY] * 9))
            assert (await made.call(method, target)).status == 200
            assert [line["door"] for line in made.lines] == [door]
            assert upstream.received[0].target == target.encode()
            samples = await made.metrics()
            counted = {name: value for name, value in samples.items() if "calls_total{" in name and "admin" not in name}
            assert sum(value for name, value in counted.items() if "legacy" not in name) == 1

    @pytest.mark.parametrize(
        ("method", "target", "door"),
        [
            (b"GET", b"http://localhost/event/wait?agent_id=bob&timeout_seconds=0", "http_wait"),
            (b"GET", b"http://localhost/event/%77ait?agent_id=bob&timeout_seconds=0", "http_wait"),
            (b"POST", b"HTTP://localhost/event/store", "http_store"),
            (b"GET", b"http://localhost/event/wait/more", "http_relay"),
        ],
    )
    async def test_an_absolute_target_comes_to_the_door_of_its_path(
        self, method: bytes, target: bytes, door: str
    ) -> None:
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", ON) as made:
            upstream.play(answers(*[_EMPTY] * 9))
            async with asyncio.timeout(5), connect(made.port) as wire:
                fields = b"Host: localhost\r\nAuthorization: Bearer 0123456789\r\nContent-Length: 0"
                await wire.send(method + b" " + target + b" HTTP/1.1\r\n" + fields + b"\r\n\r\n")
                await wire.reply()
            await until(lambda: made.lines != [])
            assert made.lines[0]["door"] == door
            if door == "http_wait":
                assert made.lines[0]["agent_id"] == "bob"

    async def test_a_websocket_passes_through_and_is_one_outcome(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            url = f"http://127.0.0.1:{made.house.port}/ws/bob"
            async with asyncio.timeout(5), made.house.session.ws_connect(url) as socket:
                await socket.send_str('{"type":"ping"}')
                frame = await socket.receive()
                assert (frame.type, frame.data) == (WSMsgType.TEXT, '{"type": "pong"}')
            await until(lambda: len(made.house.lines) == 1)
            assert made.house.lines[0]["door"] == "http_relay"

    async def test_a_caller_that_leaves_a_relayed_call_is_gone(self) -> None:
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}") as made:
            stage = upstream.stage

            async def hang(_: object) -> None:
                stage.reached("asked")
                await stage.until("over")

            upstream.script = hang
            task = asyncio.get_running_loop().create_task(made.call("GET", "/slow"))
            await stage.until("asked")
            task.cancel()
            await until(lambda: made.lines != [])
            stage.reached("over")
            assert [line["event"] for line in made.lines] == ["gone"]


@pytest.mark.requirement("door.defect")
class TestDefects:
    @pytest.mark.parametrize(
        ("method", "target", "broken"),
        [
            ("GET", "/event/wait?agent_id=bob", "proxy.downstream.wait_http.parse_wait_query"),
            ("POST", "/event/store", "proxy.downstream.elicitation_http.parse_stored_answer"),
            ("POST", "/elicitation/respond", "proxy.downstream.elicitation_http.parse_respond"),
            ("POST", "/elicitation/create", "proxy.downstream.elicitation_http.read_judged"),
            ("GET", "/health", "proxy.downstream.relay.upstream_target"),
            ("GET", "/health", "proxy.downstream.app.owner_of"),
        ],
    )
    async def test_a_defect_in_a_door_tells_the_caller_nothing_but_that_it_happened(
        self, monkeypatch: pytest.MonkeyPatch, method: str, target: str, broken: str
    ) -> None:
        monkeypatch.setattr(broken, _defective)
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", ON) as made:
            body = {"data": {"elicitation_id": "x"}} if method == "POST" else None
            heard = await made.call(method, target, token="secret-token-of-bob", body=body)
            assert heard.status == 500
            assert heard.problem["code"] == "internal_error"
            for internal in (b"xyzzy", b"ZeroDivisionError", b"Traceback", b"secret-token"):
                assert internal not in heard.body
            samples = await made.metrics()
            assert samples["elicit_sidecar_defects_total"] == 1
            if broken != "proxy.downstream.app.owner_of":
                assert [line["event"] for line in made.lines] == ["failed"]

    async def test_after_a_defect_the_house_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}") as made:
            with monkeypatch.context() as patched:
                patched.setattr("proxy.downstream.relay.upstream_target", _defective)
                assert (await made.call("GET", "/health")).status == 500
            upstream.play(answers(_EMPTY))
            assert (await made.call("GET", "/health")).status == 200


def _defective(*_: object, **__: object) -> Callable[[], None]:
    raise ZeroDivisionError("xyzzy")


METRICS = (
    "build_info{",
    "waits_total{",
    "wait_seconds_bucket{",
    "delivery_seconds_bucket{",
    "elicitations_total{",
    "elicitations_pending",
    "legacy_calls_total{",
    "relay_seconds_bucket{",
    "fallbacks_total{",
    "impersonations_total",
    "rollout_percentage",
    "cohort_agents{",
    "breaker_state{",
    "empty_wakes_saved_total",
)
"""What ARCHITECTURE.md 3.6 names and this release has."""


@pytest.mark.requirement("metrics.names")
class TestMetrics:
    async def test_metrics_have_the_promised_names_and_no_agent_in_them(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice-3f9"), await made.bridge.token("bob-3f9")
            task = await made.parked("bob-3f9", bob, timeout_seconds=30)
            asked = await made.ask(alice, from_agent="alice-3f9", to_agent="bob-3f9")
            assert (await task).status == 200
            await made.respond(alice, asked["elicitation_id"], responding_agent="alice-3f9")
            await made.respond(bob, asked["elicitation_id"], responding_agent="bob-3f9")
            await made.house.call("GET", "/expert/bob-3f9")
            await made.house.admin("POST", "/agent/force_elicitation", body={"agent_id": "bob-3f9"})
            text = (await made.house.admin("GET", "/metrics")).body.decode()
        for name in METRICS:
            assert f"\nelicit_sidecar_{name}" in text, name
        assert "\nprocess_resident_memory_bytes " in text
        assert "3f9" not in text
        assert str(asked["elicitation_id"]) not in text
