"""Write the parts of docs/ that the code knows better than anybody, or check that they are in sync.

    python tools/gen_docs.py --write | --check [ROOT]

A page marks such a part with `<!-- generated: NAME -->` and `<!-- end of NAME -->`; what stands between the marks
is made anew, what stands around them is written by hand.
"""

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import click

from proxy.cli.main import main as command_line
from proxy.config.schema import GROUPS, KEYS, SECTION_NAMES, Key
from proxy.core import errors
from proxy.core.errors import PROBLEM_TYPE_BASE, SidecarError
from proxy.downstream.admin_api import OPERATIONS
from proxy.downstream.admin_auth import Need
from proxy.observe.catalogue import CATALOGUE, Metric

ROOT = Path(__file__).parents[1]
HELP_COLUMNS = 100

_REGION = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end of (?P=name) -->)", re.DOTALL)
_DEFAULT = re.compile(r" ?Default: .*\.$")
_NEEDS: Mapping[Need, str] = {
    Need.PROBE: "loopback, or viewer",
    Need.LOOK: "viewer",
    Need.CHANGE: "operator",
    Need.CHANGE_HERE: "operator, on loopback",
}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells)


def _code(text: object) -> str:
    return f"`{text}`"


# Configuration


def _comment_above(lines: Sequence[str], at: int) -> str:
    comment: list[str] = []
    while lines[at - 1].startswith("#"):
        at -= 1
        comment.insert(0, lines[at].removeprefix("#").strip())
    return " ".join(comment)


def configuration() -> str:
    """One table of keys for each table of the file, with the words of config.example.toml."""
    lines = (ROOT / "config.example.toml").read_text("utf-8").splitlines()
    parts = []
    for section in SECTION_NAMES:
        start = lines.index(f"[{section}]")
        parts.append(f"### `[{section}]`\n\n{_comment_above(lines, start)}\n")
        rows = [_key_row(lines, start, key) for key in KEYS if key.section == section]
        if section != GROUPS:
            parts.append(_table(("key", "default", "meaning", "variable"), rows) + "\n")
    return "\n".join(parts)


def _key_row(lines: Sequence[str], start: int, key: Key) -> tuple[str, ...]:
    at = next(number for number in range(start, len(lines)) if lines[number].startswith(f"{key.name} = "))
    default = lines[at].partition(" = ")[2]
    meaning = _DEFAULT.sub("", _comment_above(lines, at))
    return _code(key.name), _code(default), meaning, _code(key.variable)


# Metrics


def metrics() -> str:
    """Every metric of the catalogue."""
    return _table(("metric", "type", "labels", "meaning"), (_metric_row(metric) for metric in CATALOGUE)) + "\n"


def _metric_row(metric: Metric) -> tuple[str, ...]:
    labels = [f"`{label}`: {', '.join(values) or 'free text'}" for label, values in metric.labels.items()]
    buckets = f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}." if metric.buckets else ""
    return _code(metric.full_name), metric.kind.value, "; ".join(labels), metric.help + buckets


# Errors


def _error_kinds() -> list[type[SidecarError]]:
    """One class for each code: the one that gave the code its meaning last."""
    kinds = (kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, SidecarError))
    return sorted({kind.code: kind for kind in kinds}.values(), key=lambda kind: (kind.fault, kind.status, kind.code))


def error_table() -> str:
    """Every error the sidecar answers with."""
    rows = (
        (
            f'<a id="{kind.code.replace("_", "-")}"></a>{_code(kind.code)}',
            str(kind.status),
            kind.fault.value,
            "yes" if kind.retryable else "no",
            (inspect.getdoc(kind) or kind.title).partition("\n")[0],
        )
        for kind in _error_kinds()
    )
    return (
        f"`type` is `{PROBLEM_TYPE_BASE}` followed by the code with hyphens.\n\n"
        + _table(("code", "status", "whose mistake", "retry helps", "meaning"), rows)
        + "\n"
    )


# Command line


def _walk(name: str, command: click.Command, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    context = click.Context(
        command,
        parent,
        info_name=name,
        terminal_width=HELP_COLUMNS,
        max_content_width=HELP_COLUMNS,
        **command.context_settings,
    )
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None and not found.hidden:
                yield from _walk(inner, found, context)


def commands() -> dict[str, str]:
    """The help of every command, by its full name."""
    return dict(_walk("elicit-sidecar", command_line))


def command_help() -> str:
    """The help of every command, one section for each."""
    return "\n".join(f"## `{name}`\n\n```text\n{text.strip()}\n```\n" for name, text in commands().items())


# Admin port


def admin_table() -> str:
    """Every operation of the admin port."""
    rows = (
        (_code(f"{operation.method} {operation.document_path}"), _NEEDS[operation.need], operation.summary)
        for operation in OPERATIONS
    )
    return _table(("operation", "who may", "what"), rows) + "\n"


PARTS: Mapping[str, Callable[[], str]] = {
    "configuration": configuration,
    "metrics": metrics,
    "errors": error_table,
    "cli": command_help,
    "admin": admin_table,
}
"""What can be generated, by the name in the mark."""


def renewed(text: str) -> str:
    """A page with its generated parts made anew.

    Raises:
        KeyError: a mark names a part that nobody can make.
    """
    return _REGION.sub(lambda match: f"{match[1]}\n{PARTS[match['name']]()}\n{match[3]}", text)


def stale_pages(docs: Path) -> dict[Path, str]:
    """Pages that are out of sync, with what they should be."""
    wanted = {path: renewed(path.read_text("utf-8")) for path in sorted(docs.rglob("*.md"))}
    return {path: text for path, text in wanted.items() if text != path.read_text("utf-8")}


def main() -> int:
    """Check or write; 1 when the check finds a page out of sync."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write what has changed")
    action.add_argument("--check", action="store_true", help="only tell what would change")
    parser.add_argument("root", nargs="?", type=Path, default=ROOT, help="the tree whose docs/ are meant")
    given = parser.parse_args()
    stale = stale_pages(given.root / "docs")
    for path, text in stale.items():
        if given.write:
            path.write_text(text, "utf-8")
        print(f"{path}: {'written' if given.write else 'out of sync, run `make fix`'}")
    if not stale:
        print("generated pages: in sync")
    return 1 if stale and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
