"""`elicit-sidecar report NAME`: documents about a sidecar, made from its configuration and its state."""

import sys
import time
from pathlib import Path

import click

from proxy.cli.audit import write_private
from proxy.cli.run import load_with_defaults, say_problems
from proxy.config.problems import ConfigError
from proxy.reports.checks import Component, Verdict
from proxy.reports.forms import Form, write
from proxy.reports.security import judge, to_document, to_plain
from proxy.wiring.security_facts import security_facts, trail_of_file


@click.group("report")
def command() -> None:
    """Write a report about a sidecar, while it runs and after it died."""


@command.command("security")
@click.option(
    "--component", type=click.Choice([each.value for each in Component]), help="What it is about; default: all."
)
@click.option(
    "--format",
    "form",
    type=click.Choice([each.value for each in Form]),
    default="md",
    show_default=True,
    help="Its form.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="The sidecar's TOML file.")
@click.option("--state", metavar="URL", help="Its state; default: state.url of the configuration.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other key, as for `run`.")
def security(
    *,
    component: str | None,
    form: str,
    as_json: bool,
    output: Path | None,
    config: Path | None,
    state: str | None,
    settings: tuple[str, ...],
) -> None:
    """What was refused, to whom and why, how the sidecar is set up, and what to do about it, ranked.

    Read from the configuration, the files that it names and the audit trail. Exit code 1 when a check has failed, by a
    finding of rank high or an audit trail that is not whole, and when something could not be read: rank unknown.
    """
    try:
        loaded = load_with_defaults(config, {} if state is None else {"state.url": state}, settings)
    except ConfigError as error:
        sys.exit(say_problems(error))
    facts = security_facts(loaded.config, trail_of_file(loaded.config), wall=time.time())
    report = judge(facts, None if component is None else Component(component))
    text = write(to_document(report), to_plain(report), Form.JSON if as_json else Form(form))
    if output is None:
        click.echo(text, nl=False)
    else:
        write_private(output, text.encode())
    sys.exit(0 if report.verdict is Verdict.PASSED else 1)
