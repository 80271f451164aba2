"""Why no trusted connection to a peer came about, in words: what was expected, what came, what to do.

The facts are OpenSSL's, as the exceptions carry them; they are read by name, so that this room needs no TLS library.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from proxy.core.certificate import Certificate, day_of, parse_certificate
from proxy.core.errors import InvalidInput

MAX_CHAIN: Final = 10
"""Causes of an exception that are looked at, and certificates of a peer. Source: ours; real ones have two or three."""

NOT_YET: Final = 9
EXPIRED: Final = 10
UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21, 27})
OTHER_NAME: Final = frozenset({62, 64})
"""Results of a verification. Source: OpenSSL 3, X509_STORE_CTX_get_error(3)."""

_NOT_TLS: Final = frozenset({
    *("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE"),
})  # fmt: skip
_TOO_OLD: Final = frozenset({"TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE"})
_WANTS_OURS: Final = frozenset({"TLSV13_ALERT_CERTIFICATE_REQUIRED"})
_MAY_WANT_OURS: Final = frozenset({"SSLV3_ALERT_HANDSHAKE_FAILURE"})
"""With TLS 1.2 a missing client certificate looks like any other disagreement. Source: RFC 5246 section 7.4.6."""
_REFUSES_OURS: Final = frozenset({
    *("TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE"),
    *("SSLV3_ALERT_CERTIFICATE_REVOKED", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_UNKNOWN"),
    *("TLSV1_ALERT_ACCESS_DENIED", "TLSV1_ALERT_DECRYPT_ERROR"),
})  # fmt: skip
"""Alerts about what we showed. Source: RFC 8446 section 6.2, by the names of OpenSSL 3."""

_ENDED: Final = (ConnectionResetError, BrokenPipeError, EOFError)
_SO_TOO: Final = frozenset({"ServerDisconnectedError"})
"""By name, as it is the HTTP library's."""

SHOW_OURS: Final = "set bridge.client_cert_file and bridge.client_key_file"
"""What to do for a peer that asks who we are."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom we called."""

    origin: str
    """Scheme, host and port."""
    host: str

    @property
    def is_secure(self) -> bool:
        """Whether TLS is spoken with it."""
        return self.origin.startswith("https:")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    reason: str
    """Name of OpenSSL's error."""
    verify_code: int = 0
    verify_message: str = ""
    chain: tuple[Certificate, ...] = ()
    """What the peer showed, its own certificate first; empty where that is not known."""


def trouble_in(error: BaseException, peer: Peer) -> str:
    """What an operator is told of a failure of TLS; empty when the error is none of that kind."""
    facts = _facts(_causes(error))
    if facts is None:
        return ""
    return f"no trusted connection to {peer.origin}: " + (
        _of_certificate(facts, peer) if facts.verify_code else _of_handshake(facts.reason)
    )


def hint_in(error: BaseException, peer: Peer) -> str:
    """What may be the matter where a connection with TLS just ended, as a refusal can be lost on its way; or nothing.

    Source: RFC 8446 section 4.4.2.4: a client has done its part before a server judges its certificate.
    """
    if peer.is_secure and any(isinstance(cause, _ENDED) or type(cause).__name__ in _SO_TOO for cause in _causes(error)):
        return f"; if it asks for a client certificate, {SHOW_OURS}"
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(MAX_CHAIN):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _facts(causes: Iterable[BaseException]) -> _Facts | None:
    chain: tuple[Certificate, ...] = ()
    for cause in causes:
        chain = chain or _read(getattr(cause, "presented", ()))
        reason = getattr(cause, "reason", None)
        if getattr(cause, "library", None) and isinstance(reason, str):
            code, message = getattr(cause, "verify_code", 0), str(getattr(cause, "verify_message", ""))
            return _Facts(reason=reason, verify_code=code or 0, verify_message=message, chain=chain)
    return None


def _read(presented: Iterable[bytes]) -> tuple[Certificate, ...]:
    read: list[Certificate] = []
    for der, _ in zip(presented, range(MAX_CHAIN), strict=False):
        with suppress(InvalidInput):  # then it is told with fewer words
            read.append(parse_certificate(der))
    return tuple(read)


def _of_certificate(facts: _Facts, peer: Peer) -> str:
    if facts.verify_code == EXPIRED:
        when = f" on {day_of(min(each.not_after for each in facts.chain))}" if facts.chain else ""
        return f"expected a valid certificate, the certificate of the Bridge expired{when}; renew it there"
    if facts.verify_code == NOT_YET:
        when = f" before {day_of(max(each.not_before for each in facts.chain))}" if facts.chain else ""
        return (
            f"expected a valid certificate, the certificate of the Bridge is not valid{when}; "
            "renew it there, or set the clock of this machine"
        )
    if facts.verify_code in OTHER_NAME:
        names = ", ".join(facts.chain[0].names) if facts.chain else ""
        came = f"got one for {names}" if names else "got one for another name"
        return f"expected a certificate for {peer.host}, {came}; call the Bridge by a name of its certificate"
    if facts.verify_code in UNKNOWN_AUTHORITY:
        issuer = f", got one issued by {facts.chain[-1].issuer!r}" if facts.chain and facts.chain[-1].issuer else ""
        return (
            f"expected a certificate of a known authority{issuer or ', got one of an unknown authority'}; "
            "set bridge.ca_file to the certificate of that authority"
        )
    return f"expected a certificate that can be verified, got: {facts.verify_message or facts.reason}; renew it there"


def _of_handshake(reason: str) -> str:
    if reason in _NOT_TLS:
        return "expected TLS, got something else; if it speaks plain HTTP, begin its URL with http://"
    if reason in _TOO_OLD:
        return "expected TLS 1.2 or newer, it speaks older ones only; update it"
    if reason in _WANTS_OURS:
        return f"expected to be let in, it asks for a client certificate; {SHOW_OURS}"
    if reason in _MAY_WANT_OURS:
        return f"expected an agreement on TLS, it refused; if it asks for a client certificate, {SHOW_OURS}"
    if reason in _REFUSES_OURS:
        return (
            f"expected to be let in, it refused our client certificate ({reason}); "
            "check bridge.client_cert_file and whose certificates it takes"
        )
    return f"expected a TLS connection, it failed ({reason}); check what listens there"
