"""Failures of TLS in words, from the facts that exceptions carry."""

import ssl
from datetime import UTC, datetime

import pytest
import trustme

from proxy.core.certificate import first_of_pem
from proxy.core.tls_trouble import MAX_CHAIN, SHOW_OURS, Peer, hint_in, trouble_in

pytestmark = pytest.mark.requirement("tls.told")

PEER = Peer("https://bridge.example:8443", "bridge.example")
PLAIN = Peer("http://bridge.example", "bridge.example")
BEGIN = "no trusted connection to https://bridge.example:8443: "

OLD, NEW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC), datetime(2026, 5, 6, 7, 8, tzinfo=UTC)
CA = trustme.CA(organization_name="Corp")
LEAF = first_of_pem(CA.issue_cert("a.example", "b.example", not_before=OLD, not_after=NEW).cert_chain_pems[0].bytes())


class Refusal(Exception):
    """What the TLS library raises, as far as it is read."""

    library = "SSL"

    def __init__(
        self, reason: str = "CERTIFICATE_VERIFY_FAILED", code: int = 0, message: str = "", *presented: bytes
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.verify_code = code
        self.verify_message = message
        self.presented = presented


def _verify(code: int, *presented: bytes) -> str:
    return trouble_in(Refusal("CERTIFICATE_VERIFY_FAILED", code, "the library's words", *presented), PEER)


@pytest.mark.parametrize(
    ("code", "presented", "told"),
    [
        (10, LEAF, "the certificate of the Bridge expired on 2026-05-06 07:08 UTC; renew it there"),
        (10, b"", "the certificate of the Bridge expired; renew it there"),
        (9, LEAF, "the certificate of the Bridge is not valid before 2026-01-02 03:04 UTC; renew it there, or set"),
        (9, b"", "the certificate of the Bridge is not valid; renew it there"),
        (62, LEAF, "expected a certificate for bridge.example, got one for a.example, b.example; call the Bridge by"),
        (64, b"", "expected a certificate for bridge.example, got one for another name; call"),
        (20, LEAF, "expected a certificate of a known authority, got one issued by"),
        (18, b"", "of a known authority, got one of an unknown authority; set bridge.ca_file to the certificate of"),
        (66, LEAF, "expected a certificate that can be verified, got: the library's words; renew it there"),
    ],
)
def test_a_certificate_that_is_refused_is_told_with_what_was_expected_what_came_and_what_to_do(
    code: int, presented: bytes, told: str
) -> None:
    said = _verify(code, *([presented] if presented else []))
    assert said.startswith(BEGIN)
    assert told in said


def test_of_a_chain_the_certificate_that_expired_first_is_told() -> None:
    assert "2026-05-06" in _verify(10, first_of_pem(CA.cert_pem.bytes()), LEAF)


def test_bytes_that_are_no_certificate_only_cost_words() -> None:
    assert "expired; renew" in _verify(10, b"rubbish")


def test_without_names_another_name_is_told() -> None:
    assert "got one for another name" in _verify(62, first_of_pem(CA.cert_pem.bytes()))


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (
            "WRONG_VERSION_NUMBER",
            "expected TLS, got something else; if it speaks plain HTTP, begin its URL with http://",
        ),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "expected TLS 1.2 or newer"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", f"it asks for a client certificate; {SHOW_OURS}"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", f"if it asks for a client certificate, {SHOW_OURS}"),
        (
            "TLSV1_ALERT_UNKNOWN_CA",
            "it refused our client certificate (TLSV1_ALERT_UNKNOWN_CA); check bridge.client_cert_",
        ),
        ("SOMETHING_NEW", "expected a TLS connection, it failed (SOMETHING_NEW); check what listens there"),
    ],
)
def test_a_handshake_that_fails_is_told_by_its_reason(reason: str, told: str) -> None:
    assert told in trouble_in(Refusal(reason), PEER)


def test_the_facts_are_found_among_the_causes() -> None:
    outer = OSError("outer")
    outer.__cause__ = Refusal("WRONG_VERSION_NUMBER")
    assert "expected TLS" in trouble_in(outer, PEER)
    outer = OSError("outer")
    outer.__context__ = ssl.SSLError(1, "[SSL: X] y")
    assert not trouble_in(outer, PEER)  # it knows no reason


def test_certificates_and_the_verdict_may_stand_on_different_exceptions() -> None:
    outer = Refusal("", 0, "", LEAF)
    outer.library = ""
    outer.__cause__ = Refusal("CERTIFICATE_VERIFY_FAILED", 10)
    assert "2026-05-06" in trouble_in(outer, PEER)


def test_other_errors_are_no_trouble_of_tls_however_deep_they_are() -> None:
    error = first = OSError("first")
    for _ in range(2 * MAX_CHAIN):
        error.__cause__ = OSError("next")
        error = error.__cause__
    error.__cause__ = Refusal("WRONG_VERSION_NUMBER")
    assert not trouble_in(first, PEER)


def test_a_connection_that_just_ended_may_want_a_client_certificate() -> None:
    class ServerDisconnectedError(Exception):
        pass

    for error in (ConnectionResetError(), ServerDisconnectedError()):
        assert hint_in(error, PEER) == f"; if it asks for a client certificate, {SHOW_OURS}"
        assert not hint_in(error, PLAIN)
    assert not hint_in(ConnectionRefusedError(), PEER)
