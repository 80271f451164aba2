"""The threat model names tests that there are, leaves out no letter of STRIDE, and says where nothing defends."""

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.requirement("security.threat_model")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
INTERFACES = PAGE.partition("## Interfaces")[2].partition("## Decisions")[0]
TABLES = {part.partition("\n")[0]: part for part in INTERFACES.split("\n### ")[1:]}
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def _rows(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def test_every_interface_has_its_table() -> None:
    words = ("Data port", "MCP", "standard input", "Admin port", "State file", "Upstream", "Logs")
    assert [word for word in words if not any(word in name for name in TABLES)] == []


@pytest.mark.parametrize("name", TABLES)
def test_each_interface_is_looked_at_from_all_sides(name: str) -> None:
    letters = {letter for row in _rows(TABLES[name]) for letter in re.findall(r"[STRIDE](?=[,:])", row[0][:8])}
    assert letters == set("STRIDE")


@pytest.mark.parametrize("name", TABLES)
def test_each_row_names_tests_that_exist_or_says_that_nothing_defends(name: str) -> None:
    for threat, _, proof in _rows(TABLES[name]):
        found = TEST.findall(proof)
        assert found or proof == "not defended", threat
        for file, function in found:
            tree = ast.parse((ROOT / file).read_text("utf-8"))
            known = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert function in known, f"{file}::{function}"


def test_a_row_that_depends_on_a_mode_names_it() -> None:
    modes = ("identity.mode", "signatures.mode", "limits")
    assert [mode for mode in modes if mode not in INTERFACES] == []
