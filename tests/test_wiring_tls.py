"""Our ports with TLS, and certificates that are renewed while connections are open."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from proxy.config.load import load_config
from proxy.config.problems import ConfigError
from proxy.config.schema import Config
from proxy.config.shapes import Address
from proxy.wiring.clock import LoopClock
from proxy.wiring.keep import listen
from proxy.wiring.tls import Tls
from tests.support.certificates import DAY, Authority, Pair, now, overrides
from tests.support.house import OPERATOR, House, house, until, until_told, write_tokens
from tests.support.tls_servers import shown_at, tls_server

NOWHERE = "http://127.0.0.1:1"
EXPIRY = 'elicit_sidecar_tls_certificate_expiry_seconds{listener="%s"}'


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(ours: Authority) -> Pair:
    return ours.pair("port")


def _config(pair: Pair, **more: str) -> Config:
    return load_config(None, env={}, overrides=overrides(pair) | more).config


@asynccontextmanager
async def _kept(tls: Tls) -> AsyncIterator[None]:
    """Renewal as it runs in a house."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(tls.keep_fresh())
        yield
        task.cancel()


@pytest.mark.requirement("tls.listeners")
class TestPorts:
    async def test_both_ports_speak_tls_with_the_certificates_that_are_named(
        self, ours: Authority, pair: Pair, tmp_path: Path
    ) -> None:
        admin = ours.pair("admin")
        tokens = await asyncio.to_thread(write_tokens, tmp_path)
        keys = {**overrides(pair), **overrides(admin, admin=True), "admin.token_file": str(tokens)}
        connector = aiohttp.TCPConnector(ssl=ours.client())
        async with (
            tls_server(None) as bridge,
            house(f"http://127.0.0.1:{bridge}", keys) as made,
            aiohttp.ClientSession(connector=connector) as session,
            asyncio.timeout(10),
        ):
            async with session.post(f"https://localhost:{made.port}/x", data=b"body") as reply:
                assert await reply.read() == b"POST http body"
            head = {"Authorization": f"Bearer {OPERATOR}"}
            async with session.get(f"https://127.0.0.1:{made.bound.admin.port}/readyz", headers=head) as reply:
                assert await reply.json() == {"ready": True, "reasons": []}
            async with session.ws_connect(f"https://localhost:{made.port}/ws") as spoken:
                await spoken.send_str("hello")
                assert await spoken.receive_str(timeout=5) == "heard hello"
            assert await shown_at(made.port, ours.client()) != await shown_at(made.bound.admin.port, ours.client())

    async def test_one_port_may_have_tls_alone(self, ours: Authority, pair: Pair) -> None:
        async with house(NOWHERE, overrides(pair)) as made:
            assert await shown_at(made.port, ours.client())
            assert (await made.admin("GET", "/livez", token="")).json == {"alive": True}

    async def test_who_speaks_no_tls_is_let_go_and_others_are_served(self, ours: Authority, pair: Pair) -> None:
        async with house(NOWHERE, overrides(pair)) as made:
            with pytest.raises(aiohttp.ClientError):
                await made.call("GET", "/x")
            assert await shown_at(made.port, ours.client())

    async def test_a_client_that_leaves_its_wait_ends_it(self, ours: Authority, pair: Pair, tmp_path: Path) -> None:
        tokens = await asyncio.to_thread(write_tokens, tmp_path)
        keys = {**overrides(pair), "admin.token_file": str(tokens), "flags.elicitation_enabled": "true"}
        async with house(NOWHERE, {**keys, "flags.elicitation_percentage": "100"}) as made, asyncio.timeout(10):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", made.port, ssl=ours.client(), server_hostname="localhost"
            )
            writer.write(b"GET /event/wait?agent_id=bob&timeout_seconds=60 HTTP/1.1\r\nHost: localhost\r\n")
            writer.write(b"Authorization: Bearer t\r\n\r\n")
            await writer.drain()
            await made.until_parked(1)
            writer.close()
            await made.until_parked(0)

    async def test_the_end_of_a_house_does_not_wait_for_peers_that_say_nothing(
        self, ours: Authority, pair: Pair
    ) -> None:
        async with asyncio.timeout(5):
            async with house(NOWHERE, overrides(pair)) as made:
                _, idle = await asyncio.open_connection(
                    "127.0.0.1", made.port, ssl=ours.client(), server_hostname="localhost"
                )
                _, mute = await asyncio.open_connection("127.0.0.1", made.port)
        idle.transport.abort()
        mute.transport.abort()

    async def test_who_does_not_come_to_an_agreement_is_let_go(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proxy.downstream.connection.HANDSHAKE_S", 0.1)
        async with house(NOWHERE, overrides(pair)) as made, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()

    @pytest.mark.requirement("tls.files")
    async def test_a_key_that_others_may_read_stops_the_start(self, pair: Pair) -> None:
        pair.key.chmod(0o644)
        with pytest.raises(ConfigError, match="expected file mode 0600 or 0640, got 0644"):
            async with house(NOWHERE, overrides(pair)):
                raise AssertionError("it started")


@pytest.mark.requirement("tls.renewal")
class TestRenewal:
    async def test_new_connections_get_the_new_certificate_and_open_ones_live_on(
        self, ours: Authority, pair: Pair
    ) -> None:
        async with tls_server(None) as bridge, house(f"http://127.0.0.1:{bridge}", overrides(pair)) as made:
            before = await shown_at(made.port, ours.client())
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", made.port, ssl=ours.client(), server_hostname="localhost"
            )

            async def still_serves() -> None:
                writer.write(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert b" 200 " in await reader.readuntil(b"GET http ")

            async with asyncio.timeout(20):
                await still_serves()
                await asyncio.to_thread(pair.write, ours.issue())
                while await shown_at(made.port, ours.client()) == before:  # the file is watched
                    await still_serves()
                await still_serves()
            writer.close()

    async def test_broken_files_leave_the_old_certificate_and_that_is_said_until_they_are_mended(
        self, ours: Authority, pair: Pair, tmp_path: Path
    ) -> None:
        tokens = await asyncio.to_thread(write_tokens, tmp_path)
        keys = {**overrides(pair), "admin.token_file": str(tokens)}
        async with house(NOWHERE, keys) as made:
            before = await shown_at(made.port, ours.client())
            whole = pair.cert.read_bytes()
            pair.cert.write_text("rubbish")
            await until_told(lambda: _says(made, "TLS (data): the new files are not in order, the old ones stay: "))
            assert "expected a certificate in PEM, got none" in str(
                (await made.admin("GET", "/readyz")).json["reasons"]
            )
            assert (await made.health())["status"] == "degraded"
            assert await shown_at(made.port, ours.client()) == before
            pair.cert.write_bytes(whole)
            await until_told(lambda: _is_well(made))

    async def test_when_it_is_wanted_all_files_are_read_again_without_a_change(
        self, pair: Pair, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "proxy.wiring.tls")
        tls = Tls(_config(pair), LoopClock())
        assert await tls.data() is not None
        assert await tls.admin() is None
        assert await tls.bridge() is None
        pair.key.chmod(0o644)
        async with _kept(tls):
            tls.wanted.set()
            await until(lambda: bool(tls.reasons()))
            (reason,) = tls.reasons()
            assert "expected file mode 0600 or 0640, got 0644" in reason
            pair.key.chmod(0o600)
            tls.wanted.set()
            await until(lambda: not tls.reasons())
        events = [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)]
        assert events == [
            "TLS files refused, the old ones stay",
            "TLS files read again, they count for new connections",
        ]

    async def test_a_new_client_certificate_and_new_authorities_count_for_new_calls(
        self, ours: Authority, tmp_path: Path
    ) -> None:
        later = Authority(tmp_path, "later")
        me = ours.pair("me", ours.issue("old.example"))
        keys = {
            "bridge.ca_file": str(ours.file),
            "bridge.client_cert_file": str(me.cert),
            "bridge.client_key_file": str(me.key),
        }
        async with tls_server(later.server(asks=True)) as port, house(f"https://127.0.0.1:{port}", keys) as made:

            async def is_served() -> bool:
                return (await made.call("GET", "/x")).status == 200

            assert (await made.call("GET", "/x")).problem["code"] == "bridge_untrusted"
            await asyncio.to_thread(me.write, later.issue("new.example"))
            await asyncio.to_thread((tmp_path / "ours-ca.pem").write_bytes, later.ca.cert_pem.bytes())
            await until_told(is_served)


