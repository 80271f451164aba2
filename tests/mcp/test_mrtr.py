"""The result that asks, and the sealed state that comes back: genuine, in time and for its own call, or refused."""

import hashlib
import hmac
from base64 import urlsafe_b64decode

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import Fault, InvalidInput, InvalidState
from proxy.mcp.mrtr import (
    HANDLE_BYTES,
    OpenedState,
    SealKey,
    arguments_digest,
    input_required,
    is_ours,
    open_state,
    seal,
    state_refused,
)

pytestmark = pytest.mark.requirement("mcp.mrtr.seal")

OLD = SealKey(key_id="00000001", secret=b"o" * 32)
NEW = SealKey(key_id="00000002", secret=b"n" * 32)
HANDLE = bytes(range(HANDLE_BYTES))
EXPIRY = 1_800_000_600
NOW = EXPIRY - 600.0
STATE = seal(HANDLE, expires_at=EXPIRY, ring=[NEW, OLD], binding=b"alice")
OPENED = OpenedState(handle=HANDLE, expires_at=EXPIRY)

HANDLES = st.binary(min_size=HANDLE_BYTES, max_size=HANDLE_BYTES)


def refusal(state: object, *, now: float = NOW, ring: tuple[SealKey, ...] = (NEW, OLD), binding: bytes = b"") -> str:
    with pytest.raises(InvalidState) as caught:
        open_state(state, now=now, ring=ring, binding=binding)
    return state_refused(caught.value, 7).decode()


def is_refused(state: object, binding: bytes = b"alice") -> bool:
    try:
        open_state(state, now=NOW, ring=[NEW, OLD], binding=binding)
    except InvalidState:
        return True
    return False


@given(handle=HANDLES, expires_at=st.integers(1, 999_999_999_999), binding=st.binary(max_size=40))
def test_what_was_sealed_opens_again(handle: bytes, expires_at: int, binding: bytes) -> None:
    state = seal(handle, expires_at=expires_at, ring=[NEW], binding=binding)
    opened = open_state(state, now=expires_at - 1, ring=[NEW], binding=binding)
    assert opened == OpenedState(handle=handle, expires_at=expires_at)
    assert is_ours(state)
    assert len(state) < 120


def test_a_state_is_made_as_written_down() -> None:
    """The shape is kept over releases, as a state lives longer than the process that sealed it."""
    head, key_id, expiry, handle, mac = STATE.split(".")
    assert (head, key_id, expiry, handle) == ("esc1", "00000002", str(EXPIRY), "AAECAwQFBgcICQoLDA0ODw")
    body = b"00000002.1800000600.AAECAwQFBgcICQoLDA0ODw"
    sealed = b"elicit-sidecar request state 1\0" + hashlib.sha256(b"alice").digest() + body
    assert urlsafe_b64decode(mac + "=") == hmac.digest(NEW.secret, sealed, "sha256")


def test_nothing_of_what_it_is_bound_to_and_no_key_travels() -> None:
    assert "alice" not in STATE
    assert "nnnn" not in repr(NEW)


@pytest.mark.parametrize("place", range(len(STATE)))
def test_every_altered_character_is_refused(place: int) -> None:
    others = (chr(code) for code in range(128) if chr(code) != STATE[place])
    altered = [STATE[:place] + other + STATE[place + 1 :] for other in others]
    assert [state for state in altered if not is_refused(state)] == []


@pytest.mark.parametrize("place", range(len(STATE)))
def test_every_flipped_bit_dropped_or_doubled_character_is_refused(place: int) -> None:
    flipped = [STATE[:place] + chr(ord(STATE[place]) ^ 1 << bit) + STATE[place + 1 :] for bit in range(8)]
    dropped = STATE[:place] + STATE[place + 1 :]
    doubled = STATE[: place + 1] + STATE[place:]
    assert all(is_refused(state) for state in (*flipped, dropped, doubled))


@given(st.text(), st.integers(0, len(STATE)))
def test_what_is_put_in_anywhere_is_refused(text: str, place: int) -> None:
    state = STATE[:place] + text + STATE[place:]
    assert is_refused(state) == (state != STATE)


@given(handle=HANDLES, other=HANDLES)
def test_parts_of_two_genuine_states_make_no_third(handle: bytes, other: bytes) -> None:
    one, two = (seal(made, expires_at=EXPIRY, ring=[NEW], binding=b"alice").split(".") for made in (handle, other))
    assert is_refused(".".join((*one[:4], two[4]))) == (handle != other)


@pytest.mark.requirement("mcp.mrtr.expiry")
def test_a_state_opens_until_its_end_and_no_longer() -> None:
    for now in (0.0, EXPIRY - 1, EXPIRY - 0.001):
        assert open_state(STATE, now=now, ring=[NEW], binding=b"alice") == OPENED
    for now in (float(EXPIRY), EXPIRY + 0.001, EXPIRY * 2):
        refusal(STATE, now=now, binding=b"alice")


@pytest.mark.requirement("mcp.mrtr.ring")
def test_the_first_key_seals_and_every_key_of_the_ring_opens() -> None:
    before = seal(HANDLE, expires_at=EXPIRY, ring=[OLD])
    assert open_state(before, now=NOW, ring=[NEW, OLD]) == OPENED
    after = seal(HANDLE, expires_at=EXPIRY, ring=[NEW, OLD])
    assert open_state(after, now=NOW, ring=[NEW]) == OPENED
    refusal(before, ring=(NEW,))
    refusal(after, ring=(OLD,))
    refusal(after, ring=())


