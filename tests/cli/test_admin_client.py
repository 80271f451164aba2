"""How commands reach the admin port, and what they do when something else is there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.cli.admin_client import AdminClient
from tests.support.certificates import Authority, overrides
from tests.support.house import OPERATOR, VIEWER, house, write_tokens
from tests.support.raw_upstream import RawUpstream, answers, raw_upstream


@asynccontextmanager
async def _replying(reply: bytes) -> AsyncIterator[tuple[RawUpstream, Callable[[], dict[str, object]]]]:
    async with raw_upstream() as upstream:
        upstream.play(answers(reply))
        admin = f"127.0.0.1:{upstream.port}"
        yield upstream, lambda: AdminClient(None, admin, None).call("GET", "/feature_flags")


def _ok(body: bytes, *, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body


async def test_a_json_object_is_handed_back() -> None:
    async with _replying(_ok(b'{"version":3}')) as (_, call):
        assert await asyncio.to_thread(call) == {"version": 3}


@pytest.mark.requirement("cli.exit_codes")
@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (_ok(b"<html>"), "expected JSON"),
        (_ok(b"[1]"), "expected JSON"),
        (_ok(b'{"detail":"Not Found"}', status=b"404 Not Found"), "404: Not Found"),
        (_ok(b"<html>", status=b"502 Bad Gateway"), "502: Bad Gateway"),
        (_ok(b'{"detail":"expected version 3"}', status=b"409 Conflict"), "409: expected version 3"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "no sidecar answers"),
        (b"", "no sidecar answers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "no sidecar answers"),
    ],
)
async def test_anything_else_ends_the_command_with_one_line(
    capsys: pytest.CaptureFixture[str], reply: bytes, text: str
) -> None:
    async with _replying(reply) as (_, call):
        with pytest.raises(SystemExit) as end:
            await asyncio.to_thread(call)
    assert end.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert text in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.requirement("cli.no_proxy")
async def test_a_proxy_of_the_environment_never_sees_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with _replying(_ok(b"{}")) as (upstream, call):
        assert await asyncio.to_thread(call) == {}
        assert upstream.received[0].target == b"/feature_flags"


@pytest.mark.parametrize(
    ("lines", "sent"),
    [
        ({"viewer": VIEWER, "operator": OPERATOR}, OPERATOR),
        ({"viewer": VIEWER}, VIEWER),
    ],
)
async def test_the_most_powerful_token_of_the_file_is_sent(tmp_path: Path, lines: Mapping[str, str], sent: str) -> None:
    path = tmp_path / "tokens"
    path.write_text("".join(f"{role} {token}\n" for role, token in lines.items()), "utf-8")
    path.chmod(0o600)
    async with raw_upstream() as upstream:
        upstream.play(answers(_ok(b'{"service":"elicit-sidecar"}')))
        client = await asyncio.to_thread(AdminClient, None, f"127.0.0.1:{upstream.port}", path)
        await asyncio.to_thread(client.call, "POST", "/feature_flags", {"a": 1})
        asked, received = upstream.received
        assert (asked.target, asked.head.all(b"authorization")) == (b"/health", [])
        assert received.method == b"POST"
        assert received.body == b'{"a":1}'
        assert received.head.all(b"authorization") == [f"Bearer {sent}".encode()]
        assert received.head.all(b"content-type") == [b"application/json"]


@pytest.mark.requirement("cli.token_kept")
@pytest.mark.parametrize(
    "reply",
    [
        _ok(b"{}"),
        _ok(b"[]"),
        _ok(b'{"status":"healthy","service":"bridge"}'),
        _ok(b'{"detail":"Not Found"}', status=b"404 Not Found"),
        _ok(b"<html>", status=b"502 Bad Gateway"),
    ],
)
async def test_what_is_no_admin_port_never_sees_the_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reply: bytes
) -> None:
    tokens = await asyncio.to_thread(write_tokens, tmp_path)
    async with raw_upstream() as upstream:
        upstream.play(answers(reply))
        client = await asyncio.to_thread(AdminClient, None, f"127.0.0.1:{upstream.port}", tokens)
        with pytest.raises(SystemExit) as end:
            await asyncio.to_thread(client.call, "GET", "/feature_flags")
        assert [(each.target, each.head.all(b"authorization")) for each in upstream.received] == [(b"/health", [])]
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "is this the data port? see --admin" in said
    assert len(said.splitlines()) == 1


@pytest.mark.requirement("cli.token_kept")
@pytest.mark.parametrize(("realm", "is_sent"), [(b"elicit-sidecar", True), (b"bridge", False)])
async def test_a_port_elsewhere_is_known_by_how_it_asks_for_a_token(
    tmp_path: Path, realm: bytes, *, is_sent: bool
) -> None:
    tokens = await asyncio.to_thread(write_tokens, tmp_path)
    wants = b'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm="%s"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
    async with raw_upstream() as upstream:
        upstream.play(answers(wants % realm))
        client = await asyncio.to_thread(AdminClient, None, f"127.0.0.1:{upstream.port}", tokens)
        with pytest.raises(SystemExit):
            await asyncio.to_thread(client.call, "GET", "/feature_flags")
        sent = [each.head.all(b"authorization") for each in upstream.received]
    assert sent == ([[], [f"Bearer {OPERATOR}".encode()]] if is_sent else [[]])


@pytest.mark.requirement("cli.token_kept")
async def test_the_data_port_of_a_sidecar_passes_no_token_of_an_operator_to_the_bridge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = await asyncio.to_thread(write_tokens, tmp_path)
    async with raw_upstream() as bridge:
        bridge.play(answers(_ok(b'{"status":"healthy"}')))
        async with house(f"http://127.0.0.1:{bridge.port}", {"admin.token_file": str(tokens)}) as made:
            client = await asyncio.to_thread(AdminClient, None, str(made.bound.data), tokens)
            with pytest.raises(SystemExit):
                await asyncio.to_thread(client.call, "GET", "/feature_flags")
            right = await asyncio.to_thread(AdminClient, None, str(made.bound.admin), tokens)
            assert (await asyncio.to_thread(right.call, "GET", "/feature_flags"))["version"] == 1
        assert all(each.head.all(b"authorization") == [] for each in bridge.received)
    assert "is this the data port?" in capsys.readouterr().err


def test_a_configuration_that_is_not_in_order_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "sidecar.toml"
    config.write_text("[listn]\nadmin = 1\n", "utf-8")
    with pytest.raises(SystemExit) as end:
        AdminClient(config, None, None)
    assert end.value.code == 2
    assert "listn" in capsys.readouterr().err


@pytest.mark.requirement("tls.listeners")
async def test_a_port_with_tls_is_called_by_the_certificate_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = Authority(tmp_path)
    # Its names are others than the address that is called: the certificate itself is what counts.
    shown, other = ours.pair("admin", ours.issue("sidecar.example")), ours.pair("other")
    tokens = await asyncio.to_thread(write_tokens, tmp_path)
    keys = {**overrides(shown, admin=True), "admin.token_file": str(tokens)}
    async with house("http://127.0.0.1:1", keys) as made:
        admin = f"127.0.0.1:{made.bound.admin.port}"

        def call() -> dict[str, object]:
            return AdminClient(None, admin, tokens).call("GET", "/feature_flags")

        for pair in (shown, other):
            monkeypatch.setenv("ELICIT_SIDECAR_LISTEN_ADMIN_TLS_CERT_FILE", str(pair.cert))
            monkeypatch.setenv("ELICIT_SIDECAR_LISTEN_ADMIN_TLS_KEY_FILE", str(pair.key))
            if pair is shown:
                assert (await asyncio.to_thread(call))["version"] == 1
                continue
            with pytest.raises(SystemExit):  # of the same authority, and not the one
                await asyncio.to_thread(call)
        assert f"no sidecar answers at https://{admin}" in capsys.readouterr().err
