"""The text of a key file: what is written is read, what is wrong is told by line, and never shows a secret."""

from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.ids import AgentId
from proxy.core.key_file import MAX_KEY_FILE_BYTES, MAX_PROBLEMS, KeyProblem, parse_keys, write_keys
from proxy.core.key_ring import ENTROPY_BYTES, MAX_KEYS, MAX_USABLE_KEYS, Key, KeyRing, KeyState, new_key

pytestmark = pytest.mark.requirement("signatures.keys")

SECRET = b64encode(b"a secret of thirty-two bytes ...").decode()
LINE = f"alice k1 active 2026-11-23T06:52:00Z {SECRET}"

agent_ids = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12).map(AgentId)


@st.composite
def rings(draw: st.DrawFn) -> KeyRing:
    ring = KeyRing()
    for number in range(draw(st.integers(0, 6))):
        entropy = number.to_bytes(8, "big") + draw(st.binary(min_size=24, max_size=24)) + number.to_bytes(8, "big")
        key = new_key(draw(agent_ids), entropy=entropy, created_at=draw(st.integers(0, 253402300799)))
        state = draw(st.sampled_from(KeyState))
        ring = ring.with_key(replace(key, state=state, secret=None if state is KeyState.REVOKED else key.secret))
    return ring


def told(ring: KeyRing) -> list[tuple[object, ...]]:
    return [
        (key.key_id, key.agent_id, key.state, key.created_at, key.secret and key.secret.reveal()) for key in ring.keys
    ]


@given(rings())
def test_a_ring_that_is_written_is_read_as_itself(ring: KeyRing) -> None:
    found = parse_keys(write_keys(ring))
    assert isinstance(found, KeyRing)
    assert told(found) == told(ring)
    assert write_keys(found) == write_keys(ring)


def test_blank_lines_and_comments_are_skipped_and_a_text_without_keys_is_an_empty_ring() -> None:
    found = parse_keys(f"# keys\n\n  {LINE} \r\n\t\n#{LINE}\n")
    assert isinstance(found, KeyRing)
    assert [(key.agent_id, key.key_id, key.created_at) for key in found.keys] == [("alice", "k1", 1_795_416_720)]
    empty = parse_keys("# none yet\n")
    assert isinstance(empty, KeyRing)
    assert empty.keys == ()


def test_a_revoked_key_is_written_without_its_secret() -> None:
    found = parse_keys(LINE)
    assert isinstance(found, KeyRing)
    assert write_keys(found.revoked("k1")).endswith("alice k1 revoked 2026-11-23T06:52:00Z -\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("alice k1 active", "AGENT KEY-ID STATE CREATED SECRET"),
        (f"{LINE} more", "AGENT KEY-ID STATE CREATED SECRET"),
        (LINE.replace("alice", "ali,ce"), "the name of an agent"),
        (LINE.replace("alice", "%61lice"), "the name of an agent"),
        (LINE.replace("alice", "\udcff"), "the name of an agent"),
        (LINE.replace("k1", "k/1"), "a key id"),
        (LINE.replace("active", "Active"), "the state active, retiring or revoked"),
        (LINE.replace("2026-11-23T", "2026-11-23 "), "AGENT KEY-ID"),
        (LINE.replace("00Z", "00"), "a date such as"),
        (LINE.replace("2026-11", "2026-13"), "a date such as"),
        (LINE.replace("2026", "1969"), "a date such as"),
        (LINE.replace("active", "revoked"), "- in place of the secret"),
        (LINE.replace(SECRET, "-"), "a secret of 32 to 128 bytes"),
        (LINE.replace(SECRET, SECRET[:-2]), "a secret of 32 to 128 bytes"),
    ],
)
def test_a_line_that_is_wrong_is_named_with_what_was_expected_and_no_secret(line: str, expected: str) -> None:
    problems = parse_keys(f"# first\n{line}\n")
    assert isinstance(problems, tuple)
    (problem,) = problems
    assert (problem.line, problem.expected[: len(expected)]) == (2, expected)
    assert SECRET[:10] not in f"{problem.expected}{problem.got}"


def test_keys_that_do_not_fit_together_are_refused() -> None:
    for text in (f"{LINE}\n{LINE}", f"{LINE}\n{LINE.replace('k1', 'k2')}"):
        problems = parse_keys(text)
        assert isinstance(problems, tuple)
        assert [(problem.line, problem.expected) for problem in problems] == [(0, "keys that fit together")]
        assert SECRET[:10] not in problems[0].got
    many = parse_keys("".join(_line_of(_key(number)) for number in range(MAX_USABLE_KEYS + 1)))
    assert isinstance(many, tuple)


def test_a_text_beyond_its_bounds_is_refused_after_so_much_of_it() -> None:
    assert parse_keys("#" * (MAX_KEY_FILE_BYTES + 1)) == (KeyProblem(0, f"at most {MAX_KEY_FILE_BYTES} bytes", "more"),)
    assert len(parse_keys("wrong\n" * 1_000) or ()) == MAX_PROBLEMS  # type: ignore[arg-type] # problems, not a ring
    lines = "".join(f"a k{number} revoked 2026-11-23T06:52:00Z -\n" for number in range(MAX_KEYS + 10))
    problems = parse_keys(lines)
    assert isinstance(problems, tuple)
    assert "at most 10000 keys" in problems[0].got


@given(
    st.text(st.characters(exclude_categories=[]), max_size=80)
    | st.lists(st.sampled_from([*LINE.split(), "revoked", "-", "\n", "#", "bob", "k2"]), max_size=14).map(" ".join)
)
def test_any_text_is_a_ring_or_has_problems(text: str) -> None:
    found = parse_keys(text)
    assert isinstance(found, KeyRing) or (found and all(isinstance(problem, KeyProblem) for problem in found))


def _key(number: int) -> Key:
    entropy = number.to_bytes(ENTROPY_BYTES // 2, "big") * 2
    return new_key(AgentId("alice"), entropy=entropy, created_at=1)


def _line_of(key: Key) -> str:
    return write_keys(KeyRing([key])).splitlines(keepends=True)[-1]
