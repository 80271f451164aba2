"""Many legacy agents waiting at once, each in a thread of its own, as programs do that know only urllib."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from tests.support.stand import Reply, Stand, open_session, wait


@dataclass(frozen=True)
class Waited:
    """One wait that ended: its reply, and how many seconds it took."""

    reply: Reply
    seconds: float


class Crowd:
    """Agents with tokens and cursors, waiting through the sidecar."""

    def __init__(self, stand: Stand, count: int) -> None:
        self._base = stand.data
        self._tokens = {f"crowd-{number}": open_session(stand.data, f"crowd-{number}") for number in range(count)}
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="crowd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def park(self, *, since: int, timeout_s: int) -> "list[Future[Waited]]":
        """Every agent waits once."""
        return [self._pool.submit(self._once, agent_id, since, timeout_s) for agent_id in self._tokens]

    def seek(self, word: str, *, since: int, timeout_s: int, within_s: float) -> "list[Future[list[Waited]]]":
        """Every agent waits again and again, as agents do, until a message's data has this word; all it waited for."""
        return [
            self._pool.submit(self._seek, agent_id, word, _Bounds(since, timeout_s, within_s))
            for agent_id in self._tokens
        ]

    def _once(self, agent_id: str, since: int, timeout_s: int) -> Waited:
        began = time.monotonic()
        reply = wait(self._base, agent_id, self._tokens[agent_id], since=since, timeout_s=timeout_s)
        return Waited(reply, time.monotonic() - began)

    def _seek(self, agent_id: str, word: str, bounds: "_Bounds") -> list[Waited]:
        deadline = time.monotonic() + bounds.within_s
        cursor, waited = bounds.since, []
        while time.monotonic() < deadline:
            one = self._once(agent_id, cursor, bounds.timeout_s)
            waited.append(one)
            assert one.reply.status == 200, f"{agent_id} was refused: {one.reply}, after {waited[:-1]}"
            cursor = max([cursor, *numbers([one])])
            if words([one], word):
                return waited
        raise AssertionError(f"{agent_id} never saw {word!r}: {[one.reply for one in waited]}")


@dataclass(frozen=True)
class _Bounds:
    since: int
    timeout_s: int
    within_s: float


def numbers(waited: Sequence[Waited]) -> list[int]:
    """The sequence of every message in these waits."""
    found = [event["sequence"] for one in waited for event in one.reply.events]
    return [number for number in found if isinstance(number, int)]


def words(waited: Sequence[Waited], word: str) -> int:
    """How many messages in these waits have this word."""
    return sum(event["data"] == {"word": word} for one in waited for event in one.reply.events)
