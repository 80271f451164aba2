"""Content-Digest: the examples of its RFC, strict reading, and bodies that come in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.content_digest import (
    MAX_FIELD_BYTES,
    ContentDigest,
    DigestAlgorithm,
    DigestWriter,
    parse_digest,
    write_digest,
)

pytestmark = pytest.mark.requirement("signatures.content_digest")

SHA_256, SHA_512 = DigestAlgorithm.SHA_256, DigestAlgorithm.SHA_512
BODY = b'{"hello": "world"}\n'
OF_BODY = b"sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
OF_BODY_512 = b"sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:"


@pytest.mark.parametrize(
    ("body", "algorithm", "field"),
    [
        (BODY, SHA_256, OF_BODY),  # RFC 9530 appendix B.1
        (BODY, SHA_512, OF_BODY_512),  # RFC 9530 appendix D
        (b"", SHA_256, b"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"),  # RFC 9530 appendix B.2
        (b'{"hello": "world"}', SHA_256, b"sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),  # RFC 9421 2.1
        (  # RFC 9421 appendix B.2
            b'{"hello": "world"}',
            SHA_512,
            b"sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
        ),
    ],
)
def test_the_examples_of_the_rfcs_are_written_and_read(body: bytes, algorithm: DigestAlgorithm, field: bytes) -> None:
    assert write_digest(body, algorithm) == field
    digest = parse_digest(field)
    assert digest is not None
    assert digest.matches(body)
    assert not digest.matches(body + b"\0")


def test_sha_256_is_what_is_written_unless_told_otherwise() -> None:
    assert write_digest(BODY) == OF_BODY


def test_of_two_digests_both_have_to_be_right() -> None:
    wrong_512, wrong_256 = write_digest(b"other", SHA_512), write_digest(b"other")
    for first, second in ((OF_BODY, OF_BODY_512), (OF_BODY_512, OF_BODY)):
        for comma in (b",", b", ", b" \t, "):
            assert _matches(first + comma + second)
    assert not _matches(OF_BODY + b", " + wrong_512)
    assert not _matches(wrong_256 + b", " + OF_BODY_512)


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"sha-256",
        b"sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=",
        b"SHA-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        b"sha-512=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        b"sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg:",
        b"sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDh=:",  # a second spelling of the same bytes
        OF_BODY_512.replace(b"qg==", b"qh=="),
        b"sha-256=:RK_0qy18MlBSVnWgjwz6lZEWjP_lF5HF9bvEF8FabDg=:",
        b"md5=:ZZZZZZZZZZZZZZZZZZZZZg==:",
        b" " + OF_BODY,
        OF_BODY + b" ",
        OF_BODY + b"\n",
        OF_BODY + b";p=1",
        OF_BODY + b",",
        OF_BODY + b", " + OF_BODY,
        OF_BODY + b", md5=:ZZZZZZZZZZZZZZZZZZZZZg==:",
        OF_BODY + b" " * MAX_FIELD_BYTES + b"," + OF_BODY_512,
    ],
)
def test_a_field_that_is_not_ours_to_the_letter_is_refused(field: bytes) -> None:
    assert parse_digest(field) is None


@given(st.binary(max_size=300) | st.from_regex(rb"(sha-(256|512)=:[A-Za-z0-9+/]*=*:,? ?){0,3}", fullmatch=True))
def test_any_bytes_are_read_or_refused_and_never_raised_over(value: bytes) -> None:
    digest = parse_digest(value)
    assert digest is None or isinstance(digest, ContentDigest)


@given(st.lists(st.binary(max_size=50)), st.sampled_from(DigestAlgorithm))
def test_a_body_in_pieces_has_the_digest_of_the_whole(pieces: list[bytes], algorithm: DigestAlgorithm) -> None:
    writer = DigestWriter(algorithm)
    for piece in pieces:
        writer.update(piece)
    body = b"".join(pieces)
    assert writer.field() == write_digest(body, algorithm)
    digest = parse_digest(writer.field())
    assert digest is not None
    checker = digest.checker()
    for piece in pieces:
        checker.update(piece)
    assert checker.finish()
    checker.update(b"!")
    assert not checker.finish()


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_changed_body_never_has_the_digest(body: bytes, data: st.DataObject) -> None:
    digest = parse_digest(write_digest(body))
    assert digest is not None
    at = data.draw(st.integers(0, len(body) - 1))
    changed = body[:at] + bytes([body[at] ^ data.draw(st.integers(1, 255))]) + body[at + 1 :]
    assert not digest.matches(changed)
    assert not digest.matches(body[:at])


def _matches(field: bytes) -> bool:
    digest = parse_digest(field)
    assert digest is not None
    return digest.matches(BODY)
