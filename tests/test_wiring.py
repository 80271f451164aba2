"""The whole house: how it starts, what it keeps, how it ends."""

import asyncio
import socket
import sqlite3
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from proxy.config.load import Loaded, load_config
from proxy.config.problems import ConfigError
from proxy.core.errors import StateUnavailable
from proxy.core.flags import FlagSet
from proxy.wiring.clock import LoopClock
from proxy.wiring.house import House
from proxy.wiring.keep import Bound, configured_flags, keep_house
from proxy.wiring.outside import open_outside
from tests.support.house import NOTHING, fields, house, objects, stand, until, until_told, write_tokens
from tests.support.raw_http import connect
from tests.support.raw_upstream import raw_upstream

NOBODY = "http://127.0.0.1:1"


def _loaded(settings: Mapping[str, str] = NOTHING) -> Loaded:
    given = {
        "listen.data": "127.0.0.1:0",
        "listen.admin": "127.0.0.1:0",
        "bridge.url": NOBODY,
        "state.url": "memory:",
        **settings,
    }
    return load_config(None, env={}, overrides=given)


async def _cannot_start(loaded: Loaded) -> None:
    def ready(bound: Bound) -> None:
        raise AssertionError(f"it started on {bound}")

    async with asyncio.timeout(5):
        await keep_house(loaded, ready=ready, stop=asyncio.Event())


class TestStart:
    async def test_it_tells_both_ports_and_serves_on_them(self) -> None:
        async with house(NOBODY) as made:
            assert made.bound.data.port != made.bound.admin.port
            assert (await made.call("GET", "/x")).status == 502
            assert (await made.admin("GET", "/livez")).json == {"alive": True}
            assert (await made.admin("GET", "/readyz")).json == {"ready": True, "reasons": []}

    @pytest.mark.requirement("health.bridge")
    async def test_a_bridge_that_is_away_is_seen_in_health_from_the_first_call_on(self) -> None:
        async with house(NOBODY) as made:
            assert (await made.admin("GET", "/health")).json["reasons"] == []
            assert (await made.call("GET", "/x")).status == 502
            told = (await made.admin("GET", "/health")).json
            assert isinstance(told["reasons"], list)
            (reason,) = told["reasons"]
            assert told["status"] == "degraded"
            assert str(reason).startswith("the Bridge cannot be reached since 0 s: ")

    async def test_a_fresh_state_begins_with_the_configured_flags(self) -> None:
        loaded = _loaded(
            {
                "flags.elicitation_enabled": "true",
                "flags.elicitation_percentage": "12.5",
                "flags.elicitation_whitelist": "alice",
                "flags.elicitation_denylist": "bob",
                "flags.ab_testing_enabled": "true",
                "flags.legacy_fallback": "false",
                "flags.legacy_support": "false",
                "flags.deprecation_warnings": "true",
            }
        )
        assert configured_flags(loaded.config) == FlagSet(
            elicitation_enabled=True,
            elicitation_percentage=12.5,
            elicitation_whitelist=("alice",),
            elicitation_denylist=("bob",),
            ab_testing_enabled=True,
            legacy_fallback=False,
            legacy_support=False,
            deprecation_warnings=True,
        )

    @pytest.mark.requirement("flags.persisted")
    async def test_a_change_at_run_time_outlives_a_restart_and_the_file(self, tmp_path: Path) -> None:
        given = {"state.url": f"sqlite://{tmp_path}/state.db", "admin.token_file": str(write_tokens(tmp_path))}
        async with house(NOBODY, given) as made:
            await made.flags(elicitation_percentage=25, reason="week 5")
            await made.admin("POST", "/agent/force_elicitation", body={"agent_id": "bob"})
        async with house(NOBODY, {**given, "flags.elicitation_percentage": "75"}) as made:
            flags = (await made.admin("GET", "/feature_flags")).json
            assert (flags["elicitation_percentage"], flags["version"]) == (25, 2)
            (change,) = objects((await made.admin("GET", "/feature_flags/history")).json["history"])
            assert (change["reason"], change["changes"]) == ("week 5", {"elicitation_percentage": [0.0, 25.0]})
            assert (await made.admin("GET", "/agents/bob")).json["reason"] == "forced"

    @pytest.mark.requirement("routing.lists")
    async def test_a_group_stands_for_its_members(self) -> None:
        given = {
            "flags.elicitation_enabled": "true",
            "flags.elicitation_whitelist": "canaries",
            "groups.canaries": "alice,bob",
        }
        async with house(NOBODY, given) as made:
            where = (await made.admin("GET", "/agents/bob", token="")).json
            assert (where["groups"], where["reason"], where["route"]) == (["canaries"], "whitelist", "elicitation")

    async def test_the_configuration_is_shown_without_the_path_to_a_secret_being_read_again(self) -> None:
        async with house(NOBODY) as made:
            dump = (await made.admin("GET", "/config_dump", token="")).json
            assert fields(dump["bridge"])["url"] == NOBODY


