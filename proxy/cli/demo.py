"""`elicit-sidecar demo`: watch one exchange in each cohort, then keep serving."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from proxy.config.load import load_config
from proxy.config.problems import ConfigError, Unfit
from proxy.config.schema import Config
from proxy.config.shapes import Address, parse_address
from proxy.core.errors import OurFault

if TYPE_CHECKING:
    from proxy.demo.story import Plan, Show

USAGE_EXIT = 2
"""Exit code of a usage or configuration error. Source: ARCHITECTURE.md 3.3."""

PORTS = (("--listen", "the agents' port"), ("--admin", "the operators' port"), ("--bridge-listen", "the Bridge"))


def _parse_listen(_context: click.Context, _option: click.Parameter, value: str | None) -> Address | None:
    try:
        return None if value is None else parse_address(value)
    except Unfit as unfit:
        raise click.BadParameter(f"expected HOST:PORT, got {value!r}; {unfit}") from unfit


@click.group("demo", invoke_without_command=True, subcommand_metavar="")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The sidecar's TOML file; see config.example.toml.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep state, token file and logs here; without it a temporary folder, removed at the end.",
)
@click.option("--once", is_flag=True, help="Stop after the story.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as one JSON object.")
@click.option("--listen", metavar="HOST:PORT", callback=_parse_listen, help="Data port (listen.data).")
@click.option("--admin", metavar="HOST:PORT", callback=_parse_listen, help="Admin port (listen.admin).")
@click.option(
    "--bridge-listen", metavar="HOST:PORT", callback=_parse_listen, help="The development Bridge (bridge.url)."
)
@click.pass_context
def command(  # one parameter per option
    context: click.Context,
    *,
    config: Path | None,
    state_dir: Path | None,
    once: bool,
    as_json: bool,
    listen: Address | None,
    admin: Address | None,
    bridge_listen: Address | None,
) -> None:
    """Watch the sidecar at work: a Bridge, a sidecar and two legacy agents, on this machine.

    One question is asked and answered in the legacy cohort, one in the elicitation cohort, with the times of both.
    Then everything serves on until Ctrl-C or SIGTERM. Port 0 takes a free port.
    """
    if context.invoked_subcommand is not None:
        return
    from proxy.demo.story import Plan  # noqa: PLC0415  # `--help` does not wait for it

    loaded = _load(config)
    places = (
        listen or loaded.listen.data,
        admin or loaded.listen.admin,
        bridge_listen or _bridge_address(loaded),
    )
    _refuse_busy(places)
    with _folder(state_dir) as folder:
        file = None if config is None else config.resolve()
        plan = Plan(folder=folder, config=file, listen=places[0], admin=places[1], bridge=places[2], is_once=once)
        sys.exit(_play(plan, as_json=as_json))


@command.command(
    "child",
    hidden=True,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
def child(*, words: tuple[str, ...]) -> None:
    """Run another command, or a legacy agent, until standard input ends; the demo starts its children this way."""
    from proxy.demo.leash import hold_leash  # noqa: PLC0415  # only a child needs it

    hold_leash()
    if words[0] == "agent":
        from proxy.demo import legacy_agent  # noqa: PLC0415  # only an agent needs it

        sys.exit(legacy_agent.main(list(words[1:])))
    from proxy.cli.main import main  # noqa: PLC0415  # it imports this file

    main(list(words))


def _load(config: Path | None) -> Config:
    try:
        return load_config(config, env=os.environ, overrides={}).config
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(USAGE_EXIT)


def _bridge_address(config: Config) -> Address:
    """Where the sidecar expects its Bridge: there the development Bridge listens."""
    parts = urlsplit(config.bridge.url)
    return Address(parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80))


def _refuse_busy(places: tuple[Address, ...]) -> None:
    for (option, what), address in zip(PORTS, places, strict=True):
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        try:
            with socket.create_server((address.host, address.port), family=family):
                continue
        except OSError as error:
            free = f"{option} {Address(address.host, 0)}"
            raise click.ClickException(
                f"{what}: cannot listen on {address}: {error.strerror or error}; "
                f'end what listens there, or take a free port with {free} (by make: `make run ARGS="{free}"`)'
            ) from error


@contextmanager
def _folder(state_dir: Path | None) -> Iterator[Path]:
    if state_dir is None:
        # A child killed at the very end may still write; what it leaves is no reason to fail.
        with tempfile.TemporaryDirectory(prefix="elicit-sidecar-demo-", ignore_cleanup_errors=True) as name:
            yield Path(name).resolve()
        return
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot make --state-dir {state_dir}: {error.strerror or error}") from error
    yield state_dir.resolve()


def _play(plan: "Plan", *, as_json: bool) -> int:
    from proxy.demo.narrator import run_demo  # noqa: PLC0415  # aiohttp and rich are loaded only now
    from proxy.demo.show import JsonShow, TextShow  # noqa: PLC0415

    show: Show = JsonShow(sys.stdout, sys.stderr) if as_json else TextShow(sys.stdout)

    async def play() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await run_demo(plan, show, stop)

    try:
        with asyncio.Runner() as runner:
            runner.run(play())
    except OurFault as fault:
        click.echo(f"the demo failed: {fault.detail}", err=True)
        return 1
    return 0
