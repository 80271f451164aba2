"""The page of guarantees: each row names tests that there are, and each bound is the one in the code.

A row is proved by what its last cell names, `tests/room/test_file.py::test_it`; `Test` classes are left out. A bound is
named by its constant, `proxy.core.inbox.MAX_BYTES`, or by its configuration key, whose default counts.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from proxy.config.schema import KEYS, Config

pytestmark = pytest.mark.requirement("guarantees.page")

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guarantees.md"
PROVED = "broken by"
"""Heads the last column of every table."""
BOUND = "name"
"""Heads the column of a bound's constant or key, in the tables that have one."""

ROOMS = ("flows", "stores", "upstream")
"""Where what is kept for others is kept; most of the rest stands on the page as well."""

OF_WORK = {
    "proxy.flows.parked_calls.MAX_TOOL_PAGES",
    "proxy.flows.question_poll.MAX_CHECKS",
    "proxy.flows.showing.MAX_COMPARED",
    "proxy.flows.suspended_wait.MAX_SUSPENDED_S",
    "proxy.stores.writer.MAX_BATCH",
    "proxy.upstream.bridge_bus.MAX_CONFIRMING",
    "proxy.upstream.mcp_envelope.MAX_PAGES",
    "proxy.upstream.mcp_envelope.MAX_ROUNDS",
    "proxy.upstream.mcp_handshake.MAX_FAILED_RESUMES",
    "proxy.upstream.mcp_handshake.MAX_RESUMES",
}
"""Bounds of how often something is done in one go: nothing is kept there for anybody."""

_CONSTANT = re.compile(r"^((?:MAX|KEPT)_\w+): Final", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
_NAME = re.compile(r"`([\w.]+)`")
_LIMIT = re.compile(r"([\d,]+(?:\.\d+)?) ?([A-Za-z]+)?")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "minutes": 60, "hours": 3_600, "day": 86_400, "days": 86_400}


@dataclass(frozen=True)
class Row:
    """One row of a table, its cells by the words above them."""

    line: int
    cells: dict[str, str]

    @property
    def place(self) -> str:
        """Where it stands, and how it begins."""
        return f"guarantees.md:{self.line}: {next(iter(self.cells.values()))[:60]}"


def rows_of(text: str) -> list[Row]:
    """The rows of all tables of a page."""
    found, head = [], None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("|"):
            head = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if head is None:
            head = cells
        elif set(line) - set("|- "):
            found.append(Row(number, dict(zip(head, cells, strict=True))))
    return found


@cache
def _tests_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    found = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(name for name in found if name.startswith("test_"))


def unproved(row: Row, root: Path) -> Iterator[str]:
    """What is wrong with the tests that a row names."""
    named = _TEST.findall(row.cells.get(PROVED, ""))
    if not named:
        yield f"{row.place}: no test breaks it"
    for file, name in named:
        path = root / file
        if not path.is_file():
            yield f"{row.place}: there is no {file}"
        elif not name:
            yield f"{row.place}: which test of {file}?"
        elif name not in _tests_in(path):
            yield f"{row.place}: {file} has no {name}"


def _value_of(name: str) -> object:
    """What a dotted name stands for: the default of a key, or a constant.

    Raises:
        LookupError: nothing.
    """
    words = name.split(".")
    if name in {key.path for key in KEYS}:
        return getattr(getattr(Config(), words[0]), words[1])
    for length in range(len(words) - 1, 1, -1):
        try:
            found: object = importlib.import_module(".".join(words[:length]))
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            if not hasattr(found, word):
                break
            found = getattr(found, word)
        else:
            return found
    raise LookupError(name)