@pytest.mark.requirement("house.no_start")
class TestNoStart:
    async def test_a_token_file_that_is_not_in_order_stops_it(self, tmp_path: Path) -> None:
        path = await asyncio.to_thread(write_tokens, tmp_path)
        path.chmod(0o644)
        with pytest.raises(ConfigError, match="0600"):
            await _cannot_start(_loaded({"admin.token_file": str(path)}))

    async def test_a_state_that_cannot_be_opened_stops_it(self) -> None:
        with pytest.raises(StateUnavailable, match=r"state\.url"):
            await _cannot_start(_loaded({"state.url": "sqlite:///dev/null/state.db"}))

    @pytest.mark.parametrize("key", ["listen.data", "listen.admin"])
    async def test_a_port_in_use_stops_it_and_frees_everything_else(self, tmp_path: Path, key: str) -> None:
        state = {"state.url": f"sqlite://{tmp_path}/state.db"}
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match="in use"):
                await _cannot_start(_loaded({**state, key: f"127.0.0.1:{port}"}))
        async with house(NOBODY, state) as made:
            assert (await made.admin("GET", "/livez")).status == 200


def _suspend(path: Path, calls: Mapping[bytes, float]) -> None:
    connection = sqlite3.connect(path, timeout=5)
    with connection:
        connection.executemany(
            "INSERT INTO exchanges (handle, owner, expires_at, record) VALUES (?, ?, ?, ?)",
            [(handle, b"alice", expires_at, b"record") for handle, expires_at in calls.items()],
        )
    connection.close()


def _suspended(path: Path) -> list[bytes]:
    connection = sqlite3.connect(path, timeout=5)
    found = [handle for (handle,) in connection.execute("SELECT handle FROM exchanges")]
    connection.close()
    return found


