"""`elicit-sidecar check`: print the effective configuration, or everything that is wrong with it."""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import orjson

from proxy.config.exposure import check_exposure
from proxy.config.keys import read_key_ring
from proxy.config.load import Loaded, load_config, parse_overrides
from proxy.config.problems import ConfigError
from proxy.config.render import to_plain, to_toml
from proxy.config.tls import check_files
from proxy.config.tokens import read_tokens

BAD_CONFIGURATION = 2
"""Exit code. Source: ARCHITECTURE.md 3.3, usage or configuration."""


@click.command("check", short_help="Check a configuration file and print what it means.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override one key; repeatable.")
def command(*, file: Path, as_json: bool, settings: tuple[str, ...]) -> None:
    """Check FILE as `run` would read it, with ELICIT_SIDECAR_* variables and --set on top.

    Prints the effective configuration with the origin of every value, secrets redacted. If anything is wrong,
    prints every problem on its own line and exits with code 2. A certificate that has expired is a warning.
    """
    try:
        loaded = load_config(file, env=os.environ, overrides=parse_overrides(settings))
        check_exposure(loaded.config)
        if loaded.config.admin.token_file:
            read_tokens(Path(loaded.config.admin.token_file))
        read_key_ring(loaded.config)
        warnings = check_files(loaded.config, time.time())
    except ConfigError as error:
        _report(error, as_json=as_json)
        raise click.exceptions.Exit(BAD_CONFIGURATION) from error
    _show(loaded, warnings, as_json=as_json)


def _report(error: ConfigError, *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps({"problems": [asdict(problem) for problem in error.problems]}))
        return
    for problem in error.problems:
        click.echo(str(problem), err=True)


def _show(loaded: Loaded, warnings: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        shown = {"config": to_plain(loaded.config), "origins": dict(loaded.origins), "warnings": warnings}
        click.echo(orjson.dumps(shown))
        return
    click.echo(to_toml(loaded), nl=False)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
