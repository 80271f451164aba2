"""A house before a Bridge with TLS: every way there is trusted alike, and a refusal is told to whom it concerns."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from proxy.config.load import load_config
from proxy.core.errors import BridgeUntrusted, SidecarError
from proxy.core.ids import AgentId
from proxy.core.secret import Secret
from proxy.mcp.revisions import Era
from proxy.wiring.clock import LoopClock
from proxy.wiring.outside import Outside, open_outside
from tests.support.certificates import DAY, Authority, Pair, now
from tests.support.house import NOTHING, House, house
from tests.support.tls_servers import refusing_server, tls_server

TOKEN = Secret("Bearer t")


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def foreign(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "foreign")


def _keys(port: int, ours: Authority, more: Mapping[str, str] = NOTHING, *, host: str = "127.0.0.1") -> dict[str, str]:
    given = {"bridge.url": f"https://{host}:{port}", "bridge.ca_file": str(ours.file), "bridge.connect_timeout_s": "5"}
    return given | dict(more)


def _shown(me: Pair) -> dict[str, str]:
    return {"bridge.client_cert_file": str(me.cert), "bridge.client_key_file": str(me.key)}


@asynccontextmanager
async def _outside(keys: Mapping[str, str]) -> AsyncIterator[Outside]:
    config = load_config(None, env={}, overrides={"state.url": "memory:", **keys}).config
    async with AsyncExitStack() as stack:
        yield await open_outside(config, LoopClock(), stack)


def _reasons(heard: object) -> list[str]:
    assert isinstance(heard, list)
    return [str(reason) for reason in heard]


@pytest.mark.requirement("tls.bridge")
class TestTrusted:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_calls_streams_and_websockets_are_relayed(self, ours: Authority, host: str) -> None:
        async with tls_server(ours.server()) as port, house("", _keys(port, ours, host=host)) as made:
            assert (await made.call("POST", "/x", raw=b"body")).body == b"POST https body"
            assert (await made.call("GET", "/stream")).body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
            async with made.session.ws_connect(f"http://127.0.0.1:{made.port}/ws") as spoken:
                await spoken.send_str("hello")
                assert (await spoken.receive_str(timeout=5)) == "heard hello"
            assert (await made.health())["reasons"] == []

    async def test_its_own_calls_and_those_to_the_mcp_server_are_made(self, ours: Authority) -> None:
        async with tls_server(ours.server()) as port, _outside(_keys(port, ours)) as outside, asyncio.timeout(10):
            assert await outside.bridge.wait(AgentId("bob"), TOKEN, since=0, hold_s=1) == ()
            assert await outside.mcp.server.is_alive({})
            assert not await outside.mcp.upstream.speaks(Era.ENVELOPE, {})

    async def test_an_mcp_server_with_tls_may_stand_beside_a_bridge_without(self, ours: Authority) -> None:
        async with tls_server(ours.server()) as secure, tls_server(None) as plain:
            keys = {"bridge.ca_file": str(ours.file), "bridge.mcp_url": f"https://127.0.0.1:{secure}"}
            async with house(f"http://127.0.0.1:{plain}", keys) as made:
                assert (await made.call("GET", "/x")).body == b"GET http "
                body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
                assert (await made.call("POST", "/mcp", body=body)).body.startswith(b"POST https ")

    async def test_the_authorities_of_the_system_count_where_no_file_names_others(
        self, ours: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(ours.file))
        async with tls_server(ours.server()) as port, house(f"https://127.0.0.1:{port}") as made:
            assert (await made.call("GET", "/x")).status == 200

    async def test_a_bridge_that_asks_who_calls_is_shown_the_client_certificate(self, ours: Authority) -> None:
        me = ours.pair("me", ours.issue("sidecar.example"))
        async with tls_server(ours.server(asks=True)) as port:
            async with house("", _keys(port, ours, _shown(me))) as made:
                assert (await made.call("GET", "/x")).status == 200
            async with _outside(_keys(port, ours, _shown(me))) as outside, asyncio.timeout(10):
                assert await outside.mcp.server.is_alive({})


async def _call_relay(made: House) -> str:
    heard = await made.call("GET", "/x")
    assert (heard.status, heard.problem["code"], heard.problem["retryable"]) == (502, "bridge_untrusted", False)
    return str(heard.problem["detail"])


WRONG = [
    ("unknown", "expected a certificate of a known authority, got one issued by"),
    ("unknown", "; set bridge.ca_file to the certificate of that authority"),
    ("other name", "expected a certificate for 127.0.0.1, got one for bridge.example; call the Bridge by a name of"),
    ("expired", "the certificate of the Bridge expired on {day}"),
    ("not yet", "the certificate of the Bridge is not valid before"),
    ("no tls", "expected TLS, got something else; if it speaks plain HTTP, begin its URL with http://"),
]


def _wrong(name: str, ours: Authority) -> ssl.SSLContext | None:
    """The side of a Bridge with something wrong."""
    at = now()
    match name:
        case "unknown":
            return Authority(ours.folder, "foreign").server()
        case "other name":
            return ours.server(ours.issue("bridge.example"))
        case "expired":
            return ours.server(ours.issue(since=at - 9 * DAY, until=at - 2 * DAY))
        case "not yet":
            return ours.server(ours.issue(since=at + 2 * DAY, until=at + 9 * DAY))
        case _:
            return None


@pytest.mark.requirement("tls.verified")
@pytest.mark.requirement("tls.told")
class TestRefused:
    @pytest.mark.parametrize(("name", "told"), WRONG)
    async def test_what_is_wrong_is_told_to_the_agent_in_health_and_in_the_log(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, told: str
    ) -> None:
        ours, day = Authority(tmp_path), (now() - 2 * DAY).strftime("%Y-%m-%d")
        async with tls_server(_wrong(name, ours)) as port, house("", _keys(port, ours)) as made:
            detail = await _call_relay(made)
            assert detail.startswith(f"no trusted connection to https://127.0.0.1:{port}: ")
            assert told.format(day=day) in detail
            assert any(detail in reason for reason in _reasons((await made.health())["reasons"]))
        lines = [record.msg for record in caplog.records if record.name == "proxy.wiring.outside"]
        (line,) = [cast("dict[str, object]", line) for line in lines]
        assert (line["event"], line["peer"], line["problem"]) == ("not trusted", "the Bridge", detail)

    @pytest.mark.parametrize("kind", ["none", "foreign"])
    async def test_a_bridge_that_does_not_know_our_certificate_is_told_with_what_to_set(
        self, ours: Authority, foreign: Authority, kind: str
    ) -> None:
        me = foreign.pair("me", foreign.issue("sidecar.example"))
        keys = _shown(me) if kind == "foreign" else NOTHING
        with refusing_server(ours.server(asks=True)) as port:
            async with house("", _keys(port, ours, keys)) as made:
                heard = await made.call("GET", "/x")
                assert heard.status == 502
                assert heard.problem["code"] in {"bridge_untrusted", "bridge_unavailable"}  # alerts can be lost
                assert "set bridge.client_cert_file" in str(
                    heard.problem["detail"]
                ) or "check bridge.client_cert" in str(heard.problem["detail"])

    @pytest.mark.parametrize(
        "call",
        [
            lambda outside: outside.bridge.wait(AgentId("bob"), TOKEN, since=0, hold_s=1),
            lambda outside: outside.mcp.server.is_alive({}),
            lambda outside: outside.mcp.upstream.speaks(Era.ENVELOPE, {}),
            lambda outside: outside.mcp.upstream.speaks(Era.HANDSHAKE, {}),
        ],
        ids=["own call", "ping", "envelope", "handshake"],
    )
    async def test_no_way_to_it_goes_round_the_verification(
        self, ours: Authority, foreign: Authority, call: Callable[[Outside], "asyncio.Future[object]"]
    ) -> None:
        async with tls_server(foreign.server()) as port, _outside(_keys(port, ours)) as outside, asyncio.timeout(10):
            with pytest.raises(BridgeUntrusted, match="of a known authority"):
                await call(outside)

    async def test_websockets_and_streams_are_refused_like_any_call(self, ours: Authority, foreign: Authority) -> None:
        async with tls_server(foreign.server()) as port, house("", _keys(port, ours)) as made:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await made.session.ws_connect(f"http://127.0.0.1:{made.port}/ws")
            assert caught.value.status == 502
            assert (await made.call("GET", "/stream")).problem["code"] == "bridge_untrusted"
            body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            heard = await made.call("POST", "/mcp", body=body)
            assert heard.status == 200  # a bare 502 would end the client's session
            assert b"of a known authority" in heard.body

    async def test_a_mistrusted_mcp_server_is_seen_in_health_after_a_call_of_our_own(
        self, ours: Authority, foreign: Authority
    ) -> None:
        async with tls_server(foreign.server()) as port, _outside(_keys(port, ours)) as outside, asyncio.timeout(10):
            with pytest.raises(SidecarError):
                await outside.mcp.upstream.speaks(Era.ENVELOPE, {})
            assert "the MCP server cannot be reached" in outside.contacts[1].worry()
