"""Dates are the Bridge's: what a step of a clock does to waits, questions and answers."""

from email.utils import formatdate
from pathlib import Path

import pytest

from proxy.wiring.bridge_clock import AGREE, TOLERANCE_S, BridgeClock
from tests.support.asking import ask_bob
from tests.support.house import stand
from tests.support.manual_clock import ManualClock

HOUR_S = 3600.0


@pytest.mark.requirement("clock.bridge")
class TestBridgeClock:
    def _made(self) -> tuple[ManualClock, BridgeClock]:
        machine = ManualClock()
        return machine, BridgeClock(machine)

    async def test_until_the_bridge_is_heard_it_is_the_machines_and_durations_always_are(self) -> None:
        machine, clock = self._made()
        assert (clock.now(), clock.wall(), clock.ahead_of_machine()) == (machine.now(), machine.wall(), 0)
        rung: list[float] = []
        clock.alarm(clock.now() + 1, lambda: rung.append(clock.now()))
        await machine.advance(2)
        assert rung == [machine.now() - 1]
        assert clock.wall() == machine.wall()

    @pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
    def test_a_step_of_the_machines_clock_changes_no_date_and_can_be_seen(self, step_s: float) -> None:
        machine, clock = self._made()
        before = clock.wall()
        machine.step_wall(step_s)
        assert clock.wall() == before
        assert clock.ahead_of_machine() == -step_s

    @pytest.mark.parametrize("off_s", [HOUR_S, -HOUR_S])
    def test_the_first_date_of_the_bridge_is_followed(self, off_s: float) -> None:
        _, clock = self._made()
        before = clock.wall()
        clock.heard(formatdate(before + off_s, usegmt=True))
        assert clock.wall() - before == pytest.approx(off_s, abs=1)

    def test_a_date_that_is_later_is_followed_at_once(self) -> None:
        _, clock = self._made()
        before = clock.wall()
        clock.heard(formatdate(before, usegmt=True))
        clock.heard(formatdate(before + HOUR_S, usegmt=True))
        assert clock.wall() - before == pytest.approx(HOUR_S, abs=1)

    def test_a_date_that_is_earlier_is_followed_when_several_agree_as_a_reply_may_be_late(self) -> None:
        _, clock = self._made()
        before = clock.wall()
        clock.heard(formatdate(before, usegmt=True))
        for number in range(AGREE - 1):
            clock.heard(formatdate(before - 100 - number, usegmt=True))
        clock.heard(formatdate(before + 1, usegmt=True))
        for number in range(AGREE):
            assert clock.wall() == before
            clock.heard(formatdate(before - 200 - number, usegmt=True))
        assert clock.wall() - before == pytest.approx(-200, abs=1)

    def test_the_same_date_counts_once_and_what_is_no_date_does_not(self) -> None:
        _, clock = self._made()
        before = clock.wall()
        clock.heard(formatdate(before, usegmt=True))
        for _ in range(AGREE):
            clock.heard(formatdate(before - HOUR_S, usegmt=True))
        for text in ("", "yesterday", "Mon, 99 Foo 2026 99:99:99 GMT"):
            clock.heard(text)
        assert clock.wall() == before

    def test_clocks_that_differ_by_little_count_as_one(self) -> None:
        _, clock = self._made()
        before = clock.wall()
        for off_s in (TOLERANCE_S - 1, -(TOLERANCE_S - 1)):
            clock.heard(formatdate(before + off_s, usegmt=True))
        assert clock.wall() == before


@pytest.mark.requirement("clock.step")
class TestSteps:
    @pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
    async def test_of_the_machine_end_no_wait_and_no_question_and_bring_nothing_twice(
        self, tmp_path: Path, step_s: float
    ) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made, timeout_seconds=600)
            parked = await made.parked("carol", await made.bridge.token("carol"), timeout_seconds=30)
            first = await made.wait("bob", asked.bob, timeout_seconds=5)
            assert len(first.items) == 1
            made.clock.machine_ahead_s = step_s
            # It was offered, and is not offered again before its time.
            again = made.wait("bob", asked.bob, since_sequence=1000, timeout_seconds=5)
            await made.house.until_parked(2)
            made.clock.advance(5)
            assert (await again).items == []
            assert not parked.done()
            assert (await made.house.metrics())["elicit_sidecar_bridge_clock_ahead_seconds"] == -step_s
            assert (await asked.give("respond")).status == 200
            assert await asked.status() == "accepted"
            made.clock.advance(25)
            assert (await parked).json["status"] == "timeout"

    async def test_a_machine_that_starts_an_hour_ahead_asks_and_answers_as_any_other(self, tmp_path: Path) -> None:
        async with stand(tmp_path, ahead_s=HOUR_S) as made:
            asked = await ask_bob(made, timeout_seconds=600)
            assert len((await made.wait("bob", asked.bob, timeout_seconds=5)).items) == 1
            assert (await asked.give("store")).status == 200
            assert await asked.status() == "accepted"
            assert (await made.house.metrics())["elicit_sidecar_bridge_clock_ahead_seconds"] == pytest.approx(
                -3600, abs=1
            )

    async def test_of_the_bridge_are_followed_its_questions_end_when_it_says_so(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made, timeout_seconds=600)
            parked = await made.parked("carol", await made.bridge.token("carol"), timeout_seconds=60)
            made.bridge.pace.step_s = HOUR_S
            assert (await made.wait("bob", asked.bob, timeout_seconds=0)).items == []
            assert (await asked.give("respond")).status != 200
            assert await asked.status() == "expired"
            assert not parked.done()
            made.clock.advance(60)
            assert (await parked).json["status"] == "timeout"
