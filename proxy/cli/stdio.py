"""`elicit-sidecar stdio`: launch an MCP server and stand between it and the client that launched us."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from proxy.cli.run import load_with_defaults, say_assumptions, say_problems
from proxy.config.load import Loaded
from proxy.config.problems import ConfigError
from proxy.core.errors import StateUnavailable
from proxy.upstream.bridge_stdio import Launched, child_environment, launch

if TYPE_CHECKING:
    from proxy.config.shapes import Address

NOT_FOUND_EXIT: Final = 127
"""Exit code when there is no such command. Source: POSIX shell."""

NOT_EXECUTABLE_EXIT: Final = 126
"""Exit code when the command is there and cannot be run. Source: POSIX shell."""


@click.command("stdio", context_settings={"ignore_unknown_options": False})
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="The TOML file.")
@click.option("--bridge", metavar="URL", help="Where the Bridge is (bridge.url).")
@click.option("--state", metavar="URL", help="Where state is kept (state.url).")
@click.option("--admin", metavar="HOST:PORT", help="Open the operators' port here; without it there is none.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set any other key. May be repeated.")
@click.argument("words", nargs=-1, required=True, metavar="-- COMMAND...", type=click.UNPROCESSED)
def command(  # one parameter per option
    *,
    config: Path | None,
    bridge: str | None,
    state: str | None,
    admin: str | None,
    settings: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    """Launch the MCP server COMMAND and stand between it and the MCP client that launched this.

    Standard input and output carry the client's MCP, nothing else; log lines and what the server says on standard
    error go to standard error. The wait tool is served here for agents in the elicitation cohort, every other line
    passes unchanged. The exit code is the server's, 128 and its number when a signal ended it; 126 or 127 when COMMAND
    cannot be run.

    Flags are read from the state when it starts. Through its own operators' port (--admin) they change at once; a
    change that another process writes to the same state is not seen before the next start.
    """
    named = {"listen.admin": admin, "bridge.url": bridge, "state.url": state}
    try:
        loaded = load_with_defaults(config, {key: value for key, value in named.items() if value is not None}, settings)
    except ConfigError as error:
        sys.exit(say_problems(error))
    if config is None:
        say_assumptions(loaded, agents="this client")
    parents = tuple(_parents())
    stdin, stdout = _take_streams()
    try:
        launched = launch(words, child_environment(os.environ, is_frozen=getattr(sys, "frozen", False)))
    except OSError as error:
        click.echo(f"cannot start {shlex.quote(words[0])}: {error.strerror}", err=True)
        sys.exit(NOT_FOUND_EXIT if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE_EXIT)
    where = loaded.config.listen.admin if admin is not None else None
    sys.exit(_serve(loaded, launched, (stdin, stdout, parents), where))


def _parents() -> Iterator[int]:
    """Handles of the processes whose death leaves us alone; a frozen program's own loader stands in between."""
    pids = [os.getppid()]
    if getattr(sys, "frozen", False):
        pids.append(_parent_of(pids[0]))
    for pid in pids:
        with suppress(OSError):  # it is gone, or the kernel has no such handles: the end of input tells as well
            yield os.pidfd_open(pid)


def _parent_of(pid: int) -> int:
    """Source: proc(5), /proc/pid/stat, field 4."""
    return int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[1])


def _take_streams() -> tuple[int, int]:
    """Keep standard input and output for the protocol alone; whatever else prints does so on standard error."""
    stdin, stdout = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return stdin, stdout


def _serve(
    loaded: Loaded, launched: Launched, client: tuple[int, int, tuple[int, ...]], admin: "Address | None"
) -> int:
    # Imported here so that the server starts meanwhile, and configuration errors do not wait for it.
    import asyncio  # noqa: PLC0415

    import uvloop  # noqa: PLC0415

    from proxy.observe.logs import configure, logger  # noqa: PLC0415
    from proxy.wiring.stdio import Streams, keep_pipe  # noqa: PLC0415

    configure(loaded.config.log.level, loaded.config.log.format, sys.stderr)
    stdin, stdout, parents = client

    def ready(bound: "Address | None") -> None:
        where = {} if bound is None else {"admin": str(bound)}
        logger("proxy.cli.stdio").info("ready", server=launched.process.pid, **where)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            streams = Streams(stdin=stdin, stdout=stdout, parents=parents)
            return runner.run(keep_pipe(loaded, launched, streams, admin=admin, ready=ready))
    except ConfigError as error:
        return say_problems(error)
    except (StateUnavailable, OSError) as error:
        click.echo(f"cannot start: {error}", err=True)
        return 1
