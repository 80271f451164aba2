"""How many descriptors the process may have, and what it does about it."""

import resource

import pytest

from proxy.wiring.descriptors import ENOUGH, descriptor_limit, raise_descriptor_limit

pytestmark = pytest.mark.requirement("descriptors.limit")

INFINITE = resource.RLIM_INFINITY


class Limits:
    """The limits of a process, soft and hard, as the system keeps them."""

    def __init__(self, soft: int, hard: int, *, most: int = 1 << 30) -> None:
        self.pair = soft, hard
        self._most = most

    def get(self, _: int) -> tuple[int, int]:
        return self.pair

    def set(self, _: int, pair: tuple[int, int]) -> None:
        if pair[0] > self._most:
            raise ValueError("not allowed")
        self.pair = pair


@pytest.mark.parametrize(
    ("limits", "after"),
    [
        (Limits(1024, 4096), 4096),
        (Limits(4096, 4096), 4096),
        (Limits(256, INFINITE), ENOUGH),
        (Limits(256, INFINITE, most=10_240), 256),
        (Limits(INFINITE, INFINITE), 0),
    ],
    ids=["raised", "as high as may be", "no hard limit", "less than the system says", "no limit at all"],
)
def test_it_is_raised_as_far_as_the_system_lets_us(monkeypatch: pytest.MonkeyPatch, limits: Limits, after: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    assert raise_descriptor_limit() == after
    assert descriptor_limit() == after
