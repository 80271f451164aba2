"""What a certificate says of itself: who issued it, for which names, from when to when.

Only for telling and for counting days: whether a certificate is to be trusted is decided by OpenSSL alone, never from
what is read here. The bytes come from peers, so every length is checked and every text is made printable.

Source: RFC 5280 section 4.1 (the fields), 4.2.1.6 (names); X.690 sections 8 and 10 (DER).
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

from proxy.core.errors import InvalidInput

MAX_SHOWN_NAMES: Final = 5
"""Names of one certificate that are kept to be told. Source: ours; some have hundreds, nobody reads them."""

MAX_NAME_CHARS: Final = 80
"""Source: ours; a line of a log."""

_BLOCK: Final = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----\s(.*?)-----END (?:X509 |TRUSTED )?CERTIFICATE-----", re.DOTALL
)
"""Source: RFC 7468 section 5.1, and the labels that OpenSSL takes as well."""

_SEQUENCE: Final = 0x30
_UTC_TIME: Final = 0x17
_GENERAL_TIME: Final = 0x18
_BMP_STRING: Final = 0x1E
_VERSION: Final = 0xA0
_EXTENSIONS: Final = 0xA3
_DNS_NAME: Final = 0x82
_IP_ADDRESS: Final = 0x87

_COMMON_NAME: Final = b"\x55\x04\x03"
_ORGANISATION: Final = b"\x55\x04\x0a"
_ALTERNATIVE_NAMES: Final = b"\x55\x1d\x11"

_LONG: Final = 0x80
_MAX_LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One certificate, as far as operators are told of it."""

    issuer: str
    """Common name of the issuer, else its organisation; empty where it has neither."""
    names: tuple[str, ...]
    """Host names and IP addresses, at most `MAX_SHOWN_NAMES`."""
    not_before: float
    """Wall seconds."""
    not_after: float
    """Wall seconds."""


def day_of(wall: float) -> str:
    """A date and time in UTC, as it is told."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M UTC")


def first_of_pem(text: bytes) -> bytes:
    """The first certificate of a PEM file, in DER.

    Raises:
        InvalidInput: there is none.
    """
    block = _BLOCK.search(text)
    if block is None:
        raise InvalidInput("expected a certificate in PEM, got none")
    try:
        return binascii.a2b_base64(block[1])
    except binascii.Error as error:
        raise InvalidInput("expected a certificate in PEM, its base64 cannot be read") from error


def parse_certificate(der: bytes) -> Certificate:
    """Read one certificate in DER.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return _read(der)
    except (IndexError, ValueError, OverflowError) as error:
        raise InvalidInput("expected a certificate in DER, it cannot be read") from error


def _read(der: bytes) -> Certificate:
    fields = list(_fields(_sequence(_sequence(der))))
    if fields[0][0] == _VERSION:  # it may be missing
        del fields[0]
    _serial, _algorithm, (_, issuer), (_, validity), *others = fields
    first, last = (_time(kind, text) for kind, text in _fields(validity))
    names = next((_names(content) for kind, content in others if kind == _EXTENSIONS), ())
    return Certificate(issuer=_issuer(issuer), names=names, not_before=first, not_after=last)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The values in a constructed one: tag and content of each.

    Raises:
        IndexError: a value ends behind its surroundings.
        ValueError: a length that DER does not have.
    """
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length >= _LONG:
            size = length - _LONG
            if not 1 <= size <= _MAX_LENGTH_BYTES or at + size > len(data):
                raise ValueError(size)
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise IndexError(at)
        yield tag, data[at : at + length]
        at += length


def _sequence(data: bytes) -> bytes:
    """The content of the sequence that the data begins with."""
    tag, content = next(_fields(data), (0, b""))
    if tag != _SEQUENCE:
        raise ValueError(tag)
    return content


def _time(kind: int, text: bytes) -> float:
    """Source: RFC 5280 section 4.1.2.5: two digits from 50 on are of the last century, and it ends with Z."""
    digits = text.decode("ascii")
    if kind == _UTC_TIME:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    elif kind != _GENERAL_TIME:
        raise ValueError(kind)
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _issuer(name: bytes) -> str:
    found: dict[bytes, str] = {}
    for _, group in _fields(name):
        for _, pair in _fields(group):
            (_, kind), (tag, text), *_ = _fields(pair)
            found[kind] = _shown(text.decode("utf-16-be" if tag == _BMP_STRING else "utf-8", "replace"))
    return found.get(_COMMON_NAME) or found.get(_ORGANISATION, "")


def _names(extensions: bytes) -> tuple[str, ...]:
    names: list[str] = []
    for _, extension in _fields(_sequence(extensions)):
        (_, kind), *_, (_, value) = _fields(extension)
        if kind == _ALTERNATIVE_NAMES:
            names.extend(name for name in map(_name, _fields(_sequence(value))) if name)
    return tuple(names[:MAX_SHOWN_NAMES])


def _name(field: tuple[int, bytes]) -> str:
    tag, content = field
    if tag == _DNS_NAME:
        return _shown(content.decode("ascii", "replace"))
    return str(ip_address(content)) if tag == _IP_ADDRESS else ""


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:MAX_NAME_CHARS])
