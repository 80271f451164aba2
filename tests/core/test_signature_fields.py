"""The wire form of signatures: the RFC's own vector, origins, agents, and a grammar with one spelling."""

import hmac
from base64 import b64decode, b64encode
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId
from proxy.core.signature_fields import (
    COVERED,
    COVERED_WITH_BODY,
    MAX_AGENT_FIELD_BYTES,
    MAX_INPUT_BYTES,
    MAX_TARGET_BYTES,
    MAX_TIME,
    SignatureInput,
    Terms,
    is_agent_field,
    is_method,
    is_target,
    our_params,
    parse_input,
    parse_origin,
    read_agent,
    signature_base,
    write_agent,
    write_params,
)

pytestmark = pytest.mark.requirement("signatures.profile")

TERMS = Terms(created=1_795_000_000, expires=1_795_000_300, nonce="abcdefghijklmnopqrstuv")
PARTS = [
    ";created=1795000000",
    ";expires=1795000300",
    ';nonce="abcdefghijklmnopqrstuv"',
    ';keyid="k1"',
    ';alg="hmac-sha256"',
    ';tag="elicit-sidecar"',
]
NAMES = '("@method" "@target-uri" "x-agent-id")'
INPUT = f"sig1={NAMES}{''.join(PARTS)}"


@pytest.mark.requirement("signatures.vectors")
def test_the_hmac_vector_of_the_rfc_is_byte_exact() -> None:
    # RFC 9421 appendix B.2.5, with the key of appendix B.1.5.
    secret = b64decode("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
    components = [
        ("date", b"Tue, 20 Apr 2021 02:07:55 GMT"),
        ("@authority", b"example.com"),
        ("content-type", b"application/json"),
    ]
    params = write_params([name for name, _ in components], {"created": 1618884473, "keyid": "test-shared-secret"})
    assert params == b'("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    base = signature_base(components, params)
    assert base == (
        b'"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
        b'"@authority": example.com\n'
        b'"content-type": application/json\n'
        b'"@signature-params": ("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    )
    mac = b64encode(hmac.digest(secret, base, "sha256"))
    assert mac == b"pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://bridge.example", "http://bridge.example"),
        ("HTTP://Bridge.EXAMPLE:80/", "http://bridge.example"),
        ("https://bridge.example:443", "https://bridge.example"),
        ("https://bridge.example:80", "https://bridge.example:80"),
        ("http://127.0.0.1:08765", "http://127.0.0.1:8765"),
        ("http://[::1]:8765/", "http://[::1]:8765"),
        ("http://[2001:DB8:0:0::1]", "http://[2001:db8::1]"),
        ("http://my_host.", "http://my_host."),
    ],
)
@pytest.mark.requirement("signatures.target")
def test_an_origin_has_one_spelling(url: str, origin: str) -> None:
    assert parse_origin(url).text == str(parse_origin(url)) == origin
    assert parse_origin(origin) == parse_origin(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bridge.example",
        "ftp://bridge.example",
        "http://",
        "http://user@bridge.example",
        "http://bridge.example/path",
        "http://bridge.example?q",
        "http://bridge.example#f",
        "http://bridge.example:0",
        "http://bridge.example:65536",
        "http://bridge.example:",
        "http://bridge.example\n",
        "http://brücke.example",
        "http://brid\u212ae.example",  # Kelvin sign, which is a k in lower case
        "http://[::1",
        "http://[1:2:3]",
        "http://[::1%25eth0]",
    ],
)
@pytest.mark.requirement("signatures.target")
def test_what_is_no_origin_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="origin"):
        parse_origin(url)


@given(st.text(max_size=60) | st.from_regex(r"https?://[\[\]:.@/a-f0-9]*", fullmatch=True))
def test_any_text_is_an_origin_in_its_one_spelling_or_refused(text: str) -> None:
    try:
        origin = parse_origin(text)
    except InvalidInput:
        return
    assert parse_origin(origin.text) == origin


@pytest.mark.parametrize(
    ("agent_id", "field"),
    [
        ("agent_17", b"agent_17"),
        ("team/a:b@host", b"team/a:b@host"),
        ("a b", b"a%20b"),
        ("a,b", b"a%2Cb"),
        ("50%", b"50%25"),
        ("#1", b"%231"),
        ('"', b"%22"),
        ("ü€😀", b"%C3%BC%E2%82%AC%F0%9F%98%80"),
    ],
)
def test_an_agent_is_named_in_visible_ascii(agent_id: str, field: bytes) -> None:
    assert write_agent(AgentId(agent_id)) == field
    assert read_agent(field) == agent_id


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"a b",
        b"a\n",
        b"\xc3\xbc",
        b"%",
        b"%4",
        b"%61",
        b"%c3%bc",
        b"%FF",
        b"%00",
        b"a,b",
        b"%ED%A0%80",
        b"a" * 301,
    ],
)
def test_a_second_spelling_of_an_agent_names_nobody(field: bytes) -> None:
    assert read_agent(field) is None


def test_the_longest_agent_id_has_a_name() -> None:
    agent_id = AgentId("😀" * 300)
    field = write_agent(agent_id)
    assert len(field) == MAX_AGENT_FIELD_BYTES
    assert read_agent(field) == agent_id
    assert not is_agent_field(field + b"a")


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=30))
def test_every_agent_is_read_as_itself_or_has_no_such_id(text: str) -> None:
    assert read_agent(write_agent(AgentId(text))) in {text, None if not text.isprintable() else text}


@given(st.binary(max_size=40))
def test_any_bytes_name_an_agent_in_one_spelling_or_nobody(value: bytes) -> None:
    agent_id = read_agent(value)
    assert agent_id is None or write_agent(agent_id) == value