class TestRunning:
    async def test_health_tells_how_the_way_stands_and_caches_can_be_cleared(self, tmp_path: Path) -> None:
        async with stand(tmp_path, {"breaker.failures": "1"}) as made:
            bob = await made.bridge.token("bob")
            healthy = await made.house.health()
            assert (healthy["status"], healthy["reasons"]) == ("healthy", [])
            task = await made.parked("bob", bob, timeout_seconds=30)
            await made.bridge.set(fail_elicitation=True)
            made.clock.advance(1)
            await until(lambda: made.arrived("GET /elicitation/pending") == 2)

            # The answer to that poll is on its way back on this same loop.
            async def is_degraded() -> bool:
                return (await made.house.health())["status"] == "degraded"

            await until_told(is_degraded)
            assert (await made.house.health())["reasons"] == ["elicitation way: breaker_open"]
            made.clock.advance(30)
            await task
            cleared = (await made.house.admin("POST", "/cache/clear")).json["cleared"]
            assert isinstance(cleared, dict)
            assert set(cleared) == {"breaker", "feeds"}
            assert (await made.house.health())["status"] == "healthy"

    @pytest.mark.requirement("store.exchanges.swept")
    async def test_calls_that_expired_while_suspended_are_forgotten_without_another_being_suspended(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "state.db"
        async with stand(tmp_path, {"state.url": f"sqlite://{path}"}) as made:
            await asyncio.to_thread(_suspend, path, {b"ends": made.clock.wall() + 20, b"lives": made.clock.wall() + 90})
            for _ in range(2):  # the next round comes whatever became of the one before
                made.clock.advance(31)

                async def is_swept() -> bool:
                    return await asyncio.to_thread(_suspended, path) == [b"lives"]

                await until_told(is_swept)

    @pytest.mark.requirement("questions.forgetting")
    async def test_what_is_long_over_is_forgotten(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice = await made.bridge.token("alice")
            await made.ask(alice, timeout_seconds=5)
            assert (await made.house.metrics())["elicit_sidecar_elicitations_pending"] == 1
            made.clock.advance(1000)

            async def is_empty() -> bool:
                return (await made.house.metrics())["elicit_sidecar_elicitations_pending"] == 0

            await until_told(is_empty)

    async def test_a_defect_outside_of_any_call_ends_the_house(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError("planted")

        monkeypatch.setattr("proxy.core.questions.QuestionBook.prune", broken)

        async def live() -> None:
            async with stand(tmp_path) as made:
                made.clock.advance(100)
                await asyncio.Event().wait()

        with pytest.raises(ZeroDivisionError, match="planted"):
            await live()

    async def test_the_rollout_gauge_is_nought_while_elicitation_is_off(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            assert (await made.house.metrics())["elicit_sidecar_rollout_percentage"] == 100
            await made.house.flags(elicitation_enabled=False)
            assert (await made.house.metrics())["elicit_sidecar_rollout_percentage"] == 0


@pytest.mark.requirement("house.end")
class TestEnd:
    async def test_the_end_answers_every_parked_wait_and_leaves_no_poll_behind(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            tokens = {agent: await made.bridge.token(agent) for agent in ("bob", "carol")}
            tasks = [await made.parked(agent, token, timeout_seconds=30) for agent, token in tokens.items()]
            async with asyncio.timeout(2):
                assert (await made.house.admin("POST", "/shutdown")).status == 202
                assert [(await task).json["waited_seconds"] for task in tasks] == [30, 30]
                await until(lambda: made.bridge.state.parked_waits == 0)

    async def test_a_call_that_never_ends_is_cut_and_does_not_hold_up_the_end(self) -> None:
        async with raw_upstream() as upstream:
            stage = upstream.stage

            async def hang(_: object) -> None:
                stage.reached("asked")
                await stage.until("over")

            upstream.script = hang
            async with AsyncExitStack() as later:
                async with house(f"http://127.0.0.1:{upstream.port}") as made:
                    wire = await later.enter_async_context(connect(made.port))
                    await wire.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    await stage.until("asked")
                assert await wire.reader.read() == b""
                stage.reached("over")
            assert [line["event"] for line in made.lines] == ["gone"]

    async def test_after_the_end_nobody_listens(self) -> None:
        async with house(NOBODY) as made:
            pass
        for port in (made.bound.data.port, made.bound.admin.port):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)

    async def test_a_draining_house_is_degraded_and_not_ready(self) -> None:
        async with AsyncExitStack() as stack:
            loaded = _loaded()
            parts = House(loaded, await open_outside(loaded.config, LoopClock(), stack))
            parts.drain()
            assert parts._ready() == {"ready": False, "reasons": ["draining"]}
            assert (parts._health()["status"], parts._health()["reasons"]) == ("degraded", ["draining"])


class TestLoopClock:
    async def test_it_is_the_loops_own_time(self) -> None:
        clock = LoopClock()
        assert clock.now() == pytest.approx(asyncio.get_running_loop().time(), abs=1)
        assert clock.wall() > 1_790_000_000

    async def test_an_alarm_rings_once_and_not_when_it_was_called_off(self) -> None:
        clock, rung = LoopClock(), asyncio.Event()
        clock.alarm(clock.now(), lambda: pytest.fail("called off")).cancel()
        clock.alarm(clock.now(), rung.set)
        async with asyncio.timeout(5):
            await rung.wait()
