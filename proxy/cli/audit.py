"""`elicit-sidecar audit`: read the audit trail of a sidecar, check it, and carry it elsewhere."""

import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import click

from proxy.cli.admin_client import AdminClient, admin_options
from proxy.cli.run import load_with_defaults, say_problems
from proxy.config.problems import ConfigError
from proxy.core.audit import DIGEST_BYTES, Entry, Head, Trail, lines_of, read_lines
from proxy.core.audit_check import Broken, Intact, describe, holds, verify
from proxy.core.errors import StateUnavailable
from proxy.core.printable import printable, printable_json
from proxy.stores.audit_file import Unreadable, read_audit

BROKEN: Final = 1
UNUSABLE: Final = 2
"""Exit codes. Source: ARCHITECTURE.md 3.3."""

_HEAD: Final = re.compile(rf"([0-9]{{1,15}}):([0-9a-f]{{{2 * DIGEST_BYTES}}})")

_CONFIG = click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="The sidecar's TOML file.")
_STATE = click.option("--state", metavar="URL", help="Its state; default: state.url of the configuration.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("audit", invoke_without_command=True)
@click.option("--after", type=click.IntRange(0), help="Show entries behind this number; default: the last ones.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="Most entries shown.")
@admin_options
@click.pass_context
def command(
    context: click.Context,
    *,
    after: int | None,
    limit: int,
    config: Path | None,
    admin: str | None,
    token_file: Path | None,
    as_json: bool,
) -> None:
    """Read the audit trail: what operators did, and which calls were refused.

    Without a command, prints the last entries as a running sidecar tells them; needs a viewer token where it has a
    token file. The commands read the state file itself, also while the sidecar runs and after it died.
    """
    if context.invoked_subcommand is not None:
        return
    path = f"/audit?limit={limit}" + ("" if after is None else f"&after={after}")
    reply = AdminClient(config, admin, token_file).call("GET", path)
    if as_json:
        click.echo(printable_json(reply))
        return
    entries = reply.get("entries", [])
    for entry in entries if isinstance(entries, list) else []:
        click.echo(printable(_line(entry)))


def _line(entry: dict[str, object]) -> str:
    if "unreadable" in entry:
        return f"{entry['unreadable']:>6}  unreadable: see `elicit-sidecar audit verify`"
    at_ms, subject = entry["at_ms"], entry["subject"]
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds") if isinstance(at_ms, int) else "?"
    told = f"{entry['number']:>6}  {at}  {entry['who']}  {entry['what']}"
    details = printable_json(entry["details"])
    return f"{told}  {subject}  {details}" if subject else f"{told}  {details}"


@command.command("verify")
@_CONFIG
@_STATE
@click.option("--file", "export", type=click.Path(path_type=Path), help="Check an export in place of the state.")
@click.option("--head", "noted", metavar="NUMBER:DIGEST", help="A head noted earlier, which must be in the trail.")
@_JSON
def verify_trail(
    *, config: Path | None, state: str | None, export: Path | None, noted: str | None, as_json: bool
) -> None:
    """Check that the trail is whole: exit code 0 when it is, 1 when not, with the place and the kind of the damage.

    What was cut off at the end of an export is noticed only with --head.
    """
    head = None if noted is None else _parse_head(noted)
    if export is None:
        trail = _open(config, state)
        if isinstance(trail, Unreadable):
            told = {"intact": False, "damage": "unreadable", "number": trail.behind + 1, "told": trail.why}
            _end(told, f"broken (unreadable) behind entry {trail.behind}: {trail.why}", as_json=as_json)
        _judge(trail.entries, verify(trail.entries, trail.head), head, as_json=as_json)
    lines = _lines(export)
    entries = [entry for entry in lines if entry is not None]
    # The end is proved by a head that is no older; an older one only has to be in it.
    is_older = head is not None and bool(entries) and head.number < entries[-1].number
    _judge(entries, verify(lines, None if is_older else head), head, as_json=as_json)


def _judge(entries: Sequence[Entry], found: Intact | Broken, noted: Head | None, *, as_json: bool) -> NoReturn:
    if isinstance(found, Broken):
        place = {"damage": found.damage.value, "number": found.number, "place": found.place}
        _end({"intact": False, **place, "told": describe(found)}, describe(found), as_json=as_json)
    is_held = None if noted is None else holds(entries, found, noted)
    if noted is not None and is_held is False:
        said = f"broken (other): the trail does not go on from the noted head {noted.number}"
        _end({"intact": False, "damage": "other", "number": noted.number, "told": said}, said, as_json=as_json)
    unsure = "; the noted head went with old entries" if noted is not None and is_held is None else ""
    head = {"number": found.head.number, "digest": found.head.digest.hex()}
    told: dict[str, object] = {"intact": True, "first": found.begins.number + 1, "losses": list(found.losses)}
    _end({**told, "head": head, "told": describe(found) + unsure}, describe(found) + unsure, as_json=as_json)


def _end(told: dict[str, object], line: str, *, as_json: bool) -> NoReturn:
    click.echo(printable_json(told) if as_json else printable(line))
    sys.exit(0 if told["intact"] else BROKEN)


@command.command("export")
@_CONFIG
@_STATE
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
def export_trail(*, config: Path | None, state: str | None, output: Path | None) -> None:
    """Write the trail as JSON lines, each an entry in its canonical form with its digest.

    Says the head on standard error: kept elsewhere, it proves later that nothing was cut off (verify --head).
    """
    trail = _open(config, state)
    if isinstance(trail, Unreadable):
        _refuse(trail.why, BROKEN)
    lines = b"".join(lines_of(trail.entries))
    if output is None:
        click.echo(lines, nl=False)
    else:
        write_private(output, lines)
    click.echo(f"head {trail.head.number}:{trail.head.digest.hex()}", err=True)


def write_private(path: Path, content: bytes) -> None:
    """Write a file, or end the command where that cannot be; a new one nobody else may read, another keeps its mode."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(content)
    except OSError as error:
        _refuse(f"cannot write {path}: {error.strerror}", UNUSABLE)


def _open(config: Path | None, state: str | None) -> Trail | Unreadable:
    try:
        loaded = load_with_defaults(config, {} if state is None else {"state.url": state}, ())
    except ConfigError as error:
        sys.exit(say_problems(error))
    path = loaded.config.state.sqlite_path
    if path is None:
        _refuse("the state is in memory: read the trail of a running sidecar with `elicit-sidecar audit`", UNUSABLE)
    try:
        return read_audit(path)
    except StateUnavailable as error:
        _refuse(error.detail, UNUSABLE)


def _lines(path: Path) -> list[Entry | None]:
    try:
        return read_lines(path.read_bytes())
    except OSError as error:
        _refuse(f"cannot read {path}: {error.strerror}", UNUSABLE)


def _parse_head(text: str) -> Head:
    match = _HEAD.fullmatch(text)
    if match is None:
        _refuse("--head: expected NUMBER:DIGEST, as `audit export` says it", UNUSABLE)
    return Head(int(match[1]), bytes.fromhex(match[2]))


def _refuse(why: str, code: int) -> NoReturn:
    click.echo(printable(why), err=True)
    sys.exit(code)
