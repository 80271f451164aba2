"""Start `elicit-sidecar stdio` again and again, each life a process of its own, and end it as a client does.

    python stdio_lives.py LIVES

Most of a start is Python's own and that of the libraries, which would make two hundred of them take minutes. So they
are loaded once, and each life is a fork that runs the command from its first line to its exit. What was seen is one
line of JSON; then this process waits for the end of its input, so that others can look at what is left.
"""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Final

import uvloop

from proxy.cli.stdio import command
from proxy.wiring import stdio

LOADED: Final = (uvloop, stdio)
"""What the command loads when it has started its server."""

SERVER: Final = "ls /proc/$$/fd; exec cat"
"""Tells which descriptors it was given."""

WORDS: Final = ("--state", "memory:", "--bridge", "http://127.0.0.1:1", "--", "sh", "-c", SERVER)


def live() -> str:
    """One life; all that it said."""
    stdin, to_sidecar = os.pipe()
    from_sidecar, stdout = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_sidecar(stdin, stdout)
    os.close(stdin)
    os.close(stdout)
    os.write(to_sidecar, b"one\r\n")
    said = b""
    while not said.endswith(b"one\r\n") and (chunk := os.read(from_sidecar, 65_536)):
        said += chunk
    os.close(to_sidecar)
    while chunk := os.read(from_sidecar, 65_536):
        said += chunk
    os.close(from_sidecar)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return f"{said.decode()}{code}"


def _be_sidecar(stdin: int, stdout: int) -> None:
    code = 1
    try:
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        os.closerange(3, max(stdin, stdout) + 64)
        command(list(WORDS))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(code)


def main() -> None:
    """Live as often as asked for."""
    lives = int(sys.argv[1])
    gc.freeze()
    said = {live()}
    before = len(list(Path("/proc/self/fd").iterdir()))
    said |= {live() for _ in range(lives - 1)}
    after = len(list(Path("/proc/self/fd").iterdir()))
    sys.stdout.write(json.dumps({"said": sorted(said), "descriptors": after - before}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
