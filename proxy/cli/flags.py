"""`elicit-sidecar flags get|set|history`: the feature flags of a running sidecar."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import orjson

from proxy.cli.admin_client import AdminClient, admin_options
from proxy.core.errors import InvalidFlags
from proxy.core.flags import parse_patch
from proxy.core.printable import printable, printable_json


@click.group("flags")
def command() -> None:
    """Read and change the feature flags of a running sidecar."""


@command.command("get")
@admin_options
def get(*, config: Path | None, admin: str | None, token_file: Path | None, as_json: bool) -> None:
    """Print the flags and their version."""
    _print_flags(AdminClient(config, admin, token_file).call("GET", "/feature_flags"), as_json=as_json)


@command.command("set")
@click.argument("settings", nargs=-1, required=True, metavar="FLAG=VALUE...")
@click.option("--reason", default="", help="Why; kept in the history.")
@admin_options
def set_flags(
    *,
    settings: tuple[str, ...],
    reason: str,
    config: Path | None,
    admin: str | None,
    token_file: Path | None,
    as_json: bool,
) -> None:
    """Change flags, for example `elicitation_percentage=25` or `elicitation_whitelist=alice,bob`.

    Needs an operator token: --token-file, or admin.token_file of the configuration.
    """
    patch: dict[str, object] = dict(_parse_setting(setting) for setting in settings)
    if reason:
        patch["reason"] = reason
    try:
        parse_patch(patch)
    except InvalidFlags as error:
        click.echo(printable(str(error)), err=True)
        sys.exit(2)
    client = AdminClient(config, admin, token_file)
    _print_flags(client.call("POST", "/feature_flags", patch), as_json=as_json)


@command.command("history")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Most changes shown.")
@admin_options
def history(*, limit: int, config: Path | None, admin: str | None, token_file: Path | None, as_json: bool) -> None:
    """Print the latest changes, newest first."""
    reply = AdminClient(config, admin, token_file).call("GET", f"/feature_flags/history?limit={limit}")
    if as_json:
        click.echo(printable_json(reply))
        return
    changes = reply.get("history", [])
    for change in changes if isinstance(changes, list) else []:
        at = datetime.fromtimestamp(change["at"], UTC).isoformat(timespec="seconds")
        told = ", ".join(f"{flag}: {old!r} -> {new!r}" for flag, (old, new) in change["changes"].items())
        line = f"{change['version']:>5}  {at}  {change['author']}  {told}  {change['reason']}".rstrip()
        click.echo(printable(line))


def _parse_setting(setting: str) -> tuple[str, object]:
    """`flag=value`, where the value is JSON or, failing that, a comma separated list for the two lists."""
    flag, equals, text = setting.partition("=")
    if not equals:
        click.echo(f"expected FLAG=VALUE, got {setting!r}", err=True)
        sys.exit(2)
    try:
        return flag, orjson.loads(text)
    except orjson.JSONDecodeError:
        return flag, [name.strip() for name in text.split(",") if name.strip()] if flag.endswith("list") else text


def _print_flags(flags: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        click.echo(printable_json(flags))
        return
    shown = flags.get("flags", flags)
    for flag, value in (shown if isinstance(shown, dict) else flags).items():
        click.echo(f"{printable(flag):<24} {printable_json(value)}")
