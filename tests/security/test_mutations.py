"""The list of builds without a defence is whole, and its replay tells a test that notices from one that does not."""

import ast
from pathlib import Path

import pytest

from tests.support.mutants import ROOT, Mutation, copied, is_noticed, mutations

pytestmark = pytest.mark.requirement("security.mutations")

LISTED = mutations()


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(
    "mutation", LISTED, ids=lambda mutation: f"{mutation.file}-{mutation.test.split('::')[-1][:60]}"
)
def test_each_mutation_can_be_made_and_its_test_exists(mutation: Mutation) -> None:
    path = ROOT / mutation.file
    mutated = mutation.applied_to(path.read_text("utf-8"))
    ast.parse(mutated)  # it is a program still
    file, *_, function = mutation.test.split("::")
    assert function.partition("[")[0] in _functions(ROOT / file)


def test_every_hostile_room_has_a_mutation() -> None:
    rooms = {path.name for path in (ROOT / "tests" / "security").glob("test_hostile_*.py")}
    assert rooms - {mutation.test.split("::")[0].rpartition("/")[2] for mutation in LISTED} == set()


@pytest.mark.parametrize(
    ("stands", "noticed"),
    [("hmac.compare_digest(self._value, _octets(candidate))", True), (None, False)],
    ids=["without the defence", "as it is"],
)
def test_a_missing_defence_is_noticed_and_a_build_as_it_is_passes(
    tmp_path: Path, stands: str | None, *, noticed: bool
) -> None:
    (listed,) = (mutation for mutation in LISTED if mutation.file == "proxy/core/secret.py")
    tried = Mutation(
        test=listed.test, file=listed.file, instead_of=listed.instead_of, stands=stands or listed.instead_of
    )
    assert is_noticed(tried, copied(tmp_path)) is noticed
