"""Tens of thousands of attacks on signed calls: none is let in, and no genuine call is kept out."""

from collections import Counter

import pytest

from proxy.core.signing import Verdict
from tests.support.signed_mutants import REPLAYED, Crew, Gate

ATTACKS = 20_000


@pytest.mark.requirement("signatures.attacks")
def test_no_attack_on_a_signed_call_is_let_in_and_no_genuine_call_is_kept_out() -> None:
    crew = Crew(20_261_123)
    gate = Gate(crew.ring, crew.origin)
    told: Counter[str] = Counter()
    for genuine, attack in crew.pairs(ATTACKS):
        assert isinstance(gate.judge(genuine), Verdict), genuine
        found = gate.judge(attack)
        assert not isinstance(found, Verdict), attack
        told[attack.kind] += 1
        assert (found == REPLAYED) is (attack.kind == REPLAYED), attack
    assert told.keys() == crew.kinds
    assert min(told.values()) >= ATTACKS // len(crew.kinds)


def test_the_same_seed_makes_the_same_calls() -> None:
    one, other = (
        [(call.call, call.body, call.now, call.kind) for pair in Crew(7).pairs(60) for call in pair] for _ in range(2)
    )
    assert one == other
    assert [pair[0].call for pair in Crew(8).pairs(3)] != [pair[0].call for pair in Crew(7).pairs(3)]


def test_an_attack_tells_whether_a_client_could_send_it() -> None:
    sendable = Counter(attack.is_sendable for _, attack in Crew(3).pairs(500))
    assert sendable[True] > sendable[False] > 0
