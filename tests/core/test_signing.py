"""Signed calls: what is made is accepted, each reason to refuse is told, and time is judged to the second."""

import math
from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.content_digest import DigestAlgorithm, write_digest
from proxy.core.errors import InvalidInput
from proxy.core.hop import RawHeaders
from proxy.core.ids import AgentId
from proxy.core.key_ring import Key, KeyRing, KeyState, new_key
from proxy.core.signature_fields import (
    ALGORITHM,
    COVERED,
    COVERED_WITH_BODY,
    TAG,
    Terms,
    parse_origin,
    signature_base,
    write_params,
)
from proxy.core.signing import (
    MAX_ORIGINS,
    Call,
    Refusal,
    Verdict,
    Verifier,
    Window,
    sign_call,
    unsigned,
)

pytestmark = pytest.mark.requirement("signatures.profile")

ALICE, BOB = AgentId("alice"), AgentId("bob, the ü")
KEY = new_key(ALICE, entropy=bytes(range(40)), created_at=1)
BOBS = new_key(BOB, entropy=bytes(range(1, 41)), created_at=1)
RING = KeyRing([KEY, BOBS])
ORIGIN = parse_origin("http://bridge.example:8765")
VERIFIER = Verifier(RING, origins=[ORIGIN])
NOW = 1_795_000_000
TERMS = Terms(created=NOW, expires=NOW + 300, nonce="abcdefghijklmnopqrstuv")
BODY = b'{"data": 1}'


def signed(*, key: Key = KEY, body: bytes = b"", terms: Terms = TERMS, target: bytes = b"/event/store?x=%2f") -> Call:
    fields = sign_call(
        key,
        method=b"POST",
        target=target,
        origin=ORIGIN,
        terms=terms,
        digest=write_digest(body) if body else None,
    )
    return Call(method=b"POST", target=target, headers=[(b"Host", b"x"), *fields], has_body=bool(body))


def by_hand(names: tuple[str, ...], *, body: bytes = b"", fields: RawHeaders | None = None) -> Call:
    """A call that is truly signed, over whatever is named."""
    said: dict[str, int | str] = {"created": TERMS.created, "expires": TERMS.expires}
    said.update(nonce=TERMS.nonce, keyid=KEY.key_id, alg=ALGORITHM, tag=TAG)
    params = write_params(names, said)
    values = {
        "@method": b"GET",
        "@target-uri": b"http://bridge.example:8765/",
        "x-agent-id": KEY.agent_field,
        "content-digest": write_digest(body),
        "date": b"today",
    }
    mac = KEY.mac(signature_base([(name, values[name]) for name in names], params))
    own = [(b"signature-input", b"sig1=" + params), (b"signature", b"sig1=:" + b64encode(mac) + b":")]
    others = [(b"X-Agent-Id", KEY.agent_field)] if fields is None else fields
    return Call(method=b"GET", target=b"/", headers=[*own, *others], has_body=bool(body))


def with_field(call: Call, name: bytes, value: bytes | None) -> Call:
    kept = [pair for pair in call.headers if pair[0].lower() != name.lower()]
    return replace(call, headers=kept if value is None else [*kept, (name, value)])


def test_a_signed_call_is_accepted_with_who_signed_it_and_until_when_its_nonce_counts() -> None:
    assert VERIFIER.verify_whole(signed(), b"", NOW) == Verdict(
        agent_id=ALICE,
        key_id=KEY.key_id,
        nonce=TERMS.nonce,
        created=NOW,
        expires=NOW + 300,
        good_until=NOW + 305,
    )
    verdict = VERIFIER.verify_whole(signed(key=BOBS, body=BODY), BODY, NOW)
    assert isinstance(verdict, Verdict)
    assert verdict.agent_id == BOB


