"""`elicit-sidecar keys new|list|rotate|revoke`: the keys by which agents sign.

The file is read, changed and written back whole; what is in it besides keys (blank lines, comments) is not kept.
A sidecar that runs takes the changed file up by itself.
"""

import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Never, TypeVar

import click

from proxy.config.keys import read_keys, variable_of
from proxy.config.load import load_config
from proxy.config.private_write import folder_of, replace_private_text
from proxy.config.problems import ConfigError
from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId, parse_agent_id
from proxy.core.key_file import write_keys
from proxy.core.key_ring import ENTROPY_BYTES, Key, KeyRing, new_key
from proxy.core.printable import printable, printable_json

FAILED: Final = 1
USAGE: Final = 2
"""Exit codes. Source: ARCHITECTURE.md 3.3."""

_DAY_S: Final = 86_400
Command = TypeVar("Command", bound=Callable[..., None])


@click.group("keys")
def command() -> None:
    """Make, show, replace and revoke the keys by which agents sign.

    They stand in the file that --keys names, else in signatures.keys_file of the configuration. A running sidecar
    takes the changed file up by itself. Comments in the file are not kept.
    """


def _keys_options(function: Command) -> Command:
    """Give a command the file of keys, by name or from a configuration, and --json."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option("--keys", type=click.Path(dir_okay=False, path_type=Path), help="The file of keys itself."),
        click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="The TOML file that names it."),
    ):
        function = option(function)
    return function


@command.command("new")
@click.argument("agent")
@click.option(
    "--show", is_flag=True, help="Print the line of the key with its secret, for the file of another sidecar."
)
@_keys_options
def new(*, agent: str, show: bool, config: Path | None, keys: Path | None, as_json: bool) -> None:
    """Add a key of AGENT, which signs from now on; the file is made where there is none."""
    key = _key_of(agent)
    _change(_file(config, keys), lambda ring: ring.with_key(key), may_be_new=True)
    _print_new(key, as_json=as_json, show=show)


@command.command("list")
@_keys_options
def list_keys(*, config: Path | None, keys: Path | None, as_json: bool) -> None:
    """Print all keys without their secrets."""
    found = _read(_file(config, keys)).keys
    if as_json:
        click.echo(printable_json({"keys": [_as_json(key) for key in found]}))
        return
    now = time.time()
    for key in found:
        days = int(key.age_s(now) // _DAY_S)
        told = f"{key.key_id:<18} {key.state:<9} {_date(key)}  {days:>5} days  {key.agent_id}"
        click.echo(printable(told))


@command.command("rotate")
@click.argument("agent")
@click.option(
    "--show", is_flag=True, help="Print the line of the key with its secret, for the file of another sidecar."
)
@_keys_options
def rotate(*, agent: str, show: bool, config: Path | None, keys: Path | None, as_json: bool) -> None:
    """Add a new key of AGENT and let its older ones verify only; revoke them when all sidecars have the new one."""
    key = _key_of(agent)

    def rotated(ring: KeyRing) -> KeyRing:
        if ring.signer_of(key.agent_id) is None:
            raise InvalidInput("expected an agent with an active key; make the first with `keys new`")
        return ring.rotated(key)

    _change(_file(config, keys), rotated)
    _print_new(key, as_json=as_json, show=show)


@command.command("revoke")
@click.argument("key_id", metavar="KEY-ID")
@_keys_options
def revoke(*, key_id: str, config: Path | None, keys: Path | None, as_json: bool) -> None:
    """Make a key good for nothing; its secret is erased, its id stays so that refusals can say why."""
    key = _change(_file(config, keys), lambda ring: ring.revoked(key_id)).find(key_id)
    _say(() if key is None else (key,), as_json=as_json)


def _file(config: Path | None, keys: Path | None) -> Path:
    if keys is not None and config is not None:
        _stop(USAGE, "expected --config or --keys, got both")
    if keys is not None:
        return keys
    try:
        named = load_config(config, env=os.environ, overrides={}).config.signatures.keys_file
    except ConfigError as error:
        _stop(USAGE, str(error))
    if not named:
        _stop(USAGE, "expected --keys FILE, or a configuration with signatures.keys_file")
    if variable_of(named) is not None:
        _stop(USAGE, "the keys stand in the environment, which this cannot write; name a file by --keys")
    return Path(named)


def _key_of(agent: str) -> Key:
    try:
        agent_id: AgentId = parse_agent_id(agent)
    except InvalidInput as error:
        _stop(USAGE, error.detail)
    return new_key(agent_id, entropy=secrets.token_bytes(ENTROPY_BYTES), created_at=time.time())


def _read(file: Path) -> KeyRing:
    try:
        return read_keys(file)
    except ConfigError as error:
        _stop(USAGE, str(error))


def _change(file: Path, change: Callable[[KeyRing], KeyRing], *, may_be_new: bool = False) -> KeyRing:
    try:
        with folder_of(file) as folder:
            ring = KeyRing() if may_be_new and not file.exists() else _read(file)
            changed = change(ring)
            replace_private_text(file, write_keys(changed), folder)
    except InvalidInput as error:
        _stop(FAILED, error.detail)
    except OSError as error:
        _stop(FAILED, f"cannot write {file}: {error.strerror or error}")
    return changed


def _print_new(key: Key, *, as_json: bool, show: bool) -> None:
    if not show:
        _say((key,), as_json=as_json)
        return
    line = write_keys(KeyRing([key])).splitlines()[-1]
    click.echo(printable_json({**_as_json(key), "line": line}) if as_json else line)


def _say(keys: Sequence[Key], *, as_json: bool) -> None:
    for key in keys:
        told = f"{key.key_id} of {key.agent_id} is {key.state}"
        click.echo(printable_json(_as_json(key)) if as_json else printable(told))


def _as_json(key: Key) -> dict[str, object]:
    return {
        "agent_id": key.agent_id,
        "key_id": key.key_id,
        "state": key.state.value,
        "created_at": key.created_at,
    }


def _date(key: Key) -> str:
    return datetime.fromtimestamp(key.created_at, UTC).isoformat(timespec="seconds")


def _stop(code: int, why: str) -> Never:
    click.echo(printable(why), err=True)
    sys.exit(code)
