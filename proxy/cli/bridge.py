"""`elicit-sidecar bridge`: run the development Bridge."""

import asyncio
import signal
from pathlib import Path

import click
import orjson

from proxy.devbridge.settings import Settings, Switches, parse_switch

NOTICE = "development Bridge: for demos, tests and benchmarks only, never for production"


def _parse_listen(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"expected HOST:PORT, got {value!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _parse_switches(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, bool | int]:
    try:
        return dict(parse_switch(value) for value in values)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("bridge")
@click.option(
    "--listen",
    default="127.0.0.1:8765",
    show_default=True,
    metavar="HOST:PORT",
    callback=_parse_listen,
    help="Where to listen; port 0 takes a free one.",
)
@click.option("--no-elicitation", is_flag=True, help="Be an older Bridge: /elicitation/* answers 404.")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the event log in this file over restarts; tokens never outlive the process.",
)
@click.option(
    "--poll-seconds",
    type=click.FloatRange(min=0.001, max=300),
    default=1.0,
    show_default=True,
    help="Pause between two looks of a parked wait; the real Bridge takes one second.",
)
@click.option(
    "--set",
    "switches",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_parse_switches,
    help=f"Set a switch: {', '.join(Switches().as_json())}. May be repeated; POST /dev/switches sets them later.",
)
def command(
    *,
    listen: tuple[str, int],
    no_elicitation: bool,
    state: Path | None,
    poll_seconds: float,
    switches: dict[str, bool | int],
) -> None:
    """Run a small Bridge FOR DEVELOPMENT ONLY.

    It speaks the legacy Bridge's wire contract, the long poll and elicitation, for demos, tests and benchmarks. It is
    no Bridge for production: anybody may take any agent's name, its defects can be switched on by anybody who reaches
    it, and its event log lives in memory unless --state is given.

    When it is ready it prints one line of JSON on standard output. SIGTERM or Ctrl-C stops it at once.
    """
    # Imported here so that other commands start without the server.
    import uvloop  # noqa: PLC0415  (see above)

    patch = {"elicitation": False} | switches if no_elicitation else switches
    settings = Settings(switches=Switches().patched(patch), poll_s=poll_seconds, state_file=state)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings, listen))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"the development Bridge cannot run: {error}") from error


async def _run(settings: Settings, address: tuple[str, int]) -> None:
    from proxy.devbridge.serve import serve  # noqa: PLC0415  (aiohttp is loaded only when serving)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, address, _announce, stop)


def _announce(host: str, port: int) -> None:
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    click.echo(f"{NOTICE}; listening on http://{shown}", err=True)
    click.echo(orjson.dumps({"event": "ready", "listen": shown, "url": f"http://{shown}"}))