def test_the_fields_of_a_signed_call_are_as_documented() -> None:
    # The value was computed with openssl dgst -sha256 -mac HMAC.
    assert sign_call(KEY, method=b"POST", target=b"/mcp", origin=ORIGIN, terms=TERMS, digest=write_digest(BODY)) == [
        (b"X-Agent-Id", b"alice"),
        (b"Content-Digest", write_digest(BODY)),
        (
            b"Signature-Input",
            (
                b'sig1=("@method" "@target-uri" "content-digest" "x-agent-id");created=1795000000;expires=1795000300;'
                b'nonce="abcdefghijklmnopqrstuv";keyid="k2021222324252627";alg="hmac-sha256";tag="elicit-sidecar"'
            ),
        ),
        (b"Signature", b"sig1=:akOIwHWuuh++TYtIwVdnpY/Y931XHJ97IoqjlX8OWEs=:"),
    ]


def test_fields_that_a_signer_sets_can_be_taken_off_a_head() -> None:
    call = signed(body=BODY)
    assert unsigned(call.headers) == [(b"Host", b"x")]
    assert unsigned([(b"SIGNATURE", b""), (b"x-agent-ID", b""), (b"x", b"")]) == [(b"x", b"")]


texts = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
nonces = st.from_regex(r"[A-Za-z0-9+/=_-]{16,64}", fullmatch=True)
lines = st.tuples(st.from_regex(rb"[A-Z]{1,10}", fullmatch=True), st.from_regex(rb"/[!\"$-~]{0,60}", fullmatch=True))


@given(texts.map(AgentId), lines, st.binary(max_size=50), st.data())
def test_whatever_is_signed_is_accepted_in_its_time_and_refused_out_of_it(
    agent_id: AgentId, line: tuple[bytes, bytes], body: bytes, data: st.DataObject
) -> None:
    key = new_key(agent_id, entropy=data.draw(st.binary(min_size=40, max_size=40)), created_at=1)
    life_s, nonce = data.draw(st.integers(1, 300)), data.draw(nonces)
    terms = Terms.at(data.draw(st.floats(1, 1e10)), nonce, life_s=life_s)
    algorithm = data.draw(st.sampled_from(DigestAlgorithm))
    digest = write_digest(body, algorithm) if body else None
    fields = sign_call(key, method=line[0], target=line[1], origin=ORIGIN, terms=terms, digest=digest)
    call = Call(method=line[0], target=line[1], headers=data.draw(st.permutations(fields)), has_body=bool(body))
    verifier = Verifier(KeyRing([key]), origins=[ORIGIN])
    now = terms.created + data.draw(st.floats(-5, life_s + 4.999))
    verdict = verifier.verify_whole(call, body, now)
    assert isinstance(verdict, Verdict)
    assert (verdict.agent_id, verdict.nonce) == (agent_id, nonce)
    assert verifier.verify_whole(call, body, verdict.good_until) is Refusal.EXPIRED
    assert verifier.verify_whole(call, body + b"!", now) is Refusal.DIGEST_MISMATCH


@given(st.data())
def test_a_change_of_any_signed_byte_is_refused(data: st.DataObject) -> None:
    call = signed(body=BODY)
    name, value = data.draw(st.sampled_from([(b"method", call.method), (b"target", call.target), *call.headers[1:]]))
    at = data.draw(st.integers(0, len(value) - 1))
    changed = value[:at] + data.draw(st.binary(max_size=2)) + value[at + data.draw(st.integers(0, 2)) :]
    match name:
        case b"method":
            altered, is_same = replace(call, method=changed), changed == value
        case b"target":
            altered, is_same = replace(call, target=changed), changed == value
        case _:
            altered, is_same = with_field(call, name, changed), changed.strip(b" \t") == value
    assert isinstance(VERIFIER.verify_whole(altered, BODY, NOW), Verdict) is is_same


