"""Feeds inputs to parsers, and watches them: no error but their own refusals, no long call, no memory that stays.

A call is timed in processor time of its thread, so that a busy machine makes nobody slow; one that seems slow is
called again, and the fastest of several counts. One that does not return at all is ended by a timer.
"""

import gc
import os
import signal
import time
import traceback
import tracemalloc
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from bench.fuzz_bytes import Mutator

SLOW_S: Final = 0.1
"""Longest that one call may take, seconds. Source: ours; the event loop stands still meanwhile."""

HUNG_S: Final = 5.0
"""After which a call is ended, seconds of processor time."""

MOST_BYTES: Final = 16 * 2**20
"""Most memory of Python's that one call may use, besides `MOST_PER_BYTE` for each byte of its input. Source: ours."""

MOST_PER_BYTE: Final = 512
"""Source: ours; an object of Python's for each byte of an array of digits has about 80, in a few copies."""

GROWTH_BYTES: Final = 48 * 2**20
"""By how much resident memory may grow after the warm-up. Source: ours; pools of the allocator, and none of it grows
with the number of inputs."""

MEASURED: Final = 500
"""One in so many calls has its memory measured."""

LARGE: Final = 4_096
MEASURED_LARGE: Final = 10
"""Of calls with an input from this many bytes on."""

MOST_FAILURES: Final = 20
"""After so many a run ends."""

_TRIES: Final = 3
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One parser."""

    name: str
    """Module and functions, such as `core.legacy.parse_wait_query`; a comma between several."""
    run: Callable[[bytes], object]
    seeds: Sequence[bytes]
    """Inputs that it takes."""
    refusals: tuple[type[Exception], ...] = ()
    """Errors by which it refuses."""
    share: int = 16
    """Inputs in one round; fewer for a dear one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One input that a parser did not stand."""

    target: str
    what: str
    """crash, hang, slow or memory."""
    told: str
    given: str
    """The input in base64, the first kilobyte of it where it is long."""
    size_bytes: int


class Hung(BaseException):
    """A call did not return; no exception that a parser could catch."""


@dataclass(slots=True)
class Tally:
    """What has become of the inputs so far."""

    inputs: int = 0
    refused: int = 0
    by_target: dict[str, int] = field(default_factory=dict)
    slowest_s: dict[str, float] = field(default_factory=dict)
    """The slowest call of each parser."""
    largest_bytes: dict[str, int] = field(default_factory=dict)
    """The most memory that a call of each parser has used, of those that were measured."""
    resident: list[tuple[int, int]] = field(default_factory=list)
    """Inputs so far, and bytes of resident memory."""
    failures: list[Failure] = field(default_factory=list)

    def grown_bytes(self) -> int:
        """By how much resident memory has grown since a quarter of the inputs."""
        settled = [size for inputs, size in self.resident if inputs * 4 >= self.inputs]
        return settled[-1] - settled[0] if settled else 0


class Fuzzer:
    """Feeds some parsers in turn."""

    def __init__(self, targets: Sequence[Target], *, seed: int = 1, slow_s: float = SLOW_S) -> None:
        self.tally = Tally(by_target=dict.fromkeys((target.name for target in targets), 0))
        self._targets = targets
        self._mutator = Mutator(seed)
        self._slow_s = slow_s
        self._kept: dict[str, list[bytes]] = {target.name: [] for target in targets}
        self._told: set[tuple[str, str, str]] = set()

    @property
    def is_over(self) -> bool:
        """Whether there are too many failures to go on."""
        return len(self.tally.failures) >= MOST_FAILURES

    def seeds(self) -> None:
        """Feed all seeds as they are: each must be taken by its parser, or nothing behind its refusal is reached."""
        for target in self._targets:
            refused = self.tally.refused
            with _ended_after(HUNG_S):
                for seed in target.seeds:
                    self._feed(target, seed)
            if self.tally.refused > refused:
                self._fail(target, "seed", f"{self.tally.refused - refused} seeds are refused", b"")

    def round(self) -> None:
        """Feed each parser its share."""
        for target in self._targets:
            kept = self._kept[target.name]
            given = b""
            try:
                with _ended_after(HUNG_S):
                    for _ in range(target.share):
                        given = self._mutator.next(target.seeds, kept)
                        if self._feed(target, given):
                            self._mutator.keep(kept, given)
            except Hung:
                self._fail(target, "hang", f"no result after {HUNG_S:g} s", given)

    def sample(self) -> None:
        """Note how much memory the process has."""
        gc.collect()
        self.tally.resident.append((self.tally.inputs, _resident_bytes()))

    def _feed(self, target: Target, given: bytes) -> bool:
        """Whether the parser takes this input."""
        tally = self.tally
        tally.inputs += 1
        tally.by_target[target.name] += 1
        is_taken, begun = True, time.thread_time()
        try:
            target.run(given)
        except target.refusals:
            is_taken = False
            tally.refused += 1
        except Exception as error:  # noqa: BLE001 - to find these is what this is for
            is_taken = False
            self._fail(target, "crash", _told(error), given)
        taken_s = time.thread_time() - begun
        if taken_s > tally.slowest_s.get(target.name, 0.0):
            if taken_s > self._slow_s:
                taken_s = self._slower(target, given, taken_s)
            tally.slowest_s[target.name] = max(taken_s, tally.slowest_s.get(target.name, 0.0))
        if tally.inputs % (MEASURED if len(given) < LARGE else MEASURED_LARGE) == 0:
            self._measure(target, given)
        return is_taken

    def _slower(self, target: Target, given: bytes, first_s: float) -> float:
        """How long a call truly takes that seemed slow; a collection of garbage or a page fault is not its own."""
        gc.collect()
        fastest_s = min([first_s, *(_seconds(target, given) for _ in range(_TRIES))])
        if fastest_s > self._slow_s:
            self._fail(target, "slow", f"{fastest_s * 1e3:.0f} ms, at most {self._slow_s * 1e3:.0f} ms", given)
        return fastest_s

    def _measure(self, target: Target, given: bytes) -> None:
        tracemalloc.start()
        try:
            _call(target, given)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        largest = self.tally.largest_bytes
        largest[target.name] = max(peak, largest.get(target.name, 0))
        if peak > MOST_BYTES + MOST_PER_BYTE * len(given):
            self._fail(target, "memory", f"{peak} bytes for an input of {len(given)}", given)

    def _fail(self, target: Target, what: str, told: str, given: bytes) -> None:
        place = told.rpartition("\n")[2] if what == "crash" else ""
        if (target.name, what, place) in self._told:
            return
        self._told.add((target.name, what, place))
        shown = b64encode(given[:1_024]).decode("ascii")
        self.tally.failures.append(
            Failure(target=target.name, what=what, told=told, given=shown, size_bytes=len(given))
        )


def _call(target: Target, given: bytes) -> None:
    try:
        target.run(given)
    except Exception:  # noqa: BLE001 - it was told of already
        return


def _seconds(target: Target, given: bytes) -> float:
    begun = time.thread_time()
    _call(target, given)
    return time.thread_time() - begun


def _told(error: Exception) -> str:
    """The error and the last lines of its way; the line where it was raised at the end."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return "\n".join([f"{type(error).__name__}: {error}"[:300], *(f"{at.filename}:{at.lineno}" for at in frames)])


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """End what takes longer, in processor time, with `Hung`; the main thread only."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise Hung

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
