"""The list of builds without a defence is whole, and its replay tells a test that notices from one that does not."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.mutants import ROOT, Mutation, copied, is_noticed, mutations

pytestmark = pytest.mark.requirement("security.mutations")

LISTED = mutations()

ROOM = ROOT / "tests" / "security"
THREATS = ROOT / "docs" / "threat-model.md"

NOT_OURS = {
    "test_what_has_two_readings_is_refused_and_ends_its_connection": "the parser of aiohttp refuses these heads",
    "test_a_reply_with_two_readings_reaches_nobody": "the parser of aiohttp refuses these replies",
    "test_a_question_with_line_ends_is_one_event_and_says_the_same": "a text in JSON has no line ends",
    "test_a_client_that_does_not_read_holds_up_nothing_it_says": "two tasks; there is no line to take away",
    "test_the_doors_of_the_operator_are_not_on_the_port_of_the_agents": "another application; the same",
}
"""Tests of threats whose defence is no line of ours."""

AT_ONCE = (
    "test_a_call_in_anothers_name_works_at_the_bridge_and_is_refused_here[question]",
    "test_who_opens_anothers_session_answers_for_it_at_the_bridge_and_not_here",
    "test_a_recorded_call_asks_again_at_the_bridge_and_not_here",
    "test_no_page_changes_a_flag_even_with_the_operators_token[rebound name]",
    "test_a_viewer_changes_nothing[plain]",
    "test_other_names_are_other_allowances_at_the_bridge_and_impersonation_here",
    "test_a_nonce_counts_once_for_a_key_whatever_it_signs",
    "test_a_key_of_ones_own_signs_for_nobody_else",
    "test_a_question_of_another_is_not_answered_by_the_tool",
)
"""One of each of the eight checks, and the attack that it all began with; replayed here, all others by `make soak`."""


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


def test_every_check_of_the_run_sheets_has_mutations() -> None:
    tree = ast.parse((ROOM / "test_elicitation_security.py").read_text("utf-8"))
    checks = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert len(checks) == 8
    assert checks == {
        mutation.test.split("::")[1] for mutation in LISTED if "test_elicitation_security.py" in mutation.test
    }


def test_every_threat_that_a_test_tries_has_a_mutation() -> None:
    tried = set(re.findall(r"`tests/[\w/]+\.py::(\w+)`", THREATS.read_text("utf-8")))
    mutated = {mutation.test.split("::")[-1].partition("[")[0] for mutation in LISTED}
    assert sorted(tried - mutated - NOT_OURS.keys()) == []
    assert sorted(NOT_OURS.keys() - tried) == []


@pytest.fixture(name="tree", scope="module")
def _tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("mutants"))


@pytest.mark.parametrize("name", AT_ONCE)
def test_an_attack_gets_through_a_build_without_its_defence(tree: Path, name: str) -> None:
    (listed,) = (mutation for mutation in LISTED if mutation.test.endswith(f"::{name}"))
    assert is_noticed(listed, tree)


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