@given(
    st.binary(max_size=20),
    st.binary(max_size=80),
    st.lists(
        st.tuples(
            st.sampled_from([b"signature", b"Signature-Input", b"x-agent-id", b"content-digest", b"x"]),
            st.binary(max_size=60) | st.sampled_from([value for _, value in signed(body=BODY).headers]),
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_any_head_is_judged_and_never_raised_over(
    method: bytes,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    has_body: bool,  # noqa: FBT001 - drawn
) -> None:
    call = Call(method=method, target=target, headers=headers, has_body=has_body)
    assert isinstance(VERIFIER.verify(call, NOW), Refusal)


@pytest.mark.requirement("signatures.window")
@pytest.mark.parametrize(
    ("offset", "refusal"),
    [
        (-6, Refusal.NOT_YET),
        (-5.001, Refusal.NOT_YET),
        (-5, None),
        (-4, None),
        (0, None),
        (299, None),
        (300, None),
        (301, None),
        (304, None),
        (304.999, None),
        (305, Refusal.EXPIRED),
        (306, Refusal.EXPIRED),
        (1e12, Refusal.EXPIRED),
        (-math.inf, Refusal.NOT_YET),
        (math.inf, Refusal.EXPIRED),
        (math.nan, Refusal.NOT_YET),
    ],
)
def test_a_signature_is_good_from_five_seconds_before_it_was_made_to_five_after_it_expires(
    offset: float, refusal: Refusal | None
) -> None:
    found = VERIFIER.verify(signed(), NOW + offset)
    assert (found if isinstance(found, Refusal) else None) is refusal


@pytest.mark.requirement("signatures.window")
@pytest.mark.parametrize(("life_s", "refusal"), [(299, None), (300, None), (301, Refusal.TOO_LONG_LIVED)])
def test_a_signature_may_be_meant_for_three_hundred_seconds_and_not_for_one_more(
    life_s: int, refusal: Refusal | None
) -> None:
    found = VERIFIER.verify(signed(terms=replace(TERMS, expires=NOW + life_s)), NOW)
    assert (found if isinstance(found, Refusal) else None) is refusal


@pytest.mark.requirement("signatures.window")
@pytest.mark.parametrize("skew_s", [0, 60])
def test_the_window_is_the_verifiers_own(skew_s: int) -> None:
    window = Window(life_s=10, skew_s=skew_s)
    verifier = Verifier(RING, origins=[ORIGIN], window=window)
    call = signed(terms=replace(TERMS, expires=NOW + 10))
    first, last = NOW - skew_s, NOW + 10 + skew_s - 1
    assert verifier.verify(call, first - 1) is Refusal.NOT_YET
    assert isinstance(verifier.verify(call, first), Verdict)
    assert isinstance(verifier.verify(call, last), Verdict)
    assert verifier.verify(call, last + 1) is Refusal.EXPIRED
    assert verifier.verify(signed(), NOW) is Refusal.TOO_LONG_LIVED


def test_a_call_without_a_signature_has_none_whatever_else_it_says() -> None:
    bare = [(b"X-Agent-Id", b"alice"), (b"x-agent-id", b"bob"), (b"Content-Digest", b"?")]
    assert VERIFIER.verify(Call(method=b"?", target=b"", headers=bare, has_body=True), NOW) is Refusal.ABSENT


def test_half_a_signature_or_a_repeated_field_is_malformed() -> None:
    call = signed(body=BODY)
    assert VERIFIER.verify(with_field(call, b"Signature", None), NOW) is Refusal.MALFORMED
    assert VERIFIER.verify(with_field(call, b"Signature-Input", None), NOW) is Refusal.MALFORMED
    for name, value in call.headers[1:]:
        twice = replace(call, headers=[*call.headers, (name.upper(), value)])
        assert VERIFIER.verify(twice, NOW) is Refusal.MALFORMED


def test_blanks_around_a_field_and_the_case_of_its_name_mean_nothing() -> None:
    call = signed(body=BODY)
    padded = [(name.swapcase(), b" \t" + value + b"\t ") for name, value in call.headers]
    assert isinstance(VERIFIER.verify_whole(replace(call, headers=padded), BODY, NOW), Verdict)


@pytest.mark.parametrize(
    "names",
    [
        (),
        COVERED[:2],
        COVERED[1:],
        ("@method", "x-agent-id"),
        ("@method", "@target-uri", "content-digest"),
    ],
)
def test_a_true_signature_that_leaves_something_out_is_refused(names: tuple[str, ...]) -> None:
    assert VERIFIER.verify(by_hand(names), NOW) is Refusal.MISSING_COMPONENT


@pytest.mark.parametrize("names", [(*COVERED, "date"), COVERED[::-1], (*COVERED, "x-agent-id")])
def test_a_true_signature_over_more_or_in_another_order_is_malformed(names: tuple[str, ...]) -> None:
    assert VERIFIER.verify(by_hand(names), NOW) is Refusal.MALFORMED


def test_a_body_has_to_be_covered_and_so_has_a_digest_that_is_there() -> None:
    assert VERIFIER.verify(replace(signed(), has_body=True), NOW) is Refusal.MISSING_COMPONENT
    added = with_field(signed(), b"Content-Digest", write_digest(b""))
    assert VERIFIER.verify(added, NOW) is Refusal.MISSING_COMPONENT
    agent = (b"X-Agent-Id", KEY.agent_field)
    named = by_hand(COVERED_WITH_BODY, fields=[agent])
    assert VERIFIER.verify(named, NOW) is Refusal.MISSING_COMPONENT
    unread = by_hand(COVERED_WITH_BODY, fields=[agent, (b"content-digest", b"sha-256=:?:")])
    assert VERIFIER.verify(unread, NOW) is Refusal.MALFORMED


def test_an_agent_that_is_covered_has_to_be_named() -> None:
    assert VERIFIER.verify(by_hand(COVERED, fields=[]), NOW) is Refusal.MISSING_COMPONENT
    assert VERIFIER.verify(by_hand(COVERED, fields=[(b"X-Agent-Id", b"a\nb")]), NOW) is Refusal.MALFORMED
    assert VERIFIER.verify(by_hand(COVERED, fields=[(b"X-Agent-Id", b"")]), NOW) is Refusal.MALFORMED


def test_the_body_is_the_one_that_was_signed() -> None:
    call = signed(body=BODY)
    verdict = VERIFIER.verify(call, NOW)
    assert isinstance(verdict, Verdict)
    assert verdict.digest is not None
    assert verdict.digest.matches(BODY)
    for body in (b"", BODY[:-1], BODY + b" ", BODY.replace(b"1", b"2")):
        assert VERIFIER.verify_whole(call, body, NOW) is Refusal.DIGEST_MISMATCH
    assert VERIFIER.verify_whole(signed(), b"x", NOW) is Refusal.DIGEST_MISMATCH
    # No body follows, so the one that was signed is missing; one that is empty is not.
    assert VERIFIER.verify(replace(call, has_body=False), NOW) is Refusal.DIGEST_MISMATCH
    empty = by_hand(COVERED_WITH_BODY, fields=[(b"X-Agent-Id", b"alice"), (b"Content-Digest", write_digest(b""))])
    assert isinstance(VERIFIER.verify(empty, NOW), Verdict)


@pytest.mark.requirement("signatures.keys")
def test_a_key_verifies_until_it_is_revoked_and_a_strange_one_never_does() -> None:
    call = signed()
    assert isinstance(_verifier(RING.retired(KEY.key_id)).verify(call, NOW), Verdict)
    assert isinstance(_verifier(RING.rotated(_other_key())).verify(call, NOW), Verdict)
    assert _verifier(RING.revoked(KEY.key_id)).verify(call, NOW) is Refusal.REVOKED_KEY
    assert _verifier(RING.revoked(KEY.key_id).without(KEY.key_id)).verify(call, NOW) is Refusal.UNKNOWN_KEY
    forged = replace(_other_key(), key_id=KEY.key_id)
    assert VERIFIER.verify(signed(key=forged), NOW) is Refusal.BAD_SIGNATURE


def test_a_key_speaks_for_its_own_agent_only() -> None:
    as_bob = replace(KEY, agent_id=BOB)
    assert VERIFIER.verify(signed(key=as_bob), NOW) is Refusal.AGENT_MISMATCH
    assert VERIFIER.verify(with_field(signed(), b"X-Agent-Id", BOBS.agent_field), NOW) is Refusal.BAD_SIGNATURE


def test_what_is_wrong_is_told_in_the_order_in_which_it_can_be_believed() -> None:
    late = NOW + 10_000
    assert VERIFIER.verify(signed(key=replace(KEY, agent_id=BOB)), late) is Refusal.AGENT_MISMATCH
    assert VERIFIER.verify(signed(key=replace(_other_key(), key_id=KEY.key_id)), late) is Refusal.BAD_SIGNATURE
    assert VERIFIER.verify_whole(signed(body=BODY), b"", late) is Refusal.EXPIRED


@pytest.mark.requirement("signatures.target")
@pytest.mark.parametrize(
    "url",
    [
        "https://bridge.example:8765",
        "http://bridge.example",
        "http://other.example:8765",
        "http://bridge.example.:8765",
    ],
)
def test_a_call_that_was_signed_for_another_server_is_refused_whatever_its_host_says(url: str) -> None:
    verifier = Verifier(RING, origins=[parse_origin(url)])
    assert verifier.verify(with_field(signed(), b"Host", b"bridge.example:8765"), NOW) is Refusal.BAD_SIGNATURE


@pytest.mark.requirement("signatures.target")
def test_a_server_may_be_called_by_several_origins() -> None:
    others = [parse_origin(f"https://other-{number}.example") for number in range(MAX_ORIGINS - 1)]
    assert isinstance(Verifier(RING, origins=[*others, ORIGIN]).verify(signed(), NOW), Verdict)
    assert isinstance(Verifier(RING, origins=[ORIGIN, *others]).verify(signed(), NOW), Verdict)
    for origins in ([], [ORIGIN, ORIGIN, *others]):
        with pytest.raises(ValueError, match="1 to 8 origins"):
            Verifier(RING, origins=origins)


@pytest.mark.requirement("signatures.target")
@pytest.mark.parametrize("target", [b"/event/store?x=%2F", b"/event/./store?x=%2f", b"//event/store?x=%2f", b"/event"])
def test_a_target_is_compared_as_it_stands_on_the_wire(target: bytes) -> None:
    assert VERIFIER.verify(replace(signed(), target=target), NOW) is Refusal.BAD_SIGNATURE


@pytest.mark.parametrize("target", [b"*", b"", b"http://bridge.example:8765/", b"/a b", b"/a\n"])
def test_a_target_that_is_not_in_origin_form_is_neither_signed_nor_taken(target: bytes) -> None:
    assert VERIFIER.verify(replace(signed(), target=target), NOW) is Refusal.MALFORMED
    with pytest.raises(InvalidInput, match="origin form"):
        signed(target=target)


@pytest.mark.parametrize("method", [b"", b"PO ST", b"POST\n", b"P" * 33])
def test_a_method_that_is_none_is_not_taken(method: bytes) -> None:
    assert VERIFIER.verify(replace(signed(), method=method), NOW) is Refusal.MALFORMED


def test_only_an_active_key_signs_and_only_terms_in_order() -> None:
    for key, terms in (
        (replace(KEY, state=KeyState.RETIRING), TERMS),
        (replace(KEY, state=KeyState.REVOKED, secret=None), TERMS),
        (KEY, replace(TERMS, expires=NOW)),
        (KEY, replace(TERMS, nonce="short")),
    ):
        with pytest.raises(ValueError, match="active key"):
            signed(key=key, terms=terms)
    for method, digest in ((b"G T", None), (b"GET", b"md5=:AA==:")):
        with pytest.raises(InvalidInput, match="Content-Digest that can be signed"):
            sign_call(KEY, method=method, target=b"/", origin=ORIGIN, terms=TERMS, digest=digest)


def _verifier(ring: KeyRing) -> Verifier:
    return Verifier(ring, origins=[ORIGIN])


def _other_key() -> Key:
    return new_key(ALICE, entropy=bytes(range(9, 49)), created_at=2)
