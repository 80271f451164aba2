"""Load in a closed loop: so many connections, each sending the next request when it has its reply.

`wrk` does it where it is on PATH and the turn lasts a second or more; otherwise a small client of our own.
"""

import asyncio
import math
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.http_client import Address, BadReplyError, Connection

BODY: Final = (
    b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"lighthouse_get_health",'
    b'"arguments":{"verbose":true,"scope":"all","padding":"0123456789abc"}}}'
)
"""A tool call of 157 bytes. Source: the method of PERFORMANCE.md, section 0."""

HEADERS: Final = (
    ("Host", "127.0.0.1"),
    ("User-Agent", "bench"),
    ("Accept", "application/json, text/event-stream"),
    ("Accept-Encoding", "identity"),
    ("Authorization", "Bearer 0123456789abcdef0123456789abcdef:agent-1:1795386707.7363582"),
    ("Mcp-Session-Id", "5d4c3b2a1908f7e6d5c4b3a291807f6e"),
    ("MCP-Protocol-Version", "2025-06-18"),
    ("Content-Type", "application/json"),
)
PATH: Final = "/mcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one turn of load brought."""

    requests: int
    errors: int
    seconds: float
    latencies_ms: tuple[float, ...]
    """Empty when `wrk` made the load."""
    tool: str


def request_bytes() -> bytes:
    """The request as it goes over the wire."""
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in HEADERS)]
    return "\r\n".join([*lines, f"Content-Length: {len(BODY)}", "", ""]).encode() + BODY


async def press(address: Address, *, connections: int, seconds: float, use_wrk: bool) -> Load:
    """Load one server for `seconds`."""
    wrk = shutil.which("wrk") if use_wrk and seconds >= 1 else None
    if wrk is not None:
        return await _press_with_wrk(wrk, address, connections=connections, seconds=seconds)
    latencies: list[float] = []
    errors: list[str] = []
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_one_connection(address, started + seconds, latencies, errors))
    spent = time.perf_counter() - started
    return Load(
        requests=len(latencies), errors=len(errors), seconds=spent, latencies_ms=tuple(latencies), tool="asyncio"
    )


async def _one_connection(address: Address, until: float, latencies: list[float], errors: list[str]) -> None:
    request = request_bytes()
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, address.host, address.port)
    try:
        async with asyncio.timeout(until - time.perf_counter() + 10):
            while time.perf_counter() < until:
                reply = await connection.call(request)
                if reply.status != 200:
                    errors.append(str(reply.status))
                latencies.append((reply.received_at - reply.sent_at) * 1000)
    except (OSError, TimeoutError, BadReplyError) as error:
        errors.append(type(error).__name__)
    finally:
        connection.abort()


async def _press_with_wrk(wrk: str, address: Address, *, connections: int, seconds: float) -> Load:
    with tempfile.TemporaryDirectory(prefix="elicit-wrk-") as folder:
        script = Path(folder) / "post.lua"
        await asyncio.to_thread(script.write_text, lua_script())
        arguments = ["-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "-s", str(script)]
        process = await asyncio.create_subprocess_exec(
            wrk, *arguments, f"http://{address.host}:{address.port}{PATH}", stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
    return read_wrk(said.decode())


def lua_script() -> str:
    """The same request for `wrk`; it sets Host and Content-Length itself."""
    lines = ['wrk.method = "POST"', f"wrk.body = [==[{BODY.decode()}]==]"]
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in HEADERS if name != "Host"]
    return "\n".join(lines) + "\n"


def read_wrk(said: str) -> Load:
    """Read what `wrk` 4 prints.

    Raises:
        ValueError: no count of requests.
    """
    count = re.search(r"(\d+) requests in ([\d.]+)(s|m)", said)
    if count is None:
        raise ValueError(f"expected the report of wrk, got {said[:200]!r}")
    socket_errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    errors = sum(int(number) for number in socket_errors.groups()) if socket_errors else 0
    return Load(
        requests=int(count[1]),
        errors=errors + (int(refused[1]) if refused else 0),
        seconds=float(count[2]) * (60 if count[3] == "m" else 1),
        latencies_ms=(),
        tool="wrk",
    )