def wrong_bound(row: Row) -> Iterator[str]:
    """What is wrong with the limit that a row gives."""
    if BOUND not in row.cells:
        return
    named, limit = _NAME.fullmatch(row.cells[BOUND]), _LIMIT.match(row.cells["limit"])
    if named is None or limit is None:
        yield f"{row.place}: expected one name in backticks and a limit that begins with a number"
        return
    number, unit = limit.groups()
    stated = float(number.replace(",", "")) * _UNITS.get(unit or "", 1)
    try:
        value = _value_of(named[1])
    except LookupError:
        yield f"{row.place}: nothing is called {named[1]}"
        return
    if value != stated:
        yield f"{row.place}: {named[1]} is {value}, not {stated:g}"


def problems(text: str, root: Path) -> list[str]:
    """Everything that is wrong on a page."""
    return [wrong for row in rows_of(text) for wrong in (*unproved(row, root), *wrong_bound(row))]


def test_every_row_names_tests_that_there_are_and_bounds_that_hold() -> None:
    assert problems(PAGE.read_text("utf-8"), ROOT) == []


def test_the_page_has_promises_bounds_and_faults() -> None:
    rows = rows_of(PAGE.read_text("utf-8"))
    counted = {head: sum(head in row.cells for row in rows) for head in ("promise", "limit", "fault", "found")}
    assert all(count >= least for count, least in zip(counted.values(), (15, 40, 20, 5), strict=True)), counted


def _bounds_in(room: Path) -> Iterator[str]:
    for path in sorted(room.glob("*.py")):
        for name in _CONSTANT.findall(path.read_text("utf-8")):
            yield f"proxy.{room.name}.{path.stem}.{name}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_bound_of_a_room_that_keeps_something_is_on_the_page(room: str) -> None:
    page = PAGE.read_text("utf-8")
    missing = {name for name in _bounds_in(ROOT / "proxy" / room) if f"| `{name}` |" not in page}
    assert missing == {name for name in OF_WORK if name.startswith(f"proxy.{room}.")}


def _page(*cells: str, head: str = "what | limit | name | broken by") -> str:
    return f"| {head} |\n| --- | --- | --- | --- |\n| {' | '.join(cells)} |\n"


HERE = "`tests/test_guarantees.py::test_a_row_that_is_in_order_is_no_problem`"
BYTES = ("copies", "64 MiB", "`proxy.core.inbox.MAX_BYTES`")


@pytest.mark.parametrize(
    "cells",
    [
        (*BYTES, HERE),
        ("waits", "10,000 waits", "`wait.max_parked`", f"{HERE}, {HERE}"),
        ("calls", "1,000", "`proxy.stores.exchange_rules.DEFAULT_BOUNDS.calls`", HERE),
        ("age", "100 days", "`proxy.stores.journal.KEPT_S`", HERE),
    ],
)
def test_a_row_that_is_in_order_is_no_problem(cells: tuple[str, ...]) -> None:
    assert problems(_page(*cells), ROOT) == []


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ((*BYTES, "by hand"), "no test breaks it"),
        ((*BYTES, "`tests/test_nowhere.py::test_it`"), "there is no tests/test_nowhere.py"),
        ((*BYTES, "`tests/test_guarantees.py`"), "which test of tests/test_guarantees.py?"),
        ((*BYTES, "`tests/test_guarantees.py::test_nothing`"), "tests/test_guarantees.py has no test_nothing"),
        (("copies", "63 MiB", BYTES[2], HERE), "proxy.core.inbox.MAX_BYTES is 67108864, not 6.60603e+07"),
        (("copies", "1", "`proxy.core.inbox.MOST`", HERE), "nothing is called proxy.core.inbox.MOST"),
        (("copies", "1", "`wait.most`", HERE), "nothing is called wait.most"),
        (
            ("copies", "many", BYTES[2], HERE),
            "expected one name in backticks and a limit that begins with a number",
        ),
    ],
)
def test_a_row_that_is_out_of_order_is_told_with_its_line(cells: tuple[str, ...], problem: str) -> None:
    assert problems(_page(*cells), ROOT) == [f"guarantees.md:3: copies: {problem}"]
