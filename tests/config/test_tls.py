"""Files of certificates, keys and authorities: what is accepted, and what each mistake is told as."""

import os
import ssl
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from proxy.config import tls
from proxy.config.load import load_config
from proxy.config.problems import ConfigError
from proxy.config.schema import Config
from proxy.config.tls import (
    ADMIN,
    DATA,
    MAX_FILE_BYTES,
    Made,
    bridge_context,
    check_files,
    listener_context,
    pinned_context,
)
from tests.support.certificates import DAY, Authority, Pair, now, overrides

HTTPS = {"bridge.url": "https://127.0.0.1:8765"}


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(ours: Authority) -> Pair:
    return ours.pair("port")


def _config(**settings: object) -> Config:
    given = {key.replace("__", "."): str(value) for key, value in settings.items()}
    return load_config(None, env={}, overrides=given).config


def _port(pair: Pair) -> Config:
    return load_config(None, env={}, overrides=overrides(pair)).config


def _make_pipe(pair: Pair) -> None:
    pair.key.unlink()
    os.mkfifo(pair.key)


def _refusal(config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        check_files(config, now().timestamp())
    return str(caught.value)


@pytest.mark.requirement("tls.verified")
def test_the_bridge_is_always_verified_and_only_with_modern_tls() -> None:
    made = bridge_context(_config(bridge__url="https://bridge.example").bridge)
    assert made is not None
    assert made.context.verify_mode is ssl.CERT_REQUIRED
    assert made.context.check_hostname
    assert made.context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_bridge_without_tls_and_a_port_without_certificate_need_no_context() -> None:
    assert bridge_context(_config().bridge) is None
    assert listener_context(_config().listen, DATA) is None
    assert check_files(_config(), 0.0) == []


def test_an_mcp_server_with_tls_beside_a_bridge_without_is_enough() -> None:
    assert bridge_context(_config(bridge__mcp_url="https://mcp.example").bridge) is not None


def test_without_a_file_of_authorities_those_of_the_system_count(
    monkeypatch: pytest.MonkeyPatch, ours: Authority
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.file))
    made = bridge_context(_config(bridge__url="https://x").bridge)
    assert made is not None
    assert made.context.cert_store_stats()["x509_ca"] == 1


def test_where_the_library_finds_no_authorities_the_usual_places_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, ours: Authority, tmp_path: Path
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setattr(tls, "SYSTEM_BUNDLES", (str(tmp_path / "none"), str(ours.file)))
    made = bridge_context(_config(bridge__url="https://x").bridge)
    assert made is not None
    assert made.context.cert_store_stats()["x509_ca"] == 1
    monkeypatch.setattr(tls, "SYSTEM_BUNDLES", ())
    assert bridge_context(_config(bridge__url="https://x").bridge) is not None


def test_own_authorities_stand_in_the_place_of_the_systems(ours: Authority) -> None:
    made = bridge_context(_config(bridge__url="https://x", bridge__ca_file=ours.file).bridge)
    assert made is not None
    assert made.context.cert_store_stats()["x509_ca"] == 1


