"""`elicit-sidecar run`: the product's main command."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from proxy.config.load import Loaded, load_config, parse_overrides
from proxy.config.problems import ConfigError
from proxy.core.errors import StateUnavailable

if TYPE_CHECKING:
    from proxy.wiring.keep import Bound

USAGE_EXIT = 2
"""Exit code of a usage or configuration error. Source: ARCHITECTURE.md 3.3."""

STOPPED_BY = (signal.SIGTERM, signal.SIGINT)
"""Signals that ask for an end."""

AGAIN_S = 0.1
"""From when on a second signal counts, in seconds after the first.

Source: ours; what a terminal sends to all of its programs a wrapper like `uv run` sends again, within milliseconds.
"""


@click.command("run")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="The TOML file.")
@click.option("--listen", metavar="HOST:PORT", help="Data port (listen.data); port 0 takes a free one.")
@click.option("--admin", metavar="HOST:PORT", help="Admin port (listen.admin).")
@click.option("--bridge", metavar="URL", help="Where the Bridge is (bridge.url).")
@click.option("--state", metavar="URL", help="Where state is kept (state.url).")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set any other key. May be repeated.")
def command(  # one parameter per option
    *,
    config: Path | None,
    listen: str | None,
    admin: str | None,
    bridge: str | None,
    state: str | None,
    settings: tuple[str, ...],
) -> None:
    """Run the sidecar between one agent and the Bridge.

    Without a file it starts on safe defaults, with elicitation off, and says what it assumed. When it is ready it
    prints one line of JSON with its addresses on standard output. SIGTERM or Ctrl-C answers the parked waits and ends
    with 0 within two seconds; the same again ends at once, by the signal itself. SIGHUP reads the file again.
    """
    named = {"listen.data": listen, "listen.admin": admin, "bridge.url": bridge, "state.url": state}
    given = {key: value for key, value in named.items() if value is not None}

    def load() -> Loaded:
        return load_with_defaults(config, given, settings)

    try:
        loaded = load()
    except ConfigError as error:
        sys.exit(say_problems(error))
    if config is None:
        say_assumptions(
            loaded, agents=f"agents on {loaded.config.listen.data}, operators on {loaded.config.listen.admin}"
        )
    sys.exit(_serve(loaded, config, load))


def load_with_defaults(config: Path | None, given: dict[str, str], settings: tuple[str, ...]) -> Loaded:
    """The configuration of a command; without a file its state is kept where the user's programs keep theirs.

    `given` are keys by option of their own, which win over `settings`, those of `--set`.

    Raises:
        ConfigError: it is not in order.
    """
    overrides = parse_overrides(settings) | given
    if config is None and "state.url" not in overrides and "ELICIT_SIDECAR_STATE_URL" not in os.environ:
        overrides["state.url"] = f"sqlite://{_user_state()}"
    return load_config(config, env=os.environ, overrides=overrides)


def say_problems(error: ConfigError) -> int:
    """Say on standard error what is wrong with a configuration; the exit code that tells it."""
    for problem in error.problems:
        click.echo(str(problem), err=True)
    return USAGE_EXIT


def _user_state() -> Path:
    """The state file of a sidecar without a configuration. Source: XDG Base Directory 0.8, XDG_STATE_HOME."""
    home = os.environ.get("XDG_STATE_HOME")
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "elicit-sidecar" / "state.db"


def say_assumptions(loaded: Loaded, *, agents: str) -> None:
    """Say on standard error what a start without a file stands on; `agents` is who is served, and where."""
    config = loaded.config
    flags = config.flags
    click.echo(
        "no --config: assuming "
        f"the Bridge at {config.bridge.url}, {agents}, "
        f"state in {config.state.url}; flags as stored there, else elicitation "
        f"{'on' if flags.elicitation_enabled else 'off'} at {flags.elicitation_percentage:g} percent; "
        "config.example.toml explains every key",
        err=True,
    )


def _serve(loaded: Loaded, path: Path | None, load: Callable[[], Loaded]) -> int:
    # Imported here so that `--help` and configuration errors do not wait for the server.
    import uvloop  # noqa: PLC0415

    from proxy.observe.logs import configure  # noqa: PLC0415
    from proxy.wiring.descriptors import raise_descriptor_limit  # noqa: PLC0415
    from proxy.wiring.keep import keep_house  # noqa: PLC0415
    from proxy.wiring.reload import ConfigSource  # noqa: PLC0415
    from proxy.wiring.watch import mark_of  # noqa: PLC0415

    mark = mark_of(path)
    raise_descriptor_limit()
    configure(loaded.config.log.level, loaded.config.log.format, sys.stderr)

    async def house() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in STOPPED_BY:
            loop.add_signal_handler(number, _stop, loop, stop)
        source = ConfigSource(path=path, mark=mark, load=load, wanted=asyncio.Event())
        loop.add_signal_handler(signal.SIGHUP, source.wanted.set)
        await keep_house(loaded, ready=_say_ready, stop=stop, source=source)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(house())
    except ConfigError as error:
        return say_problems(error)
    except (StateUnavailable, OSError) as error:
        hint = "; another program listens there: see --listen and --admin" if _is_busy(error) else ""
        click.echo(f"cannot start: {error}{hint}", err=True)
        return 1
    return 0


def _stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Begin the end, and a moment later leave these signals to the system, which ends a process at once."""
    stop.set()
    loop.call_later(AGAIN_S, _end_at_once_next_time, loop)


def _end_at_once_next_time(loop: asyncio.AbstractEventLoop) -> None:
    for number in STOPPED_BY:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)  # for SIGINT the loop brings back KeyboardInterrupt, which unwinds


def _is_busy(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE


def _say_ready(bound: "Bound") -> None:
    told = {"event": "ready", "data": str(bound.data), "admin": str(bound.admin)}
    sys.stdout.write(orjson.dumps(told).decode() + "\n")
    sys.stdout.flush()
