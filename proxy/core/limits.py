"""What a rate limit still grants to an agent: GCRA, which is a token bucket that remembers one point in time.

That point is the theoretical arrival time (TAT): when the allowance will be whole again. A call of cost c moves it
on by c intervals and is refused when that would take it further ahead than the whole allowance lasts.

Time is counted in whole picoseconds, so that no sum loses anything by rounding. A table that is full of live keys
refuses a new key and never gives up an old one, so a flood of new keys gives a spent allowance back to nobody.

Source: ITU-T I.371 (2004) annex A.1, virtual scheduling; that nothing is evicted is ours.
"""

from heapq import heappop, heappush, heapreplace
from typing import Final, NamedTuple, NewType

from proxy.core.ids import AgentId
from proxy.core.rate import PS_PER_S, Rate

LimitName = NewType("LimitName", str)
"""Name of a limit, as the configuration and the header fields have it: printable ASCII."""

CALLS, BYTES, WAITS, QUESTIONS, ANSWERS = map(LimitName, ("calls", "bytes", "waits", "questions", "answers"))

MAX_KEYS: Final = 50_000
"""Most pairs of a limit and an agent. Source: ours; 10,000 agents under five limits, some 20 MB."""


class Decision(NamedTuple):
    """What a limit says to one call, and what it grants afterwards. Seconds count from the decision on.

    A tuple, as making a frozen dataclass takes twice the time of all the rest.
    """

    name: LimitName
    rate: Rate
    ahead_ps: int
    """How far the time at which the allowance is whole again lies ahead, picoseconds."""
    over_ps: int = 0
    """By how much a refused call was early, picoseconds; 0 for one that may pass."""
    is_full: bool = False
    """It was refused as no more agents can be counted, not because it took too much."""

    @property
    def allowed(self) -> bool:
        """Whether the call may pass; what it costs is taken then, and only then."""
        return not self.over_ps

    def asked_for(self, cost: int) -> "Decision":
        """What would be said to a call of this cost now, as nothing is taken by it."""
        over = self.ahead_ps + (cost - self.limit) * self.rate.interval_ps
        return self._replace(over_ps=over) if over > 0 and self.allowed else self

    @property
    def limit(self) -> int:
        """What a rested allowance grants at once."""
        return self.rate.capacity

    @property
    def remaining(self) -> int:
        """What can be taken at once now."""
        return 0 if self.is_full else self.limit - -(-self.ahead_ps // self.rate.interval_ps)

    @property
    def reset_s(self) -> float:
        """When the allowance is whole again, if nothing more is taken."""
        return self.ahead_ps / PS_PER_S

    @property
    def retry_after_s(self) -> float | None:
        """When the same call may pass: 0 where it has passed, None where it costs more than is ever granted."""
        return self.over_ps / PS_PER_S if self.over_ps <= self.ahead_ps else None

    @property
    def window_s(self) -> float:
        """For how long `remaining` has to do, so that whoever keeps to both keeps to the rate.

        That is as long as the same amount takes to be granted, from the moment on at which the next one is.
        """
        if self.is_full:
            return self.over_ps / PS_PER_S
        interval = self.rate.interval_ps
        next_one = self.ahead_ps - (self.limit - self.remaining - 1) * interval if self.ahead_ps else 0
        return (self.remaining * interval + next_one) / PS_PER_S


def decide(name: LimitName, rate: Rate, tat: int, *, now_ps: int, cost: int) -> Decision:
    """Judge one call under the arrival time that was kept, 0 for none; the new one is `now_ps` and `ahead_ps`.

    A refused call takes nothing. Where the rate has become another since, no more is owed than one whole allowance.

    Raises:
        ValueError: a cost below 0, which would give something back.
    """
    if cost < 0:
        raise ValueError(f"expected a cost of 0 or more, got {cost}")
    interval = rate.interval_ps
    whole = rate.capacity * interval
    ahead = min(max(tat - now_ps, 0), whole)
    after = ahead + cost * interval
    if after <= whole:
        return Decision(name, rate, after)
    return Decision(name, rate, ahead, after - whole)


class LimitTable:
    """The arrival times of many agents under many limits, `max_keys` of them at most, which is 1 or more."""

    __slots__ = ("_ends", "_latest", "_max_keys", "_tats")

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._tats: dict[tuple[LimitName, AgentId], int] = {}
        self._ends: list[tuple[int, tuple[LimitName, AgentId]]] = []
        """A heap with one entry for each key: when it may be forgotten, as far as was known when it was put in."""
        self._latest = 0

    def __len__(self) -> int:
        return len(self._tats)

    def take(self, name: LimitName, agent_id: AgentId, rate: Rate, *, now: float, cost: int = 1) -> Decision:
        """Take `cost` from what this limit grants to this agent, or nothing where that is too much.

        `now` is monotonic seconds; a clock that goes back stands still here. A cost of 0 only looks.

        Raises:
            ValueError: a cost below 0.
        """
        now_ps = self._latest = max(self._latest, int(now * PS_PER_S))
        key = (name, agent_id)
        tat = self._tats.get(key)
        if tat is None:
            return self._take_first(key, rate, now_ps, cost=cost)
        decision = decide(name, rate, tat, now_ps=now_ps, cost=cost)
        self._tats[key] = now_ps + decision.ahead_ps
        return decision

    def _take_first(self, key: tuple[LimitName, AgentId], rate: Rate, now_ps: int, *, cost: int) -> Decision:
        decision = decide(key[0], rate, 0, now_ps=now_ps, cost=cost)
        if decision.ahead_ps:
            self._forget(now_ps)
            if len(self._ends) >= self._max_keys:
                wait_ps = self._ends[0][0] - now_ps
                return Decision(key[0], rate, wait_ps, wait_ps, is_full=True)
            self._tats[key] = now_ps + decision.ahead_ps
            heappush(self._ends, (now_ps + decision.ahead_ps, key))
        return decision

    def _forget(self, now_ps: int) -> None:
        """Forget the keys whose allowance is whole again; each look at a key was paid for by a call of it."""
        ends = self._ends
        while ends and ends[0][0] <= now_ps:
            key = ends[0][1]
            tat = self._tats[key]
            if tat <= now_ps:
                del self._tats[key]
                heappop(ends)
            else:  # it has taken more since
                heapreplace(ends, (tat, key))