@pytest.mark.requirement("tls.files")
class TestFiles:
    def test_a_pair_in_order_is_taken_with_its_dates(self, pair: Pair) -> None:
        made = listener_context(_port(pair).listen, DATA)
        assert made is not None
        assert made.certificate is not None
        assert set(made.certificate.names) == {"localhost", "127.0.0.1"}
        assert made.warning(now().timestamp()) == ""
        assert listener_context(_port(pair).listen, ADMIN) is None

    def test_one_file_may_hold_both(self, pair: Pair) -> None:
        pair.key.write_bytes(pair.key.read_bytes() + pair.cert.read_bytes())
        both = Pair(pair.leaf, pair.key, pair.key)
        assert check_files(_port(both), now().timestamp()) == []

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
    def test_a_key_for_its_owner_and_a_group_is_taken(self, pair: Pair, mode: int) -> None:
        pair.key.chmod(mode)
        assert check_files(_port(pair), now().timestamp()) == []

    @pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o660, 0o620, 0o700])
    def test_a_key_that_others_may_read_is_refused(self, pair: Pair, mode: int) -> None:
        pair.key.chmod(mode)
        assert _refusal(_port(pair)) == (
            f"{pair.key}: listen.tls_key_file: expected file mode 0600 or 0640, got {mode:04o}; "
            "nobody else may read it: chmod 600, or 640 for a group"
        )

    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            (
                lambda pair: pair.cert.unlink(),
                "{cert}: listen.tls_cert_file: expected a readable file, got No such file",
            ),
            (lambda pair: pair.key.unlink(), "{key}: listen.tls_key_file: expected a readable file, got No such file"),
            (
                lambda pair: pair.cert.write_text("x"),
                "{cert}: listen.tls_cert_file: expected a certificate in PEM, got none",
            ),
            (
                lambda pair: pair.cert.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                "listen.tls_cert_file: expected a certificate in PEM, got it cannot be read",
            ),
            (
                lambda pair: pair.key.write_text("x"),
                "{key}: listen.tls_key_file: expected a private key in PEM, got none",
            ),
            (
                lambda pair: pair.key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
                "listen.tls_cert_file: expected a certificate and key that OpenSSL can use, got ",
            ),
            (
                lambda pair: (pair.key.unlink(), pair.key.mkdir()),
                "{key}: listen.tls_key_file: expected a readable file, got",
            ),
            (_make_pipe, "expected a readable file, got something else"),
            (
                lambda pair: pair.cert.write_bytes(b"#" * (MAX_FILE_BYTES + 1)),
                f"{{cert}}: listen.tls_cert_file: expected at most {MAX_FILE_BYTES} bytes, got more",
            ),
        ],
        ids=["no certificate", "no key", "rubbish", "bad DER", "no key in it", "bad key", "folder", "pipe", "too long"],
    )
    def test_a_file_that_is_not_in_order_is_told(self, pair: Pair, spoil: Callable[[Pair], object], says: str) -> None:
        spoil(pair)
        assert says.format(cert=pair.cert, key=pair.key) in _refusal(_port(pair))

    def test_the_key_of_another_certificate_is_told(self, ours: Authority, pair: Pair) -> None:
        pair.key.write_bytes(ours.pair("other").key.read_bytes())
        assert _refusal(_port(pair)) == (
            f"{pair.key}: listen.tls_key_file: expected the private key of the certificate in {pair.cert}, "
            "got another key; name both files of one pair"
        )

    def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(self, pair: Pair, tmp_path: Path) -> None:
        locked = tmp_path / "locked.key"
        subprocess.run(
            ["openssl", "pkey", "-in", pair.key, "-aes128", "-passout", "pass:geheim", "-out", locked],
            check=True,
            capture_output=True,
        )
        locked.chmod(0o600)
        told = _refusal(_port(Pair(pair.leaf, pair.cert, locked)))
        assert "expected a key without passphrase, got one with a passphrase; take the passphrase away" in told

    def test_every_problem_of_every_file_is_told_at_once(self, ours: Authority, pair: Pair) -> None:
        pair.key.chmod(0o644)
        pair.cert.write_text("x")
        admin = ours.pair("admin")
        admin.key.unlink()
        authorities = ours.folder / "none.pem"
        config = load_config(
            None,
            env={},
            overrides={**HTTPS, **overrides(pair), **overrides(admin, admin=True), "bridge.ca_file": str(authorities)},
        ).config
        keys = [line.split(": ")[1] for line in _refusal(config).splitlines()]
        assert keys == ["bridge.ca_file", "listen.tls_cert_file", "listen.tls_key_file", "listen.admin_tls_key_file"]

    def test_authorities_that_cannot_be_read_are_told(self, ours: Authority) -> None:
        ours.file.write_text("x")
        file = ours.folder / "empty.pem"
        file.write_text("nothing here")
        told = _refusal(_config(bridge__url="https://x", bridge__ca_file=file))
        assert told.startswith(f"{file}: bridge.ca_file: expected certificates in PEM, got ")

    def test_a_client_certificate_is_judged_like_any_other(self, pair: Pair) -> None:
        given = {"bridge__client_cert_file": pair.cert, "bridge__client_key_file": pair.key}
        assert check_files(_config(bridge__url="https://x", **given), now().timestamp()) == []
        pair.key.chmod(0o644)
        assert "bridge.client_key_file: expected file mode 0600" in _refusal(_config(bridge__url="https://x", **given))

    def test_no_message_shows_a_part_of_a_key(self, pair: Pair) -> None:
        secret = pair.key.read_text().splitlines()[1]
        pair.key.write_text(pair.key.read_text().replace("BEGIN", "BEGUN"))
        assert secret not in _refusal(_port(pair))


@pytest.mark.requirement("tls.expiry")
def test_a_certificate_out_of_date_is_a_warning(ours: Authority) -> None:
    at = now()
    old = ours.pair("old", ours.issue(since=at - 9 * DAY, until=at - 2 * DAY))
    (warning,) = check_files(_port(old), at.timestamp())
    day = (at - 2 * DAY).strftime("%Y-%m-%d")
    assert warning.startswith(f"listen.tls_cert_file: the certificate expired on {day}")
    early = ours.pair("early", ours.issue(since=at + 2 * DAY, until=at + timedelta(days=9)))
    (warning,) = check_files(_port(early), at.timestamp())
    assert warning.startswith("listen.tls_cert_file: the certificate is not valid before ")


def test_nothing_is_said_of_a_context_that_shows_nothing() -> None:
    assert Made(context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)).warning(0.0) == ""


def test_a_command_on_this_machine_trusts_the_one_certificate_in_the_file(pair: Pair, tmp_path: Path) -> None:
    context = pinned_context(str(pair.cert))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs(binary_form=True)) <= 1
    with pytest.raises(ConfigError):
        pinned_context(str(tmp_path / "none"))
