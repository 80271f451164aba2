"""Hostile inputs to every parser, the short form: no crash, no long call; and what would be one is noticed."""

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from bench.fuzz import PARSERS
from bench.fuzz_bytes import LONGEST, Mutator
from bench.fuzz_run import Fuzzer, Target
from tests.support.nursery import unmeasured

ROOT = Path(__file__).resolve().parents[2]
INPUTS = 20_000

NOT_FED = {
    "config.keys.read_keys": "reads a file, whose text core.key_file.parse_keys takes",
    "config.keys.read_key_ring": "the same",
    "config.tokens.read_tokens": "reads a file of the operator's own",
    "config.private_file.read_private_text": "the same",
    "config.load.parse_overrides": "reads what the operator types",
    "downstream.admin_body.read_object": "reads a body, which parse_object takes",
    "downstream.body.read_body": "reads a body, and looks at nothing in it",
    "downstream.body.read_judged": "reads a body, which core.other_readers takes",
}
"""Readers that get their bytes from others which are in the table, or from nobody else; and why."""

ROOMS = ("core", "mcp")
"""Where everything is a parser that is called so."""


def _readers() -> Iterator[str]:
    """Every public function of the pure rooms that reads bytes or text, by its name."""
    for room in ROOMS:
        for path in sorted((ROOT / "proxy" / room).glob("*.py")):
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith(("parse_", "read_")):
                    kinds = {ast.unparse(each.annotation) for each in node.args.args if each.annotation}
                    if kinds & {"bytes", "str", "object", "bytes | None", "str | None"}:
                        yield f"{room}.{path.stem}.{node.name}"


@pytest.mark.requirement("security.fuzzed")
def test_no_parser_crashes_or_dawdles_over_hostile_inputs() -> None:
    fuzzer = Fuzzer(PARSERS, seed=20_261_123)
    fuzzer.seeds()
    while fuzzer.tally.inputs < INPUTS:
        fuzzer.round()
    assert fuzzer.tally.failures == []
    assert min(fuzzer.tally.by_target.values()) > 20
    taken = fuzzer.tally.inputs - fuzzer.tally.refused
    assert taken > INPUTS / 4, "hardly any input comes further than the first check"


@pytest.mark.requirement("security.fuzzed")
def test_every_parser_of_the_pure_rooms_is_fed() -> None:
    fed = {name for target in PARSERS for name in target.name.split(", ")}
    missing = [name for name in _readers() if name not in fed]
    assert not missing, "put them into a table of bench/fuzz_*.py"
    assert not fed & NOT_FED.keys()


def _fed(target: Target, rounds: int = 20) -> Fuzzer:
    fuzzer = Fuzzer([target], seed=1, slow_s=0.02)
    for _ in range(rounds):
        fuzzer.round()
    return fuzzer


def _crash(given: bytes) -> None:
    if len(given) % 7 == 3:
        raise KeyError(len(given))


def _dawdle(given: bytes) -> None:
    end = time.thread_time() + (0.03 if given.count(b"[") > 3 else 0)
    while time.thread_time() < end:
        pass


def _hoard(given: bytes) -> int:
    return len(bytes(40 * 2**20)) if given else 0


def _hang(_: bytes) -> None:
    while True:
        pass


@pytest.mark.requirement("security.fuzzed")
@pytest.mark.parametrize(("run", "what"), [(_crash, "crash"), (_dawdle, "slow")])
def test_a_planted_defect_is_noticed(run: object, what: str) -> None:
    assert callable(run)
    fuzzer = _fed(Target(name="x", run=run, seeds=(b"[[[[ abc",)), rounds=3)
    assert {failure.what for failure in fuzzer.tally.failures} == {what}
    assert len(fuzzer.tally.failures) == 1, "the same defect is told once"


def test_a_call_that_hoards_is_noticed() -> None:
    fuzzer = _fed(Target(name="x", run=_hoard, seeds=(b"abc",)), rounds=40)
    assert [failure.what for failure in fuzzer.tally.failures] == ["memory"]


def test_a_call_that_never_ends_is_ended_and_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.fuzz_run.HUNG_S", 0.05)
    fuzzer = _fed(Target(name="x", run=_hang, seeds=(b"abc",)), rounds=2)
    assert [failure.what for failure in fuzzer.tally.failures] == ["hang"]


def test_a_seed_that_is_refused_is_noticed() -> None:
    fuzzer = Fuzzer([Target(name="x", run=int, seeds=(b"5", b"x"), refusals=(ValueError,))])
    fuzzer.seeds()
    assert [failure.told for failure in fuzzer.tally.failures] == ["1 seeds are refused"]


def test_the_same_seed_makes_the_same_inputs_and_another_one_others() -> None:
    def some(seed: int) -> list[bytes]:
        mutator = Mutator(seed)
        return [mutator.next((b'{"a":1}', b"x=y&z"), ()) for _ in range(2_000)]

    made = some(1)
    assert made == some(1) != some(2)
    assert len(set(made)) > 1_000
    assert max(map(len, made)) <= LONGEST
    assert max(map(len, made)) >= 8_000


@pytest.mark.e2e
def test_the_script_tells_what_it_has_fed(tmp_path: Path) -> None:
    to = tmp_path / "result.json"
    command = [sys.executable, str(ROOT / "bench" / "fuzz.py"), "--inputs", "2000", "--json", str(to)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=unmeasured())
    assert done.returncode == 0, done.stdout + done.stderr
    result = orjson.loads(to.read_bytes())
    assert result["is_clean"]
    assert result["tally"]["inputs"] >= 2_000
    assert "0 failures" in done.stdout


@pytest.mark.e2e
@pytest.mark.parametrize("script", ["fuzz.py --inputs 0", "fuzz.py --seconds -1", "signed_soak.py --attacks 0"])
def test_nonsense_is_a_usage_error(script: str) -> None:
    name, *options = script.split()
    command = [sys.executable, str(ROOT / "bench" / name), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=unmeasured())
    assert done.returncode == 2
    assert "expected" in done.stderr
