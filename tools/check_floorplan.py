"""Check the house against its plan: rooms, floors and pure parts of `[tool.floorplan]` in pyproject.toml.

    python tools/check_floorplan.py [ROOT]

Every import counts, wherever it stands: lazy ones, and those for types only. Prints one line per breach,
`FILE:LINE: what`, and exits with 1 if there is any. Rules:

- every file is in a room and opens with a sentence that ends in a full stop;
- no file and no function is longer than the plan allows;
- imports go down the stairs: never up, never across a floor, never along a pair in `deny`, never in a circle;
- a pure room has no coroutine and imports nothing that reaches outside.
"""

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

OUTSIDE = frozenset({
    *("aiohttp", "asyncio", "click", "concurrent", "http", "logging", "multiprocessing", "os", "pathlib", "queue"),
    *("random", "redis", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl"),
    *("structlog", "subprocess", "tempfile", "threading", "time", "uvloop", "watchfiles"),
})  # fmt: skip
"""Top-level modules that do I/O, hold a clock or chance, or know processes and threads."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[tool.floorplan]`."""

    package: str
    floors: list[list[str]]
    """Rooms, the lowest floor first."""
    pure: list[str] = []
    deny: list[tuple[str, str]] = []
    """Pairs of importer and imported room."""
    max_file_lines: int
    max_function_lines: int

    def room_of(self, module: str) -> str | None:
        """The innermost room that a module is in."""
        rooms = (room for floor in self.floors for room in floor)
        return max((room for room in rooms if _is_within(module, room)), key=len, default=None)

    def floor_of(self, room: str) -> int:
        """Height of a room, 0 at the bottom."""
        return next(height for height, rooms in enumerate(self.floors) if room in rooms)

    def is_pure(self, module: str) -> bool:
        """Whether a module must not reach outside."""
        return any(_is_within(module, room) for room in self.pure)


@dataclass(frozen=True, slots=True)
class Breach:
    """One place that is not as planned."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Source:
    """One file of the package; `path` is relative to the root of the tree."""

    module: str
    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The file as a syntax tree."""
        return ast.parse(self.text, str(self.path))

    def imports(self, known: Iterable[str]) -> Iterator[tuple[int, str]]:
        """Line and absolute name of everything imported; `from a import b` names `a.b` where that is a module."""
        modules = frozenset(known)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                for alias in node.names:
                    deeper = f"{base}.{alias.name}"
                    yield node.lineno, deeper if deeper in modules else base

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        depth = node.level - (self.path.name == "__init__.py")
        parents = self.module.split(".")
        return ".".join([*parents[: len(parents) - depth], *([node.module] if node.module else [])])


def _is_within(module: str, room: str) -> bool:
    return f"{module}.".startswith(f"{room}.")


def read_plan(root: Path) -> Plan:
    """The plan in `pyproject.toml`.

    Raises:
        msgspec.ValidationError: a key is missing, unknown or of the wrong type.
    """
    tables = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    return msgspec.convert(tables["tool"]["floorplan"], Plan)


def read_sources(root: Path, package: str) -> dict[str, Source]:
    """Every file of the package by module name."""
    sources = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[module] = Source(module, path.relative_to(root), path.read_text("utf-8"))
    return sources


def check(root: Path) -> list[Breach]:
    """Every breach in the tree at `root`, file by file."""
    plan = read_plan(root)
    sources = read_sources(root, plan.package)
    breaches = [breach for source in sources.values() for breach in _check_file(plan, source, sources)]
    return [*breaches, *_circles(sources)]


def _check_file(plan: Plan, source: Source, sources: Mapping[str, Source]) -> Iterator[Breach]:
    def breach(line: int, what: str) -> Breach:
        return Breach(source.path, line, what)

    length = len(source.text.splitlines())
    if length > plan.max_file_lines:
        yield breach(1, f"{length} lines, at most {plan.max_file_lines} are allowed")
    opening = (ast.get_docstring(source.tree) or "").partition("\n")[0]
    if not opening.rstrip().endswith("."):
        yield breach(1, "does not open with a sentence that says what the file is for")
    if plan.room_of(source.module) is None and source.module != plan.package:
        yield breach(1, f"{source.module} is in no room of the plan")
    for line, what in (*_functions(plan, source), *_stairs(plan, source, sources)):
        yield breach(line, what)


def _functions(plan: Plan, source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > plan.max_function_lines:
            yield node.lineno, f"{node.name} has {length} lines, at most {plan.max_function_lines} are allowed"
        if isinstance(node, ast.AsyncFunctionDef) and plan.is_pure(source.module):
            yield node.lineno, f"coroutine {node.name} in a pure room"


def _stairs(plan: Plan, source: Source, known: Iterable[str]) -> Iterator[tuple[int, str]]:
    mine = plan.room_of(source.module)
    for line, target in source.imports(known):
        if plan.is_pure(source.module) and target.partition(".")[0] in OUTSIDE:
            yield line, f"a pure room imports {target}"
        theirs = plan.room_of(target)
        if mine is None or theirs is None or mine == theirs:
            continue
        if plan.floor_of(theirs) >= plan.floor_of(mine):
            where = "across the floor" if plan.floor_of(theirs) == plan.floor_of(mine) else "up the stairs"
            yield line, f"{mine} imports {theirs}, {where}"
        if (mine, theirs) in plan.deny:
            yield line, f"{mine} imports {theirs}, which the plan denies"


def _circles(sources: Mapping[str, Source]) -> Iterator[Breach]:
    edges = {
        module: sorted({target for _, target in source.imports(sources) if target in sources} - {module})
        for module, source in sources.items()
    }
    for circle in _loops(edges):
        yield Breach(sources[circle[0]].path, 1, f"imports in a circle: {' -> '.join([*circle, circle[0]])}")


def _loops(edges: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """The loops that a depth-first walk closes, each once."""
    done: set[str] = set()
    for start in edges:
        trail = [start]
        ways = [iter(edges[start])]
        while ways:
            step = next(ways[-1], None)
            if step is None:
                ways.pop()
                done.add(trail.pop())
            elif step in trail:
                yield trail[trail.index(step) :]
            elif step not in done:
                trail.append(step)
                ways.append(iter(edges[step]))


def main() -> int:
    """Print what is wrong; 1 if anything is."""
    breaches = check(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    for breach in breaches:
        print(breach)
    if not breaches:
        print("floor plan: sound")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