@pytest.mark.requirement("mcp.mrtr.ring")
def test_two_keys_of_one_name_are_both_tried_and_another_secret_never_opens() -> None:
    namesake = SealKey(key_id=NEW.key_id, secret=b"x" * 32)
    state = seal(HANDLE, expires_at=EXPIRY, ring=[NEW])
    assert open_state(state, now=NOW, ring=[namesake, NEW]) == OPENED
    refusal(state, ring=(namesake,))


@given(st.binary(max_size=40))
def test_it_opens_only_with_what_it_is_bound_to(binding: bytes) -> None:
    assert is_refused(STATE, binding) == (binding != b"alice")


@pytest.mark.parametrize(
    "state", [None, 7, True, b"esc1.", [STATE], {"state": STATE}, "", "esc1.", "v1.ERBz", STATE + "=", STATE.encode()]
)
def test_what_was_never_a_state_of_ours_is_refused(state: object) -> None:
    refusal(state)


@given(st.text())
def test_no_text_from_outside_does_more_than_be_refused(text: str) -> None:
    assert is_refused(text)
    assert is_refused("esc1." + text)


def test_a_huge_text_is_refused() -> None:
    for text in ("esc1." + "a" * 5_000_000, "esc1.a.1." + "." * 1_000_000, STATE + "A" * 1_000_000):
        assert is_refused(text)


@pytest.mark.requirement("mcp.mrtr.refusal")
def test_every_cause_is_told_by_the_same_words() -> None:
    causes = [
        refusal(None),
        refusal("v1.another's"),
        refusal(STATE, binding=b"mallory"),
        refusal(STATE[:-1] + ("A" if STATE[-1] != "A" else "B"), binding=b"alice"),
        refusal(STATE, now=EXPIRY, binding=b"alice"),
        refusal(STATE, ring=(OLD,), binding=b"alice"),
        # Where the store knows no such call any more, whoever asks it raises the same.
        state_refused(InvalidState(), 7).decode(),
    ]
    assert len(set(causes)) == 1
    assert orjson.loads(causes[0]) == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {
            "code": -32602,
            "message": "Invalid or expired requestState",
            "data": {"reason": "invalid_request_state"},
        },
    }


@pytest.mark.requirement("mcp.mrtr.refusal")
def test_a_refused_state_is_the_agents_mistake() -> None:
    error = InvalidState()
    assert isinstance(error, InvalidInput)
    assert (error.status, error.fault, error.retryable) == (400, Fault.AGENT, False)
    assert error.code == "invalid_request_state"


def test_states_of_others_are_left_to_the_upstream() -> None:
    assert is_ours(STATE)
    assert is_ours("esc1.broken")
    for state in ("v1.ERBz", "", "ESC1.", " esc1.", None, 7, STATE.encode()):
        assert not is_ours(state)


@pytest.mark.parametrize(
    ("handle", "expires_at", "ring"),
    [
        (HANDLE, EXPIRY, []),
        (HANDLE[:-1], EXPIRY, [NEW]),
        (HANDLE + b"x", EXPIRY, [NEW]),
        (HANDLE, -1, [NEW]),
        (HANDLE, 10**12, [NEW]),
        (HANDLE, EXPIRY, [SealKey(key_id="", secret=b"x")]),
        (HANDLE, EXPIRY, [SealKey(key_id="a.b", secret=b"x")]),
        (HANDLE, EXPIRY, [SealKey(key_id="a" * 17, secret=b"x")]),
    ],
)
def test_what_could_not_be_opened_is_not_sealed(handle: bytes, expires_at: int, ring: list[SealKey]) -> None:
    with pytest.raises(ValueError, match="expected a key"):
        seal(handle, expires_at=expires_at, ring=ring)


TEXTS = st.text(st.characters(exclude_categories=[]), max_size=8)


@given(st.tuples(TEXTS, TEXTS, st.binary(max_size=8)), st.tuples(TEXTS, TEXTS, st.binary(max_size=8)))
def test_two_requests_share_a_digest_only_when_they_are_the_same(
    one: tuple[str, str, bytes], other: tuple[str, str, bytes]
) -> None:
    assert (arguments_digest(*one) == arguments_digest(*other)) == (one == other)
    assert len(arguments_digest(*one)) == 32


def test_nothing_moves_from_one_part_of_a_request_into_the_next() -> None:
    assert arguments_digest("tools/call", "a", b"{}") != arguments_digest("tools/call", "a{", b"}")
    assert arguments_digest("tools/call", "a\0{}", b"") != arguments_digest("tools/call", "a", b"{}")


@pytest.mark.requirement("mcp.mrtr.result")
def test_the_result_asks_and_carries_the_state_and_nothing_else() -> None:
    asks = {"esc:1": {"method": "elicitation/create", "params": {"mode": "form"}}}
    assert input_required(asks, STATE) == {
        "resultType": "input_required",
        "inputRequests": asks,
        "requestState": STATE,
    }


@pytest.mark.requirement("mcp.mrtr.result")
def test_without_requests_the_result_asks_to_come_again() -> None:
    assert input_required({}, STATE) == {"resultType": "input_required", "requestState": STATE}


@pytest.mark.requirement("mcp.mrtr.result")
def test_the_result_tells_who_serves_where_that_is_given() -> None:
    info = {"name": "bus", "version": "1"}
    assert input_required({}, STATE, info)["_meta"] == {"io.modelcontextprotocol/serverInfo": info}
