"""What TLS needs from files: certificates, keys and authorities, read, judged and made into contexts of OpenSSL.

Every context speaks TLS 1.2 or newer. Towards the Bridge its certificate and its host name are always verified; there
is no key to turn that off. Reads files: not on the event loop. No message shows a part of a key.
"""

import os
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from proxy.config.problems import ConfigError, Problem, escape_whole
from proxy.config.schema import BridgeConfig, Config, ListenConfig
from proxy.core.certificate import Certificate, day_of, first_of_pem, parse_certificate
from proxy.core.errors import InvalidInput

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
"""Longest file that is read. Source: ours; the authorities of a whole system are a quarter of a MiB."""

SYSTEM_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep their authorities, for an OpenSSL that was built on another one.

Source: the packages ca-certificates of Debian and Fedora, ca-certificates-mozilla of SUSE, and of Alpine.
"""

Found = TypeVar("Found")

_TOO_OPEN: Final = ~(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP)
_CA: Final = "bridge.ca_file"
_OF_ANOTHER_KEY: Final = "KEY_VALUES_MISMATCH"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairKeys:
    """The two keys of the configuration that name a certificate and its key."""

    cert: str
    key: str


BRIDGE: Final = PairKeys(cert="bridge.client_cert_file", key="bridge.client_key_file")
DATA: Final = PairKeys(cert="listen.tls_cert_file", key="listen.tls_key_file")
ADMIN: Final = PairKeys(cert="listen.admin_tls_cert_file", key="listen.admin_tls_key_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A context, and the certificate that it shows."""

    context: ssl.SSLContext
    certificate: Certificate | None = None
    shown_by: str = ""
    """The key of the configuration that names the certificate."""

    def warning(self, wall: float) -> str:
        """What is wrong with the certificate at a time, though it is used; empty where nothing is."""
        ours = self.certificate
        if ours is not None and wall >= ours.not_after:
            return f"{self.shown_by}: the certificate expired on {day_of(ours.not_after)}; renew it"
        if ours is not None and wall < ours.not_before:
            return f"{self.shown_by}: the certificate is not valid before {day_of(ours.not_before)}"
        return ""


class Mistrust(ssl.SSLCertVerificationError):
    """The certificates of a peer were refused; `presented` are those that it showed, in DER, its own first."""

    def __init__(self, presented: tuple[bytes, ...], *words: object) -> None:
        super().__init__(*words)
        self.presented = presented


class _Handshake(ssl.SSLObject):
    """A connection that keeps the certificates which were refused, to tell of them."""

    def do_handshake(self) -> None:
        """Agree on keys, or tell what the peer has shown."""
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            raise Mistrust(self._presented(), *error.args) from error

    def _presented(self) -> tuple[bytes, ...]:
        # Public from Python 3.13 on; before, and without it, the error is told with fewer words.
        read = getattr(vars(self).get("_sslobj"), "get_unverified_chain", tuple)
        return tuple(ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in read() or ())


