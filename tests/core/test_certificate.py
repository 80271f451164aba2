"""What a certificate says of itself, read from bytes that anybody may have made."""

import binascii
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.certificate import (
    MAX_NAME_CHARS,
    MAX_SHOWN_NAMES,
    Certificate,
    day_of,
    first_of_pem,
    parse_certificate,
)
from proxy.core.errors import InvalidInput

pytestmark = pytest.mark.requirement("tls.told")

FROM = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
UNTIL = FROM + timedelta(days=90)
CA = trustme.CA(organization_name="Corp\tRoot")
LEAF = CA.issue_cert("bridge.example", "127.0.0.1", "::1", not_before=FROM, not_after=UNTIL).cert_chain_pems[0].bytes()
DER = first_of_pem(LEAF)


def test_issuer_names_and_dates_are_read() -> None:
    read = parse_certificate(DER)
    assert read == Certificate(
        issuer=read.issuer,
        names=("bridge.example", "127.0.0.1", "::1"),
        not_before=FROM.timestamp(),
        not_after=UNTIL.timestamp(),
    )
    assert read.issuer
    assert day_of(read.not_after) == "2026-05-30 12:30 UTC"


def test_what_another_library_reads_is_the_same() -> None:
    for pem in (LEAF, CA.cert_pem.bytes()):
        oracle, read = x509.load_pem_x509_certificate(pem), parse_certificate(first_of_pem(pem))
        assert read.not_after == oracle.not_valid_after_utc.timestamp()
        assert read.not_before == oracle.not_valid_before_utc.timestamp()


def test_what_cannot_be_printed_is_replaced() -> None:
    assert "\t" not in parse_certificate(first_of_pem(CA.cert_pem.bytes())).issuer


def _signed(builder: x509.CertificateBuilder, issuer: x509.Name, *, until: datetime = UNTIL) -> bytes:
    """A certificate that trustme would not make."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415  # beside the key, for this one test
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key  # noqa: PLC0415

    key = generate_private_key(SECP256R1())
    made = (
        builder.issuer_name(issuer)
        .subject_name(issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(FROM)
        .not_valid_after(until)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.DER)


def _name(kind: x509.ObjectIdentifier, text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, text)])


def test_an_issuer_is_its_common_name_else_its_organisation_else_nothing() -> None:
    names = x509.oid.NameOID
    build = x509.CertificateBuilder()
    assert parse_certificate(_signed(build, _name(names.COMMON_NAME, "Root"))).issuer == "Root"
    assert parse_certificate(_signed(build, _name(names.ORGANIZATION_NAME, "Corp"))).issuer == "Corp"
    assert parse_certificate(_signed(build, _name(names.LOCALITY_NAME, "Paris"))).issuer == ""
    wide = x509.Name([x509.NameAttribute(names.COMMON_NAME, "Wurzel", x509.name._ASN1Type.BMPString)])
    assert parse_certificate(_signed(build, wide)).issuer == "Wurzel"


def test_other_names_and_extensions_are_passed_over_and_only_some_names_are_kept() -> None:
    many = [x509.DNSName(f"h{number}.example") for number in range(MAX_SHOWN_NAMES)]
    build = (
        x509.CertificateBuilder()
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name("a@example"), *many, *many]), critical=False)
    )
    read = parse_certificate(_signed(build, _name(x509.oid.NameOID.COMMON_NAME, "x" * 64)))
    assert read.names == tuple(name.value for name in many)
    plain = parse_certificate(_signed(x509.CertificateBuilder(), _name(x509.oid.NameOID.COMMON_NAME, "x")))
    assert plain.names == ()
    long = x509.SubjectAlternativeName([x509.DNSName("h" * 200)])
    build = x509.CertificateBuilder().add_extension(long, critical=False)
    assert parse_certificate(_signed(build, _name(x509.oid.NameOID.COMMON_NAME, "x"))).names == ("h" * MAX_NAME_CHARS,)


@pytest.mark.parametrize("year", [1999, 2049, 2050, 9999])
def test_both_forms_of_a_date_are_read(year: int) -> None:
    until = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    build, name = x509.CertificateBuilder(), _name(x509.oid.NameOID.COMMON_NAME, "x")
    if year < FROM.year:
        der = DER.replace(b"260301123000Z", b"990301123000Z")
        assert day_of(parse_certificate(der).not_before) == "1999-03-01 12:30 UTC"
        return
    assert parse_certificate(_signed(build, name, until=until)).not_after == until.timestamp()


def test_a_certificate_without_its_version_is_read_too() -> None:
    version = bytes.fromhex("a003020102")
    assert version in DER
    short = DER.replace(version, b"", 1)
    outer, inner = int.from_bytes(DER[2:4], "big") - 5, int.from_bytes(DER[6:8], "big") - 5
    short = short[:2] + outer.to_bytes(2, "big") + short[4:6] + inner.to_bytes(2, "big") + short[8:]
    assert parse_certificate(short) == parse_certificate(DER)


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x30",
        b"\x02\x01\x00",
        b"\x30\x80",
        b"\x30\x85\x01\x01\x01\x01\x01",
        b"\x30\x84\xff",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x02\x30\x00",
        DER[:200],
        DER.replace(b"260301123000Z", b"261301123000Z"),
        DER.replace(b"\x17\x0d260301123000Z", b"\x16\x0d260301123000Z"),
    ],
    ids=range(11),
)
def test_what_is_no_certificate_is_refused(der: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_certificate(der)


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_certificate(b"\x30" + data)


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
def test_a_certificate_with_another_byte_is_read_or_refused(at: int, byte: int) -> None:
    try:
        read = parse_certificate(DER[:at] + bytes([byte]) + DER[at + 1 :])
    except InvalidInput:
        return
    assert all(name.isprintable() for name in (read.issuer, *read.names))


def test_of_a_pem_file_the_first_certificate_counts() -> None:
    other = CA.cert_pem.bytes()
    assert first_of_pem(b"# words before\r\n" + LEAF + other) == DER
    assert first_of_pem(LEAF.replace(b"\n", b"\r\n")) == DER


@pytest.mark.parametrize("text", [b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"])
def test_a_file_without_a_certificate_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        first_of_pem(text)
    with pytest.raises(binascii.Error):
        binascii.a2b_base64(b"abc")
