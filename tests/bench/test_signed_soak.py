"""The soak of signed calls, the short form; and an attack that is let in is noticed."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from bench.signed_soak import BATCH, Tally, batches, play
from proxy.core.key_ring import Key
from proxy.core.signing import Refusal, Verdict, Verifier
from tests.support.nursery import unmeasured
from tests.support.signed_mutants import Attempt, Crew, Gate

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "signed_soak.py"


@pytest.mark.e2e
@pytest.mark.requirement("signatures.attacks")
def test_a_short_soak_ends_clean_and_tells_why_attacks_were_refused(tmp_path: Path) -> None:
    to = tmp_path / "result.json"
    command = [sys.executable, str(SCRIPT), "--attacks", "500", "--json", str(to)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=unmeasured())
    assert done.returncode == 0, done.stdout + done.stderr
    tally = orjson.loads(to.read_bytes())["tally"]
    assert (tally["let_in"], tally["kept_out"], tally["genuine"]) == (0, 0, 500)
    assert tally["attacks"].keys() == Crew(1).kinds
    assert sum(tally["told"].values()) == 500
    assert "500 attacks of" in done.stdout


def test_a_verifier_that_believes_everybody_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def believe(_self: Verifier, _key: Key, *_: object) -> bool:
        return True

    monkeypatch.setattr(Verifier, "_is_signed_by", believe)
    tally = Tally()
    play(tally, 1, 240)
    assert tally.let_in > 0
    assert "an attack was let in (seed 1)" in tally.failures[0]


def test_a_genuine_call_that_is_kept_out_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Gate, _attempt: Attempt) -> Verdict | Refusal | str:
        return Refusal.ABSENT

    monkeypatch.setattr(Gate, "judge", refuse)
    tally = Tally()
    play(tally, 1, 5)
    assert (tally.kept_out, tally.let_in) == (5, 0)


def test_batches_have_seeds_of_their_own_and_are_all_that_was_asked_for() -> None:
    assert list(batches(2 * BATCH + 1, 7)) == [(7, BATCH), (8, BATCH), (9, 1)]