def bridge_context(bridge: BridgeConfig) -> Made | None:
    """How the Bridge is called; None where no URL of it has TLS.

    Raises:
        ConfigError: a file is not in order.
    """
    if not any(url.startswith("https:") for url in (bridge.url, bridge.mcp_url)):
        return None
    context = _tuned(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # verifies certificate and host name by itself
    context.sslobject_class = _Handshake
    _trust(context, bridge.ca_file)
    if not bridge.client_cert_file:
        return Made(context=context)
    certificate = _show(context, bridge.client_cert_file, bridge.client_key_file, BRIDGE)
    return Made(context=context, certificate=certificate, shown_by=BRIDGE.cert)


def listener_context(listen: ListenConfig, keys: PairKeys) -> Made | None:
    """How a port of ours is served; None where it has no certificate.

    Raises:
        ConfigError: a file is not in order.
    """
    cert_file, key_file = listener_files(listen, keys)
    if not cert_file:
        return None
    context = _tuned(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    certificate = _show(context, cert_file, key_file, keys)
    return Made(context=context, certificate=certificate, shown_by=keys.cert)


def listener_files(listen: ListenConfig, keys: PairKeys) -> tuple[str, str]:
    """The files of certificate and key of one port of ours."""
    if keys is DATA:
        return listen.tls_cert_file, listen.tls_key_file
    return listen.admin_tls_cert_file, listen.admin_tls_key_file


def pinned_context(cert_file: str) -> ssl.SSLContext:
    """How a command on this machine calls the admin port: the one certificate in the file is trusted, and no other.

    Host names are not compared, as the port is called by its address: only the holder of this certificate's key can
    answer. What follows in the file is left out, as the authority in it has issued others.

    Raises:
        ConfigError: there is no certificate in the file.
    """
    context = _tuned(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    der, _ = _certificate(cert_file, ADMIN.cert)
    context.load_verify_locations(cadata=der)
    return context


def check_files(config: Config, wall: float) -> list[str]:
    """Judge every file that is named; warnings for those that can be used all the same.

    Raises:
        ConfigError: with every problem found.
    """
    problems: list[Problem] = []
    made = [
        _gathered(lambda: bridge_context(config.bridge), problems),
        _gathered(lambda: listener_context(config.listen, DATA), problems),
        _gathered(lambda: listener_context(config.listen, ADMIN), problems),
    ]
    if problems:
        raise ConfigError(problems)
    return [warning for each in made if each is not None and (warning := each.warning(wall))]


def _tuned(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _trust(context: ssl.SSLContext, ca_file: str) -> None:
    if ca_file:
        _read(ca_file, _CA)
        try:
            context.load_verify_locations(ca_file)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError([_problem(_CA, ca_file, "certificates in PEM", _said(error))]) from error
        return
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        for bundle in filter(os.path.isfile, SYSTEM_BUNDLES):
            context.load_verify_locations(bundle)
            return


def _show(context: ssl.SSLContext, cert_file: str, key_file: str, keys: PairKeys) -> Certificate:
    """Have a context show a certificate, both of whose files are judged first."""
    problems: list[Problem] = []
    found = _gathered(lambda: _certificate(cert_file, keys.cert), problems)
    _gathered(lambda: _judge_key(key_file, keys.key), problems)
    if found is None or problems:
        raise ConfigError(problems)
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
    except _Locked as error:
        hint = "take the passphrase away (openssl pkey) and leave the file to its owner"
        problem = _problem(keys.key, key_file, "a key without passphrase", "one with a passphrase", hint=hint)
        raise ConfigError([problem]) from error
    except ssl.SSLError as error:
        raise ConfigError([_unusable(error, cert_file, key_file, keys)]) from error
    return found[1]


def _unusable(error: ssl.SSLError, cert_file: str, key_file: str, keys: PairKeys) -> Problem:
    if error.reason == _OF_ANOTHER_KEY:
        expected = f"the private key of the certificate in {escape_whole(cert_file)}"
        return _problem(keys.key, key_file, expected, "another key", hint="name both files of one pair")
    return _problem(keys.cert, cert_file, "a certificate and key that OpenSSL can use", _said(error))


def _gathered(read: Callable[[], Found], problems: list[Problem]) -> Found | None:
    try:
        return read()
    except ConfigError as error:
        problems.extend(error.problems)
        return None


class _Locked(Exception):
    """A key asks for its passphrase, which nobody is there to type."""


def _no_passphrase() -> str:
    raise _Locked


def _certificate(path: str, key: str) -> tuple[bytes, Certificate]:
    content, _ = _read(path, key)
    try:
        der = first_of_pem(content)
        return der, parse_certificate(der)
    except InvalidInput as error:
        got = error.detail.rpartition(", ")[2]
        raise ConfigError([_problem(key, path, "a certificate in PEM", got.removeprefix("got "))]) from error


def _judge_key(path: str, key: str) -> None:
    content, mode = _read(path, key)
    problems = []
    if mode & _TOO_OPEN:
        hint = "nobody else may read it: chmod 600, or 640 for a group"
        problems.append(_problem(key, path, "file mode 0600 or 0640", f"{mode:04o}", hint=hint))
    if b"PRIVATE KEY-----" not in content:
        problems.append(_problem(key, path, "a private key in PEM", "none"))
    if problems:
        raise ConfigError(problems)


def _read(path: str, key: str) -> tuple[bytes, int]:
    """Content and mode of a file."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # to open a pipe may take for ever
            raise ConfigError([_problem(key, path, "a readable file", "something else")])
        with Path(path).open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError([_problem(key, path, "a readable file", _said(error))]) from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError([_problem(key, path, f"at most {MAX_FILE_BYTES} bytes", "more")])
    return content, mode


def _said(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return str(reason or type(error).__name__)


def _problem(key: str, path: str, expected: str, got: str, *, hint: str = "") -> Problem:
    return Problem(key=key, source=escape_whole(path), expected=expected, got=got, hint=hint)
