"""Bodies that other readers of JSON take and ours does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.other_readers import MAX_TRIED_BYTES, only_others_read, read_by_others

pytestmark = pytest.mark.requirement("security.one_body")


@pytest.mark.parametrize(
    "body",
    [
        b'{"n":NaN}',
        b"Infinity",
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32-be"),
        rb'"\ud800"',
        b'"\xed\xa0\x80"',
        b"9" * 400,
        b"[" * 2000 + b"]" * 2000,
        b"[" * 100_000,
        b"x" * (MAX_TRIED_BYTES + 1),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_others_may_read_is_told(body: bytes) -> None:
    assert only_others_read(body)


@pytest.mark.parametrize("body", [b"", b"{", b"'a'", b"\xff", b'"\x01"', b"{'a':1}", b"[1,]"])
def test_what_nobody_reads_is_no_json_at_all(body: bytes) -> None:
    assert not only_others_read(body)
    assert not read_by_others(body)


@pytest.mark.parametrize("body", [b"{}", b'{"a":1,"a":2}', b"18446744073709551616", b' "\\u00e9" '])
def test_what_we_read_is_ours(body: bytes) -> None:
    assert not only_others_read(body)
    assert read_by_others(body)


@given(st.binary() | st.text().map(str.encode))
def test_no_body_raises_anything(body: bytes) -> None:
    assert only_others_read(body) in {True, False}
