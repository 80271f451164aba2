"""Tokens of the Bridge: whose they are, and that nothing else passes for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bridge_token import is_not_the_speakers, issued_to
from proxy.core.secret import Secret

pytestmark = pytest.mark.requirement("sessions.own_token")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_second_field_names_the_agent(scheme: str) -> None:
    assert issued_to(Secret(f"{scheme} 1a2b..:alice:1795386707.7363582:1a6237..")) == "alice"


@pytest.mark.parametrize(
    "text",
    ["1a2b:alice:1.5:ffff", "Basic 1a2b:alice:1.5:ffff", "Bearer", "Bearer ", "Bearer alice", "Bearer:alice", ":alice"],
)
def test_what_is_no_token_of_the_bridge_is_nobodys(text: str) -> None:
    assert issued_to(Secret(text)) is None


@pytest.mark.parametrize("text", ["Bearer a::1.5:ffff", "Bearer :"])
def test_a_token_without_a_name_is_issued_to_the_nameless(text: str) -> None:
    assert issued_to(Secret(text)) == ""


@given(st.text(st.characters(exclude_characters=":"), max_size=30), st.text(max_size=30))
def test_whatever_follows_the_name_does_not_change_it(name: str, rest: str) -> None:
    assert issued_to(Secret(f"Bearer s:{name}:{rest}")) == name


@given(st.text(min_size=1))
def test_any_text_is_read_without_an_error(text: str) -> None:
    found = issued_to(Secret(text))
    assert found is None or ":" not in found


@pytest.mark.requirement("answers.foreign_token")
@pytest.mark.parametrize(
    ("status", "body", "says_so"),
    [
        (500, b'{"detail":"Invalid agent session token"}', True),
        (500, b'{"detail":"401: Invalid agent session token"}', True),
        (400, b'{"detail":"Invalid agent session token"}', False),
        (500, b'{"detail":"Response does not match requested schema"}', False),
        (500, b'{"detail":["Invalid agent session token"]}', False),
        (500, b'["Invalid agent session token"]', False),
        (500, b"Invalid agent session token", False),
    ],
)
def test_only_the_bridges_own_words_say_that_a_token_is_not_the_speakers(
    status: int, body: bytes, *, says_so: bool
) -> None:
    assert is_not_the_speakers(status, body) is says_so
