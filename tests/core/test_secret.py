import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.secret import Secret


def test_a_secret_shows_itself_in_no_text_form() -> None:
    secret = Secret("correct horse battery")
    assert repr(secret) == "Secret(...)"
    assert str(secret) == f"{secret}" == "Secret(...)"
    assert "horse" not in repr([secret])


def test_a_secret_matches_itself_and_nothing_else() -> None:
    secret = Secret("correct horse battery")
    assert secret.matches("correct horse battery")
    assert not secret.matches("correct horse batterY")
    assert not secret.matches("correct horse batter")
    assert not secret.matches("")


def test_a_candidate_of_undecodable_bytes_is_compared_and_not_raised_over() -> None:
    assert not Secret("pässword").matches("p\udce4ssword")
    assert Secret("pässword").matches("pässword")


def test_a_secret_is_revealed_only_when_asked_for() -> None:
    assert Secret("pässword").reveal() == "pässword"


def test_equal_secrets_have_equal_fingerprints_that_do_not_hold_the_text() -> None:
    assert Secret("correct horse").fingerprint() == Secret("correct horse").fingerprint()
    assert Secret("correct horse").fingerprint() != Secret("correct horsE").fingerprint()
    assert b"horse" not in Secret("correct horse").fingerprint()


def test_an_empty_secret_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="empty"):
        Secret("")


@given(st.text(st.characters(exclude_categories=[]), min_size=1), st.text(st.characters(exclude_categories=[])))
def test_matching_is_equality_of_texts(one: str, other: str) -> None:
    assert Secret(one).matches(other) is (one == other)