@pytest.mark.requirement("tls.expiry")
class TestExpiry:
    async def test_metrics_tell_how_long_a_certificate_is_valid(self, ours: Authority, tmp_path: Path) -> None:
        pair = ours.pair("port", ours.issue(until=now() + 10 * DAY))
        tokens = await asyncio.to_thread(write_tokens, tmp_path)
        async with house(NOWHERE, {**overrides(pair), "admin.token_file": str(tokens)}) as made:
            told = await made.metrics()
            assert 9.9 < told[EXPIRY % "data"] / DAY.total_seconds() <= 10
            assert told[EXPIRY % "admin"] == math.inf

    async def test_a_certificate_that_has_expired_is_served_and_said(
        self, ours: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        pair = ours.pair("port", ours.issue(since=now() - 9 * DAY, until=now() - DAY))
        tls = Tls(_config(pair), LoopClock())
        assert await tls.data() is not None
        (reason,) = tls.reasons()
        assert reason.startswith("listen.tls_cert_file: the certificate expired on ")
        assert tls.expiry()["data"] < 0
        async with _kept(tls):
            tls.wanted.set()
            await until(lambda: len(caplog.records) > 1)
            await asyncio.to_thread(pair.write, ours.issue())
            tls.wanted.set()
            await until(lambda: not tls.reasons())
        said = [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)]
        assert said[:2] == ["certificate out of date"] * 2


async def test_without_files_there_is_nothing_to_keep_fresh() -> None:
    config = load_config(None, env={}, overrides={"bridge.url": "https://bridge.example"}).config
    tls = Tls(config, LoopClock())
    assert await tls.bridge() is not None
    async with _kept(tls):
        tls.wanted.set()
        await until(lambda: not tls.wanted.is_set())
    assert tls.reasons() == []


async def test_an_application_can_be_served_with_tls_on_its_own(ours: Authority, pair: Pair) -> None:
    tls = Tls(_config(pair), LoopClock())
    async with AsyncExitStack() as stack:
        bound = await listen(aiohttp.web.Application(), Address("127.0.0.1", 0), stack, tls=await tls.data())
        assert await shown_at(bound.port, ours.client())


async def _says(made: House, text: str) -> bool:
    return text in str((await made.admin("GET", "/readyz")).json["reasons"])


async def _is_well(made: House) -> bool:
    return (await made.admin("GET", "/readyz")).json["reasons"] == []