def test_methods_and_targets_are_what_can_stand_in_one_line() -> None:
    assert is_method(b"GET")
    assert is_method(b"M-SEARCH")
    assert not any(map(is_method, (b"", b"GE T", b"GET\n", b'G"', b"G" * 33, b"\xc3")))
    assert is_target(b"/")
    assert is_target(b"/a/../b?x={|}\"<>%zz'")
    assert is_target(b"/" + b"a" * (MAX_TARGET_BYTES - 1))
    assert not any(map(is_target, (b"", b"*", b"a", b"http://h/", b"/a b", b"/a\n", b"/a#f", b"/\xc3", b"/\x7f")))
    assert not is_target(b"/" + b"a" * MAX_TARGET_BYTES)


def test_our_parameters_read_as_what_was_written() -> None:
    for names in (COVERED, COVERED_WITH_BODY):
        params = our_params(names, TERMS, "k1")
        assert parse_input(b"sig1=" + params) == SignatureInput(params=params, names=names, terms=TERMS, key_id="k1")


def test_parameters_are_taken_in_any_order_and_kept_in_theirs() -> None:
    for order in permutations(PARTS):
        given_order = parse_input(f"sig1={NAMES}{''.join(order)}".encode())
        assert given_order is not None
        assert (given_order.terms, given_order.key_id, given_order.names) == (TERMS, "k1", COVERED)
        assert given_order.params == f"{NAMES}{''.join(order)}".encode()


def test_each_parameter_comes_exactly_once() -> None:
    for part in PARTS:
        assert parse_input(INPUT.replace(part, "").encode()) is None
        assert parse_input((INPUT + part).encode()) is None
        for other in PARTS:
            assert (parse_input(INPUT.replace(part, other).encode()) is None) is (part != other)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sig1=", "sig2="),
        ("sig1=", "sig1= "),
        ("sig1=", ""),
        ("sig1=", "SIG1="),
        (NAMES, ""),
        (NAMES, "()" + NAMES),
        (NAMES, NAMES.replace(" ", "  ")),
        (NAMES, NAMES.replace("(", "( ")),
        (NAMES, NAMES.replace('"x-agent-id"', '"x-agent-id";sf')),
        (NAMES, NAMES.replace('"x-agent-id"', "x-agent-id")),
        (NAMES, NAMES.replace('"x-agent-id"', '"x-agent-id')),
        (";created=1795000000", "; created=1795000000"),
        (";created=1795000000", ";created=01795000000"),
        (";created=1795000000", ";created=-1"),
        (";created=1795000000", ";created=0"),
        (";created=1795000000", ";created=1795000000.0"),
        (";created=1795000000", ';created="1795000000"'),
        (";created=1795000000", ";created=?1"),
        (";created=1795000000", ";created=1795000300"),  # no time to live
        (";created=1795000000", ";created=1795000301"),
        (";expires=1795000300", f";expires={MAX_TIME + 1}"),
        ('"abcdefghijklmnopqrstuv"', '"abcdefghijklmno"'),
        ('"abcdefghijklmnopqrstuv"', f'"{"a" * 65}"'),
        ('"abcdefghijklmnopqrstuv"', '"abcdefghijklmnopq\\"rs"'),
        ('"abcdefghijklmnopqrstuv"', "abcdefghijklmnopqrstuv"),
        ('"k1"', '""'),
        ('"k1"', '"k 1"'),
        ('"k1"', f'"{"k" * 65}"'),
        ("hmac-sha256", "hmac-sha512"),
        ("hmac-sha256", "HMAC-SHA256"),
        ("hmac-sha256", "none"),
        ('"elicit-sidecar"', '"elicit-sidecar-event"'),
        ("tag=", "TAG="),
        ("tag=", "gat="),
        (INPUT, INPUT + ";x=1"),
        (INPUT, INPUT + ", sig2=()"),
        (INPUT, INPUT + "," + INPUT),
        (INPUT, INPUT + "\n"),
        (INPUT, INPUT + " "),
        (INPUT, " " + INPUT),
        (INPUT, INPUT.replace(";", "\n;", 1)),
    ],
)
def test_any_other_spelling_is_refused(old: str, new: str) -> None:
    assert old in INPUT
    assert parse_input(INPUT.replace(old, new, 1).encode()) is None


def test_a_field_beyond_its_bound_is_not_looked_at() -> None:
    names = " ".join(['"a"'] * 400)
    assert len(names) > MAX_INPUT_BYTES
    assert parse_input(INPUT.replace(NAMES, f"({names})").encode()) is None


def test_which_components_are_covered_is_told_as_it_stands_there() -> None:
    for names in ((), ("@method",), ("date", "@method", "date"), COVERED[::-1]):
        field = INPUT.replace(NAMES, "(" + " ".join(f'"{name}"' for name in names) + ")")
        found = parse_input(field.encode())
        assert found is not None
        assert found.names == names


@given(st.binary(max_size=300) | st.lists(st.sampled_from([*PARTS, "sig1=", NAMES, ";", '"']), max_size=9).map("".join))
def test_any_bytes_are_read_or_refused_and_never_raised_over(value: bytes | str) -> None:
    field = value.encode() if isinstance(value, str) else value
    found = parse_input(field)
    assert found is None or field == b"sig1=" + found.params


def test_terms_are_made_of_the_time_and_a_life() -> None:
    assert Terms.at(1_795_000_000.9, "abcdefghijklmnopqrstuv", life_s=300) == TERMS
    assert TERMS.is_writable()
    assert not Terms.at(0, TERMS.nonce, life_s=300).is_writable()
    assert not Terms.at(10, TERMS.nonce, life_s=0).is_writable()
    assert not Terms.at(MAX_TIME, TERMS.nonce, life_s=1).is_writable()
    assert not Terms.at(10, 'a"' * 10, life_s=300).is_writable()
