"""The field Content-Digest: written for a body, read strictly, and checked while the body streams past.

Only `sha-256` and `sha-512` are known. A field with any other algorithm, with parameters, repeats or a spelling that
a parser could take in two ways is refused as a whole; where both digests are given, both must be right.

Source: RFC 9530 sections 2 and 5; RFC 8941 section 3.2.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, final

MAX_FIELD_BYTES: Final = 256
"""Longest field that is looked at. Source: ours; both digests together have 157 bytes."""

# The last character before the padding has bits that must be zero, or several texts would be one digest.
_MEMBER: Final = re.compile(
    rb"(sha-256)=:([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=):|(sha-512)=:([A-Za-z0-9+/]{85}[AQgw]==):"
)
_COMMA: Final = re.compile(rb"[ \t]*,[ \t]*")


class DigestAlgorithm(StrEnum):
    """A hash that a Content-Digest may use, by its name on the wire."""

    SHA_256 = "sha-256"
    SHA_512 = "sha-512"


@dataclass(frozen=True, slots=True)
class ContentDigest:
    """The digests that a message says its body has; at least one."""

    digests: tuple[tuple[DigestAlgorithm, bytes], ...]
    """Each in base64, which has one spelling here."""

    def checker(self) -> "DigestChecker":
        """What to feed the body to."""
        return DigestChecker(self)

    def matches(self, body: bytes) -> bool:
        """Whether a whole body has these digests."""
        checker = self.checker()
        checker.update(body)
        return checker.finish()


@final
class DigestChecker:
    """Compares a body that comes in pieces with what its Content-Digest says."""

    __slots__ = ("_hashes",)

    def __init__(self, expected: ContentDigest) -> None:
        self._hashes = [(_new(algorithm), digest) for algorithm, digest in expected.digests]

    def update(self, chunk: bytes) -> None:
        """The next piece of the body."""
        for running, _ in self._hashes:
            running.update(chunk)

    def finish(self) -> bool:
        """Whether all pieces together are the body that was meant."""
        found = [hmac.compare_digest(b64encode(running.digest()), digest) for running, digest in self._hashes]
        return all(found)


@final
class DigestWriter:
    """Makes the Content-Digest of a body that comes in pieces."""

    __slots__ = ("_algorithm", "_hash")

    def __init__(self, algorithm: DigestAlgorithm = DigestAlgorithm.SHA_256) -> None:
        self._algorithm = algorithm
        self._hash = _new(algorithm)

    def update(self, chunk: bytes) -> None:
        """The next piece of the body."""
        self._hash.update(chunk)

    def field(self) -> bytes:
        """The value of the field for all pieces so far."""
        return b"%b=:%b:" % (self._algorithm.value.encode("ascii"), b64encode(self._hash.digest()))


def write_digest(body: bytes, algorithm: DigestAlgorithm = DigestAlgorithm.SHA_256) -> bytes:
    """The value of Content-Digest for a whole body."""
    writer = DigestWriter(algorithm)
    writer.update(body)
    return writer.field()


def parse_digest(value: bytes) -> ContentDigest | None:
    """Read a Content-Digest; None for anything that is not one or two digests we know, each once."""
    if len(value) > MAX_FIELD_BYTES:
        return None
    digests: dict[DigestAlgorithm, bytes] = {}
    for member in _COMMA.split(value):
        match = _MEMBER.fullmatch(member)
        if match is None:
            return None
        name, written = match[1] or match[3], match[2] or match[4]
        algorithm = _ALGORITHMS[name]
        if algorithm in digests:
            return None
        digests[algorithm] = written
    return ContentDigest(tuple(digests.items()))


_ALGORITHMS: Final = {algorithm.value.encode("ascii"): algorithm for algorithm in DigestAlgorithm}


def _new(algorithm: DigestAlgorithm) -> "hashlib._Hash":
    return hashlib.sha256() if algorithm is DigestAlgorithm.SHA_256 else hashlib.sha512()
