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
        upstream.play(answers(_ok(b"{}")))
        client = await asyncio.to_thread(AdminClient, None, f"127.0.0.1:{upstream.port}", path)
        await asyncio.to_thread(client.call, "POST", "/feature_flags", {"a": 1})
        (received,) = upstream.received
        assert received.method == b"POST"
        assert received.body == b'{"a":1}'
        assert received.head.all(b"authorization") == [f"Bearer {sent}".encode()]
        assert received.head.all(b"content-type") == [b"application/json"]


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
