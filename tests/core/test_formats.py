"""Tables of good and bad texts per format, and a library as second opinion."""

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.formats import FORMATS

GOOD = {
    "date": ["2026-07-28", "2024-02-29", "2000-02-29", "0000-02-29", "9999-12-31", "2023-04-30"],
    "date-time": [
        "2026-07-28T10:11:12Z",
        "2026-07-28t10:11:12.123456789012z",
        "2026-07-28T23:59:59-23:59",
        "1998-12-31T23:59:60Z",
        "1998-12-31T15:59:60.123-08:00",
        "1999-01-01T08:59:60+09:00",
    ],
    "email": ["a@b", "joe.bloggs@example.com", "te~st+tag@sub.example.org", "x@" + "a" * 63 + ".de"],
    "uri": [
        "http://foo.bar/?baz=qux#quux",
        "http://u:p@ex-ample.com:8080/a%20b",
        "http://[2001:db8::7]:80/c=GB?one",
        "http://223.255.255.254",
        "mailto:John.Doe@example.com",
        "urn:oasis:names:tc",
        "file:///etc/hosts",
        "tel:+1-816-555-1212",
        "x:",
    ],
}
BAD = {
    "date": [
        "", "2026-7-28", "2026-13-01", "2026-00-01", "2026-01-00", "2023-02-29", "1900-02-29", "2026-04-31",
        "20260728", "2026-W30-1", "2026-07-28\n", " 2026-07-28", "٢٠٢٦-07-28", "2026-07-28T00:00:00Z",
    ],
    "date-time": [
        "", "2026-07-28", "2026-07-28T10:11:12", "2026-07-28 10:11:12Z", "2026-07-28T24:00:00Z",
        "2026-07-28T10:60:00Z", "2026-07-28T10:11:61Z", "2026-07-28T10:11:60Z", "1998-12-31T23:58:60Z",
        "1998-12-31T22:59:60Z", "2026-07-28T10:11:12+24:00", "2026-07-28T10:11:12+01:60", "2026-07-28T10:11:12.Z",
        "2026-07-28T10:11Z", "2026-02-30T10:11:12Z", "2026-07-28T10:11:12+0100", "2026-07-28T10:11:12Z\n",
        "1998-12-31T23:59:60+01:00",
    ],
    "email": [
        "", "a", "@b", "a@", "a@b@c", ".a@b.c", "a.@b.c", "a..b@c.d", "a b@c.d", "a@-b.c", "a@b-.c", "a@b..c",
        "ü@b.c", "a@ü.c", '"a b"@c.d', "a@[127.0.0.1]", "a" * 65 + "@b.c", "a@" + "a" * 64 + ".de",
        "a@" + "a." * 130 + "de", "a@b.c\n",
    ],
    "uri": [
        "", "//foo.bar/", "/abc", "abc", "1http://x", "http:// shouldfail.com", ":// fail", "http://a/%zz",
        "http://a/<x>", "http://a/b#c#d", "http://[::1", "http://[::zz]/", "http://[1:2]/", "http://a:b/",
        "http://[::1]x/", "http://ü.de/", "http://a/\\b", "http://a@b@c/", "bar,baz:foo", "http://a/{x}", "a:b\n",
    ],
}  # fmt: skip


def _cases(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(name, text) for name, texts in table.items() for text in texts]


@pytest.mark.parametrize(("name", "text"), _cases(GOOD))
def test_a_text_of_the_format_is_taken(name: str, text: str) -> None:
    assert FORMATS[name](text)


@pytest.mark.parametrize(("name", "text"), _cases(BAD))
def test_a_text_that_only_resembles_the_format_is_refused(name: str, text: str) -> None:
    assert not FORMATS[name](text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("date-time", "2026-07-28T10:11:12." + "1" * 250_000),
        ("email", "a." * 125_000 + "@"),
        ("email", "a" * 254 + "@"),
        ("uri", "http://" + "a%20" * 60_000 + "@" * 2),
        ("uri", "a" * 250_000),
        ("uri", "http://[" + ":" * 250_000 + "]"),
        ("uri", "x:" + "%" * 250_000),
    ],
)
def test_a_huge_text_is_judged_in_one_pass(name: str, text: str) -> None:
    assert not FORMATS[name](text)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["date", "date-time"]),
    st.from_regex(r"\A[0-9]{3}[0-9]-[01][0-9]-[0-3][0-9](T[0-2][0-9]:[0-6][0-9]:[0-5][0-9]Z)?\Z"),
)
def test_dates_are_judged_as_the_library_judges_them(name: str, text: str) -> None:
    library = jsonschema_rs.Draft202012Validator({"format": name}, validate_formats=True, offline=True)
    assert FORMATS[name](text) == library.is_valid(text)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.text(alphabet="ab:/?#[]@%2-.TZ0 é", max_size=30))
def test_any_text_gets_a_verdict(name: str, text: str) -> None:
    assert FORMATS[name](text) in {True, False}
