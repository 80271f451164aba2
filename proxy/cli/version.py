"""`elicit-sidecar version`: print the version."""

import platform

import click
import orjson

from proxy import __version__


@click.command("version")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, as_json: bool) -> None:
    """Print the version of the sidecar and of the Python it runs on."""
    told = {"version": __version__, "python": platform.python_version()}
    click.echo(orjson.dumps(told) if as_json else f"elicit-sidecar {told['version']} (Python {told['python']})")
