"""What signing and verifying a call costs, as ratios to a bare HMAC over the same bytes in the same run.

Contenders take turns call by call, so that a neighbour's load meets all of them alike; of each the median call counts,
less what it costs to time nothing. Only ratios are headlines. Exit code 1 where verifying is dearer than it may be, or
where anything was judged wrongly.
"""

import argparse
import hmac
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from bench.facts import describe, facts, write_result
from bench.quantiles import median, quantile
from proxy.core.content_digest import write_digest
from proxy.core.event_signing import sign_event, verify_event
from proxy.core.ids import AgentId
from proxy.core.key_ring import ENTROPY_BYTES, KeyRing, new_key
from proxy.core.signature_fields import COVERED_WITH_BODY, Terms, our_params, parse_origin, signature_base
from proxy.core.signing import Call, Refusal, Verifier, sign_call

NAME: Final = "signing_cost"

MAX_RATIO: Final = 25.0
"""Dearest verification, in bare HMACs. Source: 50 µs at the median where a bare HMAC of a call takes 2 µs."""

NOW: Final = 1_795_000_000
BARE, VERIFY = "bare_hmac", "verify"

_NOTHING: Final = "nothing"
_BODY: Final = b'{"agent_id":"agent_17","event_type":"elicitation_response","data":{"elicitation_id":"e","ok":true}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    calls: int
    rounds: int
    json: Path | None


def main() -> int:
    """Run the benchmark; the exit code."""
    given = _arguments()
    known = facts()
    print("signing and verifying against a bare HMAC of the same bytes", flush=True)
    print(describe(known), flush=True)
    contenders = _contenders()
    rounds = [_round(contenders, given.calls) for _ in range(given.rounds)]
    p50 = {name: median(one[name] for one in rounds) for name in contenders if name != _NOTHING}
    ratios = {name: us / p50[BARE] for name, us in p50.items() if name != BARE}
    for name, times in ratios.items():
        print(f"  {name:<24} {times:6.1f} bare HMACs")
    is_cheap = ratios[VERIFY] <= MAX_RATIO
    result: dict[str, object] = {
        "calls": given.calls,
        "rounds": given.rounds,
        "is_clean": is_cheap,
        "ratios": ratios,
        "p50_us": p50,
    }
    print(f"absolute figures: {write_result(NAME, known, result, given.json)}")
    if not is_cheap:
        print(f"FAILED: expected a verification to cost at most {MAX_RATIO:.0f} bare HMACs", file=sys.stderr)
    return 0 if is_cheap else 1


def _arguments() -> _Given:
    parser = argparse.ArgumentParser(description="Cost of signatures, as ratios to a bare HMAC of one run.")
    parser.add_argument("--calls", type=int, default=5_000, help="calls of each contender in a round (5000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts (5)")
    parser.add_argument("--json", type=Path, help="where the result goes (bench/results/NAME-TIME.json)")
    given = parser.parse_args()
    if given.calls < 1 or given.rounds < 1:
        parser.error("expected at least 1 call and 1 round")
    return _Given(calls=given.calls, rounds=given.rounds, json=given.json)


def _contenders() -> dict[str, Callable[[], object]]:
    key = new_key(AgentId("agent_17"), entropy=bytes(range(ENTROPY_BYTES)), created_at=NOW)
    ring, origin = KeyRing([key]), parse_origin("https://bridge.example:8443")
    terms = Terms(created=NOW, expires=NOW + 300, nonce="abcdefghijklmnopqrstuv")
    target, digest = b"/event/store", write_digest(_BODY)

    def sign() -> list[tuple[bytes, bytes]]:
        return sign_call(key, method=b"POST", target=target, origin=origin, terms=terms, digest=digest)

    others = [(b"Host", b"bridge.example:8443"), (b"Accept", b"*/*"), (b"User-Agent", b"agent/1.0")]
    others += [(b"Content-Type", b"application/json"), (b"Authorization", b"Bearer " + b"x" * 40)]
    call = Call(method=b"POST", target=target, headers=[*others, *sign()], has_body=True)
    forged = Call(method=b"PUT", target=target, headers=call.headers, has_body=True)
    unsigned = Call(method=b"POST", target=target, headers=others, has_body=True)
    verifier = Verifier(ring, origins=[origin])
    data = {"kind": "elicitation_request", "from_agent": "agent_17", "message": "Ready?", "schema": {"type": "object"}}
    stored = orjson.dumps(sign_event(data, key=key, terms=terms))
    judged = (verifier.verify_whole(call, _BODY, NOW), verifier.verify(forged, NOW), verifier.verify(unsigned, NOW))
    if isinstance(judged[0], Refusal) or judged[1:] != (Refusal.BAD_SIGNATURE, Refusal.ABSENT):
        raise RuntimeError(f"expected one verdict and two refusals, got {judged}")
    uri = origin.text.encode("ascii") + target
    covered = (b"POST", uri, digest, key.agent_field)
    base = signature_base(
        list(zip(COVERED_WITH_BODY, covered, strict=True)), our_params(COVERED_WITH_BODY, terms, key.key_id)
    )
    secret = b"" if key.secret is None else b64decode(key.secret.reveal())
    return {
        _NOTHING: lambda: None,
        BARE: lambda: hmac.digest(secret, base, "sha256"),
        "sign": sign,
        VERIFY: lambda: verifier.verify(call, NOW),
        "verify_with_body": lambda: verifier.verify_whole(call, _BODY, NOW),
        "refuse_forged": lambda: verifier.verify(forged, NOW),
        "refuse_unsigned": lambda: verifier.verify(unsigned, NOW),
        "sign_event": lambda: sign_event(data, key=key, terms=terms),
        "verify_event": lambda: verify_event(stored, ring=ring, speaker=key.agent_id, now=NOW),
    }


def _round(contenders: Mapping[str, Callable[[], object]], calls: int) -> dict[str, float]:
    """Median microseconds of one call of each."""
    taken: dict[str, list[int]] = {name: [] for name in contenders}
    for _ in range(calls):
        for name, run in contenders.items():
            begun = time.perf_counter_ns()
            run()
            taken[name].append(time.perf_counter_ns() - begun)
    p50 = {name: quantile(times, 0.5) / 1_000 for name, times in taken.items()}
    return {name: us - p50[_NOTHING] for name, us in p50.items()}


if __name__ == "__main__":
    sys.exit(main())
