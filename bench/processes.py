"""Starts the real processes that a benchmark measures, reads from /proc what they cost, and ends exactly them."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from bench.http_client import Address, parse_address

ROOT: Final = Path(__file__).resolve().parent.parent

READY_S: Final = 30.0
"""Longest time until a process says that it is ready. Source: ours; a busy machine takes a few seconds."""

STOP_S: Final = 10.0
"""Longest time a process may take to end after SIGTERM. Source: ours; five times the product's promise."""

QUIET_LIMITS: Final = ("--set", "rate_limits=off", "--set", "abuse_rule=off")
"""The development Bridge without its rate limits, which would end any benchmark after 13 questions."""

WIDE_LIMITS: Final = ("limits.questions=100000/s", "limits.answers=100000/s")
"""The same for the sidecar's own."""


class StartFailedError(Exception):
    """A process did not come up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One running process."""

    name: str
    process: "subprocess.Popen[bytes]"
    ready: Mapping[str, str]
    """Its line of JSON."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def address(self, key: str) -> Address:
        """The address it told under this key."""
        return parse_address(self.ready[key])

    def stop(self) -> int:
        """End it in order, by force when it will not; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


def start(name: str, command: Sequence[str], folder: Path) -> Server:
    """Start a process that says one line of JSON when it is ready; its log goes to `folder`.

    Raises:
        StartFailedError: it ended, or said nothing for 30 s; with the end of its log.
    """
    log = folder / f"{name}.log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ELICIT_SIDECAR_")}
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors
        )
    line = _first_line(process)
    if not line:
        process.kill()
        process.wait()
        raise StartFailedError(f"{name} did not start: {log.read_text(errors='replace')[-2000:]}")
    said: object = orjson.loads(line)
    ready = {str(key): str(value) for key, value in said.items()} if isinstance(said, dict) else {}
    return Server(name=name, process=process, ready=ready)


def _first_line(process: "subprocess.Popen[bytes]") -> bytes:
    if process.stdout is None or not select.select([process.stdout], [], [], READY_S)[0]:
        return b""
    return process.stdout.readline()


@contextmanager
def running(name: str, command: Sequence[str], folder: Path) -> Iterator[Server]:
    """A process for as long as the block lasts."""
    server = start(name, command, folder)
    try:
        yield server
    finally:
        server.stop()


def bridge_command(*, listen: str = "127.0.0.1:0", poll_s: float = 1.0, state: Path | None = None) -> list[str]:
    """The development Bridge: legacy as meant, with a look every `poll_s` seconds, without rate limits."""
    kept = [] if state is None else ["--state", str(state)]
    return ["-m", "proxy", "bridge", "--listen", listen, "--poll-seconds", str(poll_s), *QUIET_LIMITS, *kept]


def sidecar_command(bridge: Address, folder: Path, *, name: str, settings: Sequence[str] = ()) -> list[str]:
    """The sidecar with everybody in the elicitation cohort, without rate limits; `settings` are further `KEY=VALUE`."""
    command = ["-m", "proxy", "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    command += ["--bridge", f"http://{bridge.host}:{bridge.port}", "--state", f"sqlite://{folder / name}.db"]
    flags = ("flags.elicitation_enabled=true", "flags.elicitation_percentage=100")
    for setting in (*flags, *WIDE_LIMITS, *settings):
        command += ["--set", setting]
    return command


def cpu_us(pid: int) -> float:
    """Microseconds of processor time that the threads of a process have used, to the nanosecond.

    Source: proc(5), /proc/PID/task/TID/schedstat; where the kernel keeps none, /proc/PID/stat in clock ticks.
    """
    total_ns = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            total_ns += int((thread / "schedstat").read_text().split()[0])
        except FileNotFoundError:  # no such statistics in this kernel, or the thread has just ended
            if thread.exists():
                return _cpu_by_ticks_us(pid)
    return total_ns / 1000


def _cpu_by_ticks_us(pid: int) -> float:
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(after_name[11]) + int(after_name[12])
    return ticks * 1e6 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a process holds at one moment."""

    rss_kb: int
    descriptors: int
    threads: int


def holdings(pid: int) -> Holdings:
    """Resident memory, open descriptors and threads of a process. Source: proc(5)."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.count(":") == 1
    )
    return Holdings(
        rss_kb=int(status["VmRSS"].split()[0]),
        descriptors=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        threads=int(status["Threads"]),
    )


def pin(pid: int, core: int) -> None:
    """Keep all threads of a process on one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})
