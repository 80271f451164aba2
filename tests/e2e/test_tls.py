"""The program with TLS: what the page about it tells to type, renewal by a signal, and starts that are refused."""

import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.certificates import DAY, Authority, Pair, now, overrides
from tests.support.processes import Child, children, until
from tests.support.stand import EVERYBODY, Stand, call, open_session, store
from tests.support.tls_servers import refusing_server

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("tls.renewal")]

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WITHIN_S = 20.0


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def _words(pair: Pair) -> list[str]:
    return [word for key, value in overrides(pair).items() for word in ("--set", f"{key}={value}")]


def _port(sidecar: Child) -> int:
    return int(str(sidecar.hear(event="ready")["data"]).rpartition(":")[2])


def _shown(port: int, context: ssl.SSLContext) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""


def _get(port: int, context: ssl.SSLContext, target: str, token: str) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=60)
    try:
        connection.request("GET", target, headers={"Authorization": f"Bearer {token}"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def _says(sidecar: Child, text: str) -> None:
    until(lambda: text in sidecar.errors, within_s=WITHIN_S, what=f"a log line with {text}")


def test_a_hangup_renews_the_certificate_and_a_parked_wait_lives_on(stand: Stand, ours: Authority) -> None:
    pair, trusting = ours.pair("port"), ours.client()
    stand.start_bridge()
    sidecar = stand.start_sidecar(*_words(pair))
    port = _port(sidecar)
    stand.set_flags(EVERYBODY)
    token = open_session(stand.bridge, "bob")
    last = store(stand.bridge, "carol", {"word": "before"})
    before = _shown(port, trusting)
    with ThreadPoolExecutor(1) as pool:
        target = f"/event/wait?agent_id=bob&since_sequence={last}&timeout_seconds=50"
        parked = pool.submit(_get, port, trusting, target, token)
        stand.until_parked(1)
        pair.write(ours.issue())
        os.kill(sidecar.pid, signal.SIGHUP)
        until(lambda: _shown(port, trusting) != before, within_s=WITHIN_S, what="the new certificate")
        stand.until_parked(1)
        store(stand.bridge, "carol", {"word": "after"})
        status, body = parked.result(WITHIN_S)
    assert status == 200
    assert b'"after"' in body
    assert sidecar.end() == 0
    assert "Traceback" not in sidecar.errors


def test_a_broken_renewal_keeps_the_old_certificate_and_says_so(stand: Stand, ours: Authority) -> None:
    pair, trusting = ours.pair("port"), ours.client()
    stand.start_bridge()
    sidecar = stand.start_sidecar(*_words(pair))
    port = _port(sidecar)
    before = _shown(port, trusting)
    pair.key.write_bytes(ours.pair("other").key.read_bytes())
    os.kill(sidecar.pid, signal.SIGHUP)
    _says(sidecar, "TLS files refused, the old ones stay")
    ready = call("GET", f"{stand.admin}/readyz", token=stand.token)
    assert ready.status == 200
    assert "expected the private key of the certificate in" in str(ready.json["reasons"])
    assert _shown(port, trusting) == before
    pair.write(ours.issue())
    _says(sidecar, "TLS files read again, they count for new connections")
    assert call("GET", f"{stand.admin}/readyz", token=stand.token).json["reasons"] == []
    assert _shown(port, trusting) != before
    assert sidecar.end() == 0


@pytest.mark.requirement("tls.bridge")
@pytest.mark.requirement("tls.told")
def test_a_bridge_with_an_expired_certificate_is_told_of_by_the_program(stand: Stand, ours: Authority) -> None:
    side = ours.server(ours.issue(since=now() - 9 * DAY, until=now() - 2 * DAY))
    with refusing_server(side) as port:
        sidecar = stand.start_sidecar(
            "--set",
            f"bridge.ca_file={ours.file}",
            "--set",
            "bridge.connect_timeout_s=5",
            bridge=f"https://127.0.0.1:{port}",
        )
        reply = call("GET", f"{stand.data}/x")
    assert (reply.status, reply.json["code"]) == (502, "bridge_untrusted")
    day = (now() - 2 * DAY).strftime("%Y-%m-%d")
    assert f"the certificate of the Bridge expired on {day}" in str(reply.json["detail"])
    assert f"the certificate of the Bridge expired on {day}" in sidecar.errors
    assert sidecar.end() == 0


@pytest.mark.requirement("tls.files")
def test_a_key_that_others_may_read_ends_the_start_with_code_2(stand: Stand, ours: Authority) -> None:
    pair = ours.pair("port")
    pair.key.chmod(0o644)
    stand.start_bridge()
    sidecar = stand.launch_sidecar(*_words(pair))
    assert sidecar.code() == 2
    assert f"{pair.key}: listen.tls_key_file: expected file mode 0600 or 0640, got 0644" in sidecar.errors
    assert "Traceback" not in sidecar.errors


@pytest.mark.requirement("tls.listeners")
def test_what_the_page_about_tls_says_can_be_typed(tmp_path: Path) -> None:
    if shutil.which("curl") is None or shutil.which("openssl") is None:
        pytest.skip("the page's commands need curl and openssl")
    make, ask, renew = BLOCK.findall((ROOT / "docs" / "tls.md").read_text("utf-8"))
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = {"8766": str(one.getsockname()[1]), "8767": str(two.getsockname()[1])}
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ELICIT_SIDECAR_LISTEN_DATA": f"127.0.0.1:{ports['8766']}",
        "ELICIT_SIDECAR_LISTEN_ADMIN": f"127.0.0.1:{ports['8767']}",
    }

    def typed(code: str) -> str:
        code = re.sub(r"\b876[67]\b", lambda port: ports[port[0]], code)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    assert 'tls_cert_file = "certs/port.pem"  # file:2' in typed(make)
    with children() as started:
        where = {"ELICIT_SIDECAR_LISTEN_TLS_CERT_FILE": str(tmp_path / "certs/port.pem")}
        where |= {key.replace("TLS_", "ADMIN_TLS_"): value for key, value in where.items()}
        where |= {key.replace("CERT", "KEY"): str(tmp_path / "certs/port.key") for key in where}
        sidecar = started.run("run", "--config", str(tmp_path / "sidecar.toml"), env={**env, **where})
        sidecar.hear(event="ready")
        said = typed(ask)
        assert '{"ready":true,"reasons":[]}' in said
        assert "elicitation_enabled" in said
        typed(renew)
        _says(sidecar, "TLS files read again, they count for new connections")
        typed(ask)
        assert sidecar.end() == 0
