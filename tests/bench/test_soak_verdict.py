"""When a soak run fails, and when it is too short to say."""

from dataclasses import replace

from bench.soak_verdict import Sample, judge, thinned

IDLE = Sample(at_s=0.0, hours=0.0, rss_kb=50_000, descriptors=20, threads=3, parked=0)


def _run(*, growth_kb_per_hour: float, hours: float = 10.0, count: int = 50) -> list[Sample]:
    """Samples one minute apart whose memory grows in a line."""
    step = hours / (count - 1)
    return [
        replace(
            IDLE, at_s=60.0 * number, hours=step * number, rss_kb=round(50_000 + growth_kb_per_hour * step * number)
        )
        for number in range(count)
    ]


def test_level_memory_passes() -> None:
    verdict = judge(_run(growth_kb_per_hour=0), warm_up_s=60, before=IDLE, after=IDLE)
    assert verdict.is_judged
    assert verdict.failures == ()
    assert verdict.growth_percent_per_hour == 0


def test_growth_of_more_than_one_percent_an_hour_fails() -> None:
    verdict = judge(_run(growth_kb_per_hour=600), warm_up_s=0, before=IDLE, after=IDLE)
    assert verdict.growth_percent_per_hour is not None
    assert 1.19 < verdict.growth_percent_per_hour < 1.21
    assert "memory grows by 1.20 percent" in verdict.failures[0]


def test_growth_of_less_than_one_percent_an_hour_passes() -> None:
    assert judge(_run(growth_kb_per_hour=400), warm_up_s=0, before=IDLE, after=IDLE).failures == ()


def test_growth_during_the_warm_up_does_not_count() -> None:
    filling = [
        replace(IDLE, at_s=float(second), hours=second / 100, rss_kb=40_000 + 100 * second) for second in range(60)
    ]
    level = [replace(sample, at_s=sample.at_s + 60, hours=sample.hours + 1) for sample in _run(growth_kb_per_hour=0)]
    assert judge(filling + level, warm_up_s=60, before=IDLE, after=IDLE).failures == ()


def test_a_short_run_is_not_judged_by_its_growth() -> None:
    verdict = judge(_run(growth_kb_per_hour=90_000, hours=0.1), warm_up_s=0, before=IDLE, after=IDLE)
    assert not verdict.is_judged
    assert verdict.growth_percent_per_hour is not None
    assert verdict.failures == ()


def test_a_run_that_ends_before_its_warm_up_has_no_growth() -> None:
    verdict = judge(_run(growth_kb_per_hour=600), warm_up_s=1e9, before=IDLE, after=IDLE)
    assert (verdict.growth_percent_per_hour, verdict.is_judged) == (None, False)


def test_descriptors_that_stay_open_fail() -> None:
    after = replace(IDLE, descriptors=25)
    verdict = judge(_run(growth_kb_per_hour=0), warm_up_s=0, before=IDLE, after=after)
    assert "25 descriptors stay open" in verdict.failures[0]


def test_waits_that_stay_parked_fail() -> None:
    verdict = judge(_run(growth_kb_per_hour=0), warm_up_s=0, before=IDLE, after=replace(IDLE, parked=1))
    assert "1 waits are still parked" in verdict.failures[0]


def test_the_table_keeps_the_first_and_the_last_sample() -> None:
    samples = _run(growth_kb_per_hour=0)
    kept = thinned(samples, 12)
    assert len(kept) == 12
    assert (kept[0], kept[-1]) == (samples[0], samples[-1])
    assert thinned(samples[:5], 12) == samples[:5]
