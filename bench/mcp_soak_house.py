"""The processes of the MCP soak: a Bridge, an MCP server, the sidecar before it, and sidecars launched by clients."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from bench.http_client import Address, BadReplyError, Client, encode, parse_address
from bench.mcp_lines import Pipe, launch
from bench.processes import READY_S, ROOT, WIDE_LIMITS, Server, StartFailedError, bridge_command, sidecar_command, start

GROUP: Final = "asked"
"""The group of agents whose questions are put to their client."""

PARKED: Final = b"elicit_sidecar_parked_waits "
DEFECTS: Final = b"elicit_sidecar_defects_total "

LOOK_S: Final = 0.05
"""Pause between two looks for a sidecar that starts. Source: ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a sidecar says of itself."""

    parked: int
    defects: int


def read_counts(exposition: bytes) -> Counts:
    """Read what `/metrics` says.

    Raises:
        BadReplyError: the gauge of parked waits is not there.
    """
    lines = exposition.splitlines()
    parked = [line for line in lines if line.startswith(PARKED)]
    defects = [line for line in lines if line.startswith(DEFECTS)]
    if not parked:
        raise BadReplyError("expected the gauge parked_waits in /metrics")
    return Counts(parked=int(float(parked[0].split()[1])), defects=int(float(defects[0].split()[1])) if defects else 0)


def admin_in(log: str) -> Address | None:
    """Where the admin port of a sidecar is, by the lines of its log so far."""
    for line in log.splitlines(keepends=True):
        if '"event":"ready"' in line and line.endswith("\n"):
            return parse_address(str(orjson.loads(line)["admin"]))
    return None


def config_text(mcp_url: str, asked: Sequence[str]) -> str:
    """The configuration of every sidecar of the soak, in TOML.

    Connecting has more time than by default, since on a busy machine half a second may pass with nothing wrong.
    """
    return (
        f'[bridge]\nmcp_url = "{mcp_url}"\npoll_idle_ms = 1000\nhold_s = 1\nconnect_timeout_s = 5.0\n'
        f'[agent]\nelicit_agents = ["{GROUP}"]\n'
        f"[groups]\n{GROUP} = {orjson.dumps(list(asked)).decode()}\n"
    )


class Sidecar:
    """One sidecar process under test."""

    __slots__ = ("_admin", "name", "pid")

    def __init__(self, name: str, pid: int, admin: Address) -> None:
        self.name = name
        self.pid = pid
        self._admin = Client(admin)

    async def counts(self) -> Counts:
        """What it says of itself now."""
        return read_counts((await self._admin.call(encode("GET", "/metrics"))).body)

    def close(self) -> None:
        """Hang up."""
        self._admin.close()


class McpHouse:
    """Everything under test; `asked` are the agents whose questions are put to their client."""

    def __init__(self, folder: Path, asked: Sequence[str]) -> None:
        self.folder = folder
        self.sidecars: list[Sidecar] = []
        self.pipes: list[Pipe] = []
        self._servers: list[Server] = []
        try:
            self.bridge = self._start("bridge", bridge_command(poll_s=0.5))
            mcp = self._start("mcp-server", [str(ROOT / "bench" / "mcp_server.py")])
            self._config = folder / "sidecar.toml"
            self._config.write_text(config_text(f"http://{mcp.host}:{mcp.port}", asked))
            command = sidecar_command(self.bridge, folder, name="http", settings=("log.level=warning",))
            self._main = start("http", [*command, "--config", str(self._config)], folder)
        except BaseException:
            self._stop_servers()
            raise
        self.url = f"http://{self._main.ready['data']}/mcp"
        self.sidecars.append(Sidecar("http", self._main.pid, self._main.address("admin")))

    def _start(self, name: str, command: Sequence[str]) -> Address:
        server = start(name, command, self.folder)
        self._servers.append(server)
        return server.address("listen")

    async def open_pipe(self, name: str, *, is_modern: bool) -> Pipe:
        """Launch one more sidecar with a server behind it.

        Raises:
            StartFailedError: it did not come up.
        """
        log = self.folder / f"{name}.log"
        pipe = await launch(name, self._pipe_command(name), log, is_modern=is_modern)
        self.pipes.append(pipe)
        until = time.perf_counter() + READY_S
        while (admin := admin_in(log.read_text(errors="replace"))) is None:
            if pipe.process.returncode is not None or time.perf_counter() > until:
                raise StartFailedError(f"{name} did not start: {log.read_text(errors='replace')[-2000:]}")
            await asyncio.sleep(LOOK_S)
        self.sidecars.append(Sidecar(name, pipe.process.pid, admin))
        return pipe

    def _pipe_command(self, name: str) -> list[str]:
        command = [sys.executable, "-m", "proxy", "stdio", "--config", str(self._config), "--admin", "127.0.0.1:0"]
        command += ["--bridge", f"http://{self.bridge.host}:{self.bridge.port}"]
        command += ["--state", f"sqlite://{self.folder / name}.db", "--set", "log.format=json"]
        command += ["--set", "flags.elicitation_enabled=true", "--set", "flags.elicitation_percentage=100"]
        for limit in WIDE_LIMITS:
            command += ["--set", limit]
        return [*command, "--", sys.executable, str(ROOT / "bench" / "mcp_line_server.py")]

    async def close(self) -> dict[str, int]:
        """End the sidecars that clients launched; their exit codes."""
        for sidecar in self.sidecars:
            sidecar.close()
        return {pipe.name: await pipe.close() for pipe in self.pipes}

    def stop(self) -> int:
        """End all else; the exit code of the sidecar before the MCP server."""
        code = self._main.stop()
        self._stop_servers()
        return code

    def _stop_servers(self) -> None:
        for server in self._servers:
            server.stop()

    def log_end(self) -> str:
        """The last lines of all logs that tell of trouble."""
        found: list[str] = []
        for log in sorted(self.folder.glob("*.log")):
            lines = [line for line in log.read_text(errors="replace").splitlines() if '"level":"info"' not in line]
            found += [f"{log.name}: {line[:2000]}" for line in lines[-5:]]
        return "\n".join(found)
