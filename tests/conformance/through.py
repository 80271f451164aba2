"""Run a client of the conformance suite through a sidecar of its own; the suite starts this in the client's place.

    through.py [--set KEY=VALUE]... -- COMMAND... URL

The sidecar stands in front of the URL's origin and takes its path for the MCP path. The exit code is the client's.
"""

import subprocess
import sys
from typing import Final
from urllib.parse import urlsplit

from tests.support.processes import children

CLIENT_S: Final = 60.0
"""Longest run of a client, seconds; the suite itself gives up after 30."""


def main(words: list[str]) -> int:
    """Start the sidecar, then the client, and end both."""
    border = words.index("--")
    settings, command, url = words[:border], words[border + 1 : -1], urlsplit(words[-1])
    path = url.path or "/"
    with children(fresh=True) as started:
        where = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state", "memory:"]
        bridge = ["--bridge", f"{url.scheme}://{url.netloc}", "--set", f"bridge.mcp_path={path}"]
        port = str(started.run("run", *where, *bridge, *settings).hear(event="ready")["data"]).rpartition(":")[2]
        done = subprocess.run([*command, f"http://localhost:{port}{url.path}"], timeout=CLIENT_S, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
