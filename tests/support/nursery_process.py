"""Load the product once, and let everybody who is to run it be a fork of this process: `python -m ... DESCRIPTOR`.

The descriptor is a socket that keeps messages apart. An order comes with the three standard descriptors of the child;
what goes back is the id of each child, and later how it ended. The end of the socket ends this process.
"""

import gc
import json
import os
import runpy
import selectors
import socket
import sys
from collections.abc import Sequence
from typing import Final, TypedDict

import coverage
import uvloop

from proxy.cli import bridge, run, stdio
from proxy.devbridge import serve
from proxy.wiring import keep, reload
from proxy.wiring import stdio as stdio_house

LOADED: Final = (uvloop, bridge, run, stdio, serve, keep, reload, stdio_house)
"""What the commands load, most of it only when they are at work."""

LONGEST: Final = 1 << 20
"""More bytes than an order has: its environment is the most of it."""

HIGHEST: Final = 4096
"""No descriptor of this process is higher."""


class Order(TypedDict):
    """What a child is to run."""

    words: list[str]
    """`-m MODULE WORD...` or `SCRIPT WORD...`."""
    env: dict[str, str]
    cwd: str


def brood(control: socket.socket) -> Order | None:
    """Fork whenever it is asked for: in a child its order, in this process None at the end."""
    with control, selectors.DefaultSelector() as watched:
        watched.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in watched.select():
                if key.fileobj is not control:
                    watched.unregister(key.fileobj)
                    _bury(control, key.fd, key.data)
                    continue
                order, descriptors, _, _ = socket.recv_fds(control, LONGEST, 3)
                if not order:
                    return None
                pid = os.fork()
                if pid == 0:
                    watched.close()
                    control.close()
                    _stand_on(descriptors)
                    taken: Order = json.loads(order)
                    return taken
                for descriptor in descriptors:
                    os.close(descriptor)
                control.send(json.dumps({"pid": pid}).encode())
                watched.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)


def _bury(control: socket.socket, descriptor: int, pid: int) -> None:
    os.close(descriptor)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    control.send(json.dumps({"pid": pid, "code": code}).encode())


def _stand_on(descriptors: Sequence[int]) -> None:
    """Take these as standard input, output and error, and have no other."""
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
    os.closerange(len(descriptors), HIGHEST)


def become(order: Order) -> None:
    """Be what a new interpreter would be that was started with these words."""
    os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    coverage.process_startup(force=True)  # does nothing where nobody measures
    first, *words = order["words"]
    if first == "-m":
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *words]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    gc.freeze()
    if ordered := brood(socket.socket(fileno=int(sys.argv[1]))):
        become(ordered)
