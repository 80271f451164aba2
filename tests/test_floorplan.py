"""The house is built as planned, and the checks that say so find what is planted."""

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from tools.check_floorplan import check, read_plan

ROOT = Path(__file__).parents[1]

PLAN = """
[tool.floorplan]
package = "house"
floors = [["house.cellar"], ["house.hall", "house.kitchen"], ["house.attic"]]
pure = ["house.cellar"]
deny = [["house.attic", "house.kitchen"]]
max_file_lines = 12
max_function_lines = 4
"""

SOUND = {
    "__init__.py": '"""A small house."""\n',
    "cellar/__init__.py": '"""The cellar."""\n',
    "cellar/stones.py": '"""Stones carry."""\nimport math\n',
    "hall/__init__.py": '"""The hall."""\n',
    "hall/door.py": '"""A door."""\nimport asyncio\nfrom house import cellar\n',
    "kitchen/__init__.py": '"""The kitchen."""\n',
    "attic/__init__.py": '"""The attic."""\nfrom house.cellar.stones import math\n',
    "attic/roof.py": '"""The roof."""\nfrom house.hall import door\n',
}

Build = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Builds the small house with some of its files replaced."""

    def begin(changed: Mapping[str, str]) -> Path:
        (tmp_path / "pyproject.toml").write_text(PLAN, "utf-8")
        for name, text in {**SOUND, **changed}.items():
            path = tmp_path / "house" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), "utf-8")
        return tmp_path

    return begin


def test_this_house_is_built_as_planned() -> None:
    assert [str(breach) for breach in check(ROOT)] == []


def _lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_import_linter_agrees() -> None:
    done = _lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("planted", "contract"),
    [
        ("from proxy.cli import main", "stairs only go down"),
        ("import sqlite3", "the pure rooms reach for nothing outside"),
    ],
)
def test_import_linter_finds_what_is_planted(tmp_path: Path, planted: str, contract: str) -> None:
    shutil.copytree(ROOT / "proxy", tmp_path / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "proxy" / "core" / "rate.py").open("a", encoding="utf-8") as stream:
        stream.write(f"\n\ndef planted() -> None:\n    {planted}\n")
    done = _lint_imports(tmp_path)
    assert done.returncode == 1
    assert f"{contract} BROKEN" in done.stdout


def test_a_sound_house_has_no_breach(build: Build) -> None:
    assert check(build({})) == []


DOC = '"""A room."""\n'

PLANTED = [
    ("up", "cellar/stones.py", f"{DOC}from house.hall import door\n", "2: house.cellar imports house.hall, up the"),
    ("up, lazily", "hall/door.py", f"{DOC}def f():\n    import house.attic\n", "house.attic, up the stairs"),
    (
        "up, for types",
        "hall/door.py",
        f"{DOC}from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.attic import x\n",
        "4: house.hall imports house.attic, up the stairs",
    ),
    ("up, relatively", "hall/door.py", f"{DOC}from .. import attic\n", "house.attic, up the stairs"),
    ("up, from a package", "hall/__init__.py", f"{DOC}from ..attic import x\n", "house.attic, up the stairs"),
    ("across", "hall/door.py", f"{DOC}from house.kitchen import x\n", "house.kitchen, across the floor"),
    ("denied", "attic/__init__.py", f"{DOC}import house.kitchen\n", "house.kitchen, which the plan denies"),
    ("an impure import", "cellar/stones.py", f"{DOC}import socket\n", "a pure room imports socket"),
    ("an impure submodule", "cellar/stones.py", f"{DOC}from os.path import join\n", "a pure room imports os.path"),
    ("a coroutine", "cellar/stones.py", f"{DOC}async def f(): ...\n", "coroutine f in a pure room"),
    ("a long file", "hall/door.py", DOC + "x = 1\n" * 12, "1: 13 lines, at most 12 are allowed"),
    (
        "a long function",
        "hall/door.py",
        f"{DOC}class A:\n    def f(self):\n" + "        self.x = 1\n" * 4,
        "3: f has 5 lines, at most 4 are allowed",
    ),
    ("a silent file", "hall/door.py", "x = 1\n", "does not open with a sentence"),
    ("a heading for a sentence", "hall/door.py", '"""Doors\n\nMore."""\n', "does not open with a sentence"),
    ("a shed", "shed.py", '"""A shed."""\n', "house.shed is in no room of the plan"),
]


@pytest.mark.parametrize(("name", "text", "what"), [case[1:] for case in PLANTED], ids=[case[0] for case in PLANTED])
def test_a_planted_breach_is_found(build: Build, name: str, text: str, what: str) -> None:
    found = [str(breach) for breach in check(build({name: text}))]
    assert len(found) == 1
    assert found[0].startswith(f"house/{name}:")
    assert what in found[0]


def test_a_circle_inside_of_one_room_is_found(build: Build) -> None:
    one, two = f"{DOC}from house.hall import two\n", f"{DOC}def f():\n    from house.hall import one\n"
    found = [str(breach) for breach in check(build({"hall/one.py": one, "hall/two.py": two}))]
    assert found == ["house/hall/one.py:1: imports in a circle: house.hall.one -> house.hall.two -> house.hall.one"]


def test_two_circles_are_two_breaches(build: Build) -> None:
    rooms = {
        "hall/one.py": f"{DOC}from house.hall import two\n",
        "hall/two.py": f"{DOC}from house.hall import one, three\n",
        "hall/three.py": f"{DOC}from house.hall import two\n",
    }
    assert len(check(build(rooms))) == 2


def test_a_plan_with_an_unknown_rule_is_refused(build: Build) -> None:
    root = build({})
    (root / "pyproject.toml").write_text(f"{PLAN}\nmax_rooms = 3\n", "utf-8")
    with pytest.raises(msgspec.ValidationError, match="max_rooms"):
        read_plan(root)


def test_the_command_prints_every_breach_and_fails(build: Build) -> None:
    def run(root: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "tools" / "check_floorplan.py"), str(root)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = run(build({}))
    assert (good.returncode, good.stdout) == (0, "floor plan: sound\n")
    bad = run(build({"hall/door.py": "x = 1\n", "cellar/stones.py": f"{DOC}import time\n"}))
    assert bad.returncode == 1
    assert bad.stdout.splitlines() == [
        "house/cellar/stones.py:2: a pure room imports time",
        "house/hall/door.py:1: does not open with a sentence that says what the file is for",
    ]
