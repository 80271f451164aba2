"""Make the environments of the MCP peers that the tests talk to, each below `.peers` and from its own lock file.

    python tools/peers.py [NAME...]           make them, all if none is named
    python tools/peers.py --lock [NAME...]    resolve tests/peers/locks/NAME.in and node/package.json anew

Versions of one SDK share an import name, so each has an environment of its own. Like `uv.lock`, no lock names a
package index: it is the one this machine is configured with, and the hashes tell whether it delivers what was
locked. Making is idempotent, and safe when several processes ask at once: one makes, the others wait.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tools.environment import index_environment

ROOT: Final = Path(__file__).resolve().parents[1]
HOME: Final = ROOT / ".peers"
"""Where the environments are, one directory each."""

SCRIPTS: Final = ROOT / "tests" / "peers"
LOCKS: Final = SCRIPTS / "locks"
NODE_FILES: Final = SCRIPTS / "node"

NODE: Final = "node"
"""The one environment that npm makes; all others are Python's."""

PYTHONS: Final = ("mcp-1.22", "mcp-1.30", "mcp-2.3", "fastmcp-3", "fastmcp-4")
NAMES: Final = (*PYTHONS, NODE)

STEP_S: Final = 600.0
"""Longest single step, seconds. Source: ours; from an empty cache the largest takes a minute."""

OLDEST_PYTHON: Final = "3.11"
"""What the locks are resolved for, upwards. Source: requires-python in pyproject.toml."""


class PeerError(Exception):
    """An environment cannot be made here; says which step failed and what it said."""


def make(name: str) -> Path:
    """Make one environment unless it is there already, and return its directory.

    Raises:
        PeerError: a tool is missing, or a step failed or took longer than `STEP_S`.
    """
    if name not in NAMES:
        raise PeerError(f"there is no peer {name!r}; known are {', '.join(NAMES)}")
    directory = HOME / name
    stamp, wanted = directory / ".made-from", _fingerprint(name)
    if _text(stamp) == wanted:
        return directory
    with _alone(name):
        if _text(stamp) != wanted:
            shutil.rmtree(directory, ignore_errors=True)
            (_make_node if name == NODE else _make_python)(name, directory)
            stamp.write_text(wanted, "utf-8")
    return directory


def node() -> Path:
    """The Node that the environment brought along.

    Raises:
        PeerError: it brought none, as there is none for this system.
    """
    found = sorted((HOME / NODE / "node_modules").glob("node-*/bin/node"))
    if not found:
        raise PeerError(f"expected a package with Node for {sys.platform} in {NODE_FILES / 'package.json'}, found none")
    return found[0]


def _make_python(name: str, directory: Path) -> None:
    _uv("venv", "--quiet", "--python", sys.executable, directory)
    python = directory / "bin" / "python"
    _uv("pip", "install", "--quiet", "--require-hashes", "--python", python, "--requirements", LOCKS / f"{name}.txt")


def _make_node(_name: str, directory: Path) -> None:
    directory.mkdir(parents=True)
    for file in _files(NODE):
        shutil.copy(file, directory)
    _npm("ci", "--ignore-scripts", at=directory)
    # Scripts run as .peers/node/scripts/X.mjs, so that they find node_modules beside them.
    (directory / "scripts").symlink_to(os.path.relpath(SCRIPTS, directory))
    node()


def lock(name: str) -> None:
    """Resolve one environment anew and write its lock.

    Raises:
        PeerError: as `make`.
    """
    if name == NODE:
        (NODE_FILES / "package-lock.json").unlink(missing_ok=True)
        _npm("install", "--package-lock-only", at=NODE_FILES)
        return
    # Comments would name the folder this stands in and say little that the hashes do not.
    quiet = ["--quiet", "--no-header", "--no-annotate", "--no-emit-index-url"]
    how = [*quiet, "--generate-hashes", "--universal", "--python-version", OLDEST_PYTHON, "--upgrade"]
    _uv("pip", "compile", *how, "--output-file", LOCKS / f"{name}.txt", LOCKS / f"{name}.in")


def _files(name: str) -> tuple[Path, ...]:
    """What an environment is made from."""
    if name == NODE:
        return tuple(NODE_FILES / file for file in ("package.json", "package-lock.json", ".npmrc"))
    return (LOCKS / f"{name}.txt",)


def _fingerprint(name: str) -> str:
    """Changes when the environment must be made again; by which link this Python was called does not count."""
    digest = hashlib.sha256(f"{sys.version}\n{Path(sys.executable).resolve()}\n".encode())
    for file in _files(name):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Keep other processes from making the same environment; the system lets go when this one dies."""
    HOME.mkdir(exist_ok=True)
    (HOME / ".gitignore").write_text("*\n", "utf-8")
    with (HOME / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _uv(*words: str | Path) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = beside if beside.exists() else _tool("uv")

    _step([uv, *words], env=index_environment(Path(sys.executable)), at=ROOT)


def _npm(*words: str, at: Path) -> None:
    _step([_tool("npm"), *words], env=os.environ, at=at)


def _tool(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise PeerError(f"expected the command {name}, it is not installed")
    return Path(found)


def _step(words: Sequence[str | Path], *, env: Mapping[str, str], at: Path) -> None:
    command = [str(word) for word in words]
    told = " ".join([Path(command[0]).name, *command[1:]])
    try:
        done = subprocess.run(command, cwd=at, env=env, capture_output=True, text=True, timeout=STEP_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"this took longer than {STEP_S:g} s: {told}") from error
    if done.returncode:
        raise PeerError(f"this failed with exit code {done.returncode}: {told}\n{done.stderr[-2000:].strip()}")


def main() -> int:
    """Read the command line and do it; 1 if any could not be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; all if none is given")
    parser.add_argument("--lock", action="store_true", help="resolve anew instead of making")
    given = parser.parse_args()
    code = 0
    for name in given.names or NAMES:
        try:
            if given.lock:
                lock(name)
            else:
                make(name)
            print(f"{name}: {'locked' if given.lock else 'there'}", flush=True)
        except PeerError as error:
            print(f"tools/peers.py: {name}: {error}", file=sys.stderr, flush=True)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
