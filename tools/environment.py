"""Make a virtual environment hold exactly what `uv.lock` says, on a machine that has nothing but Python.

    python3 tools/environment.py DIRECTORY [--group NAME]... [--exact] [--install-project]

The lock file names versions and hashes but no package index (docs/decisions/0001-neutral-lock-file.md): packages
come from the index this machine is configured with, and the hashes tell whether they are the right ones. Only the
standard library is used, as nothing else is there yet.
"""

import argparse
import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

UV_VERSION = "0.13.9"
"""The one package that is installed before the lock file can be read. Source: the version that wrote the lock."""


def _run(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run([str(word) for word in command], env=env, check=False)
    if done.returncode:
        sys.exit(f"tools/environment.py: this failed with exit code {done.returncode}: {' '.join(map(str, command))}")


def _output(program: Path, *words: str) -> str:
    done = subprocess.run(
        [str(program), *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    return done.stdout.strip()


def _pip_settings(python: Path) -> dict[str, str]:
    """What pip is configured with when it installs, by its files and by environment variables."""
    # `pip config get` does not find what PIP_CONFIG_FILE holds; `list` does, one SCOPE.NAME='VALUE' a line.
    found = re.findall(
        r"^(global|install|:env:)\.([\w-]+)=(.+)$", _output(python, "-m", "pip", "config", "list"), re.MULTILINE
    )
    ranks = ("global", "install", ":env:")
    return {name: str(ast.literal_eval(value)) for rank in ranks for scope, name, value in found if scope == rank}


def index_environment(python: Path) -> dict[str, str]:
    """The environment for uv: where it names no index itself, pip's index is taken, which uv does not look up."""
    env, pip = dict(os.environ), _pip_settings(python)
    if not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & env.keys() and "index-url" in pip:
        env["UV_DEFAULT_INDEX"] = pip["index-url"]
    if "cert" in pip:
        env.setdefault("SSL_CERT_FILE", pip["cert"])
    return env


def make(directory: Path) -> Path:
    """Create the environment if it is not there, with uv in it; returns its interpreter."""
    python = directory / "bin" / "python"
    if not python.exists():
        # The command and not the library: it says what to install where the system lacks ensurepip.
        _run([sys.executable, "-m", "venv", directory])
    uv = directory / "bin" / "uv"
    found = _output(uv, "--version") if uv.exists() else ""
    if found.split()[1:2] != [UV_VERSION]:
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"uv=={UV_VERSION}"])
    return python


def install(directory: Path, groups: Sequence[str], *, exact: bool, project: bool) -> None:
    """Install the runtime dependencies and `groups`; `exact` also removes what does not belong."""
    python = make(directory)
    uv, env = directory / "bin" / "uv", index_environment(python)
    wanted = directory / "requirements.txt"
    named = [word for group in groups for word in ("--group", group)]
    export = ["export", "--quiet", "--frozen", "--no-default-groups", "--no-emit-project", *named]
    _run([uv, *export, "--format", "requirements.txt", "--output-file", wanted], env=env)
    how = ["sync"] if exact else ["install", "--requirements"]
    _run([uv, "pip", *how, wanted, "--quiet", "--require-hashes", "--python", python], env=env)
    if project:
        # Without isolation the build backend is the locked one, too.
        editable = ["--no-deps", "--no-build-isolation", "--editable", "."]
        _run([uv, "pip", "install", "--quiet", "--python", python, *editable], env=env)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--group", action="append", default=[], dest="groups", help="dependency group; repeatable")
    parser.add_argument("--exact", action="store_true", help="remove what does not belong")
    parser.add_argument("--install-project", action="store_true", help="install this project, editable")
    given = parser.parse_args()
    install(given.directory, given.groups, exact=given.exact, project=given.install_project)


if __name__ == "__main__":
    main()
