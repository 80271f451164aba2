"""Every requirement has a test and every test that names one names a real one.

The test files are read, not run: a mark counts wherever it stands, as a decorator or as the `pytestmark` of a file.
"""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MANIFEST = TESTS / "requirements.toml"

_ID = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")


def _is_mark(node: ast.AST) -> bool:
    """Whether a node is `pytest.mark.requirement`, called or not."""
    return isinstance(node, ast.Attribute) and ast.unparse(node).endswith("pytest.mark.requirement")


def _marks(path: Path) -> Iterator[tuple[str, str]]:
    """Place and id of every requirement that a test file names; the id is empty where it cannot be read."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_mark(node.func)]
    called = {id(call.func) for call in calls}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_mark(node) and id(node) not in called:
            yield f"{path.name}:{node.lineno}", ""
    for call in calls:
        yield f"{path.name}:{call.lineno}", _id_of(call)


def _id_of(call: ast.Call) -> str:
    match call:
        case ast.Call(args=[ast.Constant(value=str(name))], keywords=[]):
            return name
        case _:
            return ""


def named_in(tests: Path) -> list[tuple[str, str]]:
    """Place and id of every requirement that the test files below a directory name."""
    return [mark for path in sorted(tests.rglob("test_*.py")) for mark in _marks(path)]


def problems(manifest: Mapping[str, Mapping[str, object]], named: list[tuple[str, str]]) -> list[str]:
    """What does not fit between manifest and tests, and what is wrong in the manifest itself."""
    proved = {name for _, name in named}
    return [
        *(f"{place}: expected one id as text" for place, name in named if not name),
        *(f"{place}: {name} is no entry of the manifest" for place, name in named if name and name not in manifest),
        *(f"{name}: no test proves it" for name in manifest if name not in proved),
        *(f"{name}: expected an id like room.promise" for name in manifest if not _ID.fullmatch(name)),
        *(f"{name}: {wrong}" for name, entry in manifest.items() for wrong in _wrong_in(entry)),
    ]


def _wrong_in(entry: object) -> Iterator[str]:
    if not isinstance(entry, dict) or entry.keys() != {"source", "behaviour"}:
        yield "expected source and behaviour and nothing else"
        return
    if not isinstance(entry["source"], str) or not entry["source"].strip():
        yield "expected a source"
    if not isinstance(entry["behaviour"], str) or not re.fullmatch(r"[A-Z].+[^.]\.", entry["behaviour"]):
        yield "expected a behaviour that is one sentence"


def test_manifest_and_tests_agree() -> None:
    manifest = tomllib.loads(MANIFEST.read_text(encoding="utf-8"))
    assert problems(manifest, named_in(TESTS)) == []


ENTRY = {"source": "ours: to be tested", "behaviour": "It is so."}
# Written in pieces, so that this file names no requirement of the house.
MARK = "pytest.mark." + "requirement"


@pytest.mark.parametrize(
    "text",
    [
        f"@{MARK}('a.b')\ndef test_it(): ...",
        f"@pytest.fixture\n@{MARK}('a.b')\nasync def test_it(): ...",
        f"@{MARK}('a.b')\nclass TestIt: ...",
        f"class TestIt:\n    @{MARK}('a.b')\n    def test_it(self): ...",
        f"pytestmark = {MARK}('a.b')",
        f"pytestmark = [pytest.mark.e2e, {MARK}('a.b')]",
        f"CASES = [pytest.param(1, marks={MARK}('a.b'))]",
    ],
)
def test_a_mark_counts_wherever_it_stands(tmp_path: Path, text: str) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "test_it.py").write_text(text)
    assert [name for _, name in named_in(tmp_path)] == ["a.b"]
    assert problems({"a.b": ENTRY}, named_in(tmp_path)) == []


@pytest.mark.parametrize(
    "text",
    [f"@{MARK}(NAME)\ndef test_it(): ...", f"@{MARK}\ndef test_it(): ...", f"pytestmark = {MARK}()", f"m = {MARK}(7)"],
)
def test_a_mark_whose_id_cannot_be_read_is_a_problem(tmp_path: Path, text: str) -> None:
    (tmp_path / "test_it.py").write_text(text)
    assert problems({}, named_in(tmp_path)) == ["test_it.py:1: expected one id as text"]


def test_an_entry_without_a_test_and_a_test_without_an_entry_are_problems(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(f"\n@{MARK}('room.other')\ndef test_it(): ...")
    assert problems({"room.promise": ENTRY}, named_in(tmp_path)) == [
        "test_it.py:2: room.other is no entry of the manifest",
        "room.promise: no test proves it",
    ]


def test_files_that_are_no_tests_prove_nothing(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(f"@{MARK}('a.b')\ndef test_it(): ...")
    assert named_in(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "entry", "problem"),
    [
        ("room", ENTRY, "expected an id like room.promise"),
        ("Room.promise", ENTRY, "expected an id like room.promise"),
        ("a.b", {"source": "x"}, "expected source and behaviour and nothing else"),
        ("a.b", {**ENTRY, "note": "x"}, "expected source and behaviour and nothing else"),
        ("a.b", "ours", "expected source and behaviour and nothing else"),
        ("a.b", {**ENTRY, "source": " "}, "expected a source"),
        ("a.b", {**ENTRY, "source": 7}, "expected a source"),
        ("a.b", {**ENTRY, "behaviour": "it is so"}, "expected a behaviour that is one sentence"),
        ("a.b", {**ENTRY, "behaviour": 7}, "expected a behaviour that is one sentence"),
    ],
)
def test_an_entry_that_says_too_little_is_a_problem(name: str, entry: dict[str, object], problem: str) -> None:
    assert problems({name: entry}, [("test_it.py:1", name)]) == [f"{name}: {problem}"]
