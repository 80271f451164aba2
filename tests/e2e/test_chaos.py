"""Chaos, the short form: what agents send and answer while everything is killed, the network breaks, and flags flip.

`make soak MESSAGES=1000000` plays the same for hours. What the ledger finds is tested in tests/bench.
"""

from pathlib import Path

import pytest

from bench.chaos import report
from bench.chaos_house import ChaosPlan
from bench.chaos_run import Run, play

pytestmark = pytest.mark.e2e

MESSAGES = 20_000
KILLS = 50
"""Less than the run makes: a kill every second, and one for every 250 messages at most."""

FLIPS = 1_000


async def _played(plan: ChaosPlan, folder: Path) -> Run:
    run = await play(plan, folder, print)
    report(run, print)
    return run


# It takes about 90 s on two cores with nothing else to do.
@pytest.mark.timeout(1_200)
async def test_nothing_is_lost_misdelivered_or_done_twice_while_everything_is_killed(tmp_path: Path) -> None:
    run = await _played(ChaosPlan(messages=MESSAGES, agents=4, kill_work=250), tmp_path)
    assert run.verdict.breaches == {}
    assert run.verdict.counts["messages sent"] >= MESSAGES
    assert run.verdict.counts["exchanges completed"] >= MESSAGES // 10
    assert run.killed >= KILLS
    assert run.kills.keys() == {"bridge", "sidecar", "crew"}
    assert run.faults.total() > 0


@pytest.mark.timeout(600)
async def test_nothing_is_lost_misdelivered_or_done_twice_while_flags_flip(tmp_path: Path) -> None:
    plan = ChaosPlan(messages=9_000, agents=4, kill_every_s=0, fault_every_s=0, flips=FLIPS, flip_every_s=0.002)
    run = await _played(plan, tmp_path)
    assert run.verdict.breaches == {}
    assert run.verdict.counts["messages sent"] >= plan.messages
    assert run.flips == FLIPS
