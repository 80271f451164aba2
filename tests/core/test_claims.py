"""Whom a call names as the agent that makes it."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.claims import (
    MAX_FIELDS,
    claims_in_body,
    claims_in_path,
    claims_in_query,
    is_token_judged,
    names_agent_in_body,
    names_agent_in_query,
    plain_path,
)
from proxy.core.identity import NO_CLAIMS, Claims

pytestmark = pytest.mark.requirement("identity.claims")

WAITS = frozenset({"/event/wait"})
UNREADABLE = Claims(is_readable=False)


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/event/store", "agent_id"),
        ("/elicitation/create", "from_agent"),
        ("/elicitation/respond", "responding_agent"),
        ("/session/create", "agent_id"),
        ("/expert/register", "agent_id"),
        ("/validate", "agent_id"),
    ],
)
def test_the_member_of_each_call_that_says_who_makes_it(path: str, member: str) -> None:
    assert names_agent_in_body("POST", path)
    assert not names_agent_in_body("GET", path)
    body = {member: "bob", "to_agent": "carol", "data": {"agent_id": "nobody", "from_agent": "nobody"}}
    assert claims_in_body(path, orjson.dumps(body)) == Claims(("bob",))
    assert claims_in_body(path, b"{}") == NO_CLAIMS
    assert claims_in_body(path, orjson.dumps({member: ""})) == NO_CLAIMS
    assert claims_in_body(path, orjson.dumps({member: 7})) == UNREADABLE


def test_other_calls_name_nobody() -> None:
    assert not names_agent_in_body("POST", "/task/dispatch")
    assert claims_in_body("/task/dispatch", b'{"agent_id": "bob"}') == NO_CLAIMS


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"agent_id": "bob", "agent_id": "alice"}',
        b'{"agent_id": "bob", "n": NaN}',
        '{"agent_id": "bob"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"agent_id": "bob"}',
        b"[" * 100_000,
        b'{"agent_id": "bob", "d": ' + b"[" * 1_020 + b"]" * 1_020 + b"}",
    ],
)
def test_what_two_readers_may_take_differently_is_not_readable(body: bytes) -> None:
    assert claims_in_body("/event/store", body) == UNREADABLE


def test_what_is_no_object_names_nobody() -> None:
    assert claims_in_body("/event/store", b"[]") == NO_CLAIMS


def test_large_numbers_and_twins_of_other_members_are_the_bridges_to_judge() -> None:
    assert claims_in_body("/session/create", b'{"agent_id": "bob", "n": 123456789012345678}') == Claims(("bob",))


@pytest.mark.parametrize(
    ("query", "claims"),
    [
        ("agent_id=bob&since_sequence=1", Claims(("bob",))),
        ("agent_id=bob&agent_id=alice", Claims(("bob", "alice"))),
        ("agent%5Fid=b%6Fb", Claims(("bob",))),
        ("agent_id=", NO_CLAIMS),
        ("", NO_CLAIMS),
        ("&".join(["a=1"] * (MAX_FIELDS + 1)), UNREADABLE),
    ],
)
def test_a_query_names_everybody_that_stands_in_it(query: str, claims: Claims) -> None:
    assert claims_in_query(query) == claims


def test_the_calls_that_name_their_agent_in_the_query() -> None:
    named = [("GET", "/event/wait"), ("GET", "/elicitation/pending"), ("HEAD", "/event/wait")]
    assert all(names_agent_in_query(method, path, WAITS) for method, path in named)
    assert not names_agent_in_query("POST", "/event/wait", WAITS)
    assert not names_agent_in_query("GET", "/event/query", WAITS)


@given(st.text(max_size=80), st.binary(max_size=80))
def test_reading_never_fails(query: str, body: bytes) -> None:
    claims_in_query(query)
    claims_in_body("/event/store", body)


@pytest.mark.parametrize(
    "path",
    [
        "/event/wait",
        "//event/wait",
        "/event//wait/",
        "/EVENT/Wait",
        "/x/../event/./wait",
        "/../../event/wait",
        "/event%2fwait",
        "/event%25252Fwait",
        "/event/wait.",
        "/event/wait;a=b",
        "/event/wait /",
        "\\event\\wait",
        "/event/wait\x00.html",
        "event/wait",
    ],
)
def test_every_spelling_that_a_lenient_server_may_take_for_a_path_is_that_path(path: str) -> None:
    assert plain_path(path) == "/event/wait"


def test_other_paths_stay_others() -> None:
    assert plain_path("/event/wait/x") == "/event/wait/x"
    assert plain_path("/event/waiting") == "/event/waiting"
    assert plain_path("") == plain_path("/..") == "/"


@given(st.text(max_size=60))
def test_a_path_that_is_plain_stays_so_unless_it_is_decoded_again(path: str) -> None:
    plain = plain_path(path)
    assert plain.startswith("/")
    assert "//" not in plain
    if "%" not in plain:
        assert plain_path(plain) == plain


def test_where_the_bridge_asks_for_no_token_none_vouches_for_anybody() -> None:
    assert not is_token_judged("/session/create")
    assert not is_token_judged("/session/validate")
    assert not is_token_judged("/ws/bob")
    assert is_token_judged("/event/store")


def test_a_path_may_name_an_agent_itself() -> None:
    assert claims_in_path("/ws/Bob") == claims_in_path("//WS/Bob/") == Claims(("Bob",))
    assert claims_in_path("/event/query") == NO_CLAIMS
