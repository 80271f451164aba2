"""Bridge sessions, without a server and without waiting."""

import pytest

from proxy.devbridge import sessions
from proxy.devbridge.sessions import SessionBook, agent_of


def open_one(book: SessionBook, agent_id: str = "alice", now: float = 0.0) -> str:
    return book.open(agent_id, "127.0.0.1", "test", now).token


@pytest.mark.parametrize(
    ("token", "agent_id"), [("s:alice:1.0:ff", "alice"), ("s::1:ff", ""), ("nothing", "mcp_server")]
)
def test_the_agent_is_the_second_part_of_a_token(token: str, agent_id: str) -> None:
    assert agent_of(token) == agent_id


def test_a_token_is_valid_for_its_own_agent_only() -> None:
    book = SessionBook(b"key")
    token = open_one(book)
    assert book.validate(token, "alice", 1.0)
    assert not book.validate(token, "bob", 1.0)
    assert not book.validate(token + "0", "alice", 1.0)


def test_a_token_of_another_process_is_unknown() -> None:
    assert not SessionBook(b"key").validate(open_one(SessionBook(b"key")), "alice", 1.0)


def test_an_agent_id_with_a_colon_gets_a_token_that_never_works() -> None:
    book = SessionBook(b"key")
    token = open_one(book, "a:b")
    assert not book.validate(token, agent_of(token), 1.0)


def test_a_fourth_session_revokes_the_oldest_of_that_agent() -> None:
    book = SessionBook(b"key")
    others = open_one(book, "bob")
    tokens = [open_one(book) for _ in range(4)]
    assert [book.validate(token, "alice", 1.0) for token in tokens] == [False, True, True, True]
    assert book.validate(others, "bob", 1.0)


def test_a_token_lives_an_hour_after_its_last_call() -> None:
    book = SessionBook(b"key")
    token = open_one(book)
    assert book.validate(token, "alice", 3600.0)
    assert book.validate(token, "alice", 7200.0)
    assert not book.validate(token, "alice", 10_801.0)
    assert len(book) == 0


def test_another_address_or_user_agent_is_refused_when_it_is_given() -> None:
    book = SessionBook(b"key")
    token = open_one(book)
    assert not book.validate(token, "alice", 1.0, ip_address="10.0.0.1")
    assert not book.validate(token, "alice", 1.0, user_agent="other")
    assert book.validate(token, "alice", 1.0, ip_address="127.0.0.1", user_agent="test")


def test_more_than_100_calls_a_minute_are_refused_once_the_session_is_older_than_a_minute() -> None:
    book = SessionBook(b"key")
    token = open_one(book)
    assert all(book.validate(token, "alice", 60.0) for _ in range(130))
    assert not book.validate(token, "alice", 62.0)
    assert book.validate(token, "alice", 62.0, abuse_rule=False)
    assert book.validate(token, "alice", 86.0)


def test_the_number_of_sessions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    book = SessionBook(b"key")
    tokens = [open_one(book, agent_id) for agent_id in ("a", "b", "c")]
    assert [book.validate(token, agent_of(token), 1.0) for token in tokens] == [False, True, True]
