"""The documentation knows everything there is, and nothing there is not."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from proxy.config.schema import KEYS, Key
from proxy.core import errors
from proxy.core.flags import FLAG_PARSERS, FlagSet
from proxy.core.routing import Reason
from proxy.downstream.admin_api import OPERATIONS, Operation
from proxy.observe.catalogue import CATALOGUE, Metric
from tools.gen_docs import PARTS, commands, renewed, stale_pages

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def _page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def test_generated_pages_are_in_sync() -> None:
    assert [str(path.relative_to(ROOT)) for path in stale_pages(DOCS)] == [], "run `make fix`"


def test_every_part_that_can_be_generated_is_on_a_page() -> None:
    everything = "".join(path.read_text("utf-8") for path in PAGES)
    assert sorted(re.findall(r"<!-- generated: ([a-z-]+) -->", everything)) == sorted(PARTS)


def test_only_what_stands_between_the_marks_is_made_anew() -> None:
    page = "before\n<!-- generated: metrics -->\nold\n<!-- end of metrics -->\nafter\n"
    assert renewed(page).startswith("before\n<!-- generated: metrics -->\n\n| metric ")
    assert renewed(page).endswith("|\n\n<!-- end of metrics -->\nafter\n")
    assert renewed(renewed(page)) == renewed(page)


def test_a_mark_of_an_unknown_part_is_an_error() -> None:
    with pytest.raises(KeyError, match="weather"):
        renewed("<!-- generated: weather -->\n<!-- end of weather -->\n")


def test_the_check_fails_on_a_stale_page_and_the_writer_mends_it(tmp_path: Path) -> None:
    def run(action: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "tools" / "gen_docs.py"), action, str(tmp_path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text("<!-- generated: errors -->\n<!-- end of errors -->\n", "utf-8")
    stale = run("--check")
    assert (stale.returncode, stale.stdout) == (1, f"{page}: out of sync, run `make fix`\n"), stale.stderr
    assert run("--write").returncode == 0
    assert "`answer_conflict`" in page.read_text("utf-8")
    assert run("--check").stdout == "generated pages: in sync\n"


@pytest.mark.parametrize("flag", FLAG_PARSERS)
def test_every_flag_is_documented_with_its_default(flag: str) -> None:
    default = FlagSet().as_json()[flag]
    shown = f"{default:g}" if isinstance(default, float) else str(default).lower()
    assert f"| `{flag}` | `{shown}` |" in _page("flags.md")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_documented(reason: Reason) -> None:
    assert f"`{reason.value}`" in _page("flags.md")


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_every_key_is_documented_with_its_variable(key: Key) -> None:
    chapter = _page("configuration.md").split(f"### `[{key.section}]`")[1].partition("###")[0]
    row = next(line for line in chapter.splitlines() if line.startswith(f"| `{key.name}` |"))
    assert f"`{key.variable}`" in row


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_every_metric_is_documented(metric: Metric) -> None:
    assert f"`{metric.full_name}`" in _page("metrics.md")


def test_every_error_is_documented_with_its_status() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SidecarError)]
    page = _page("errors.md")
    missing = [kind.__name__ for kind in kinds if f"`{kind.code}` | {kind.status} | {kind.fault.value} |" not in page]
    assert missing == []


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_is_documented(command: str) -> None:
    assert f"## `{command}`\n" in _page("cli.md")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_admin_endpoint_is_documented(operation: Operation) -> None:
    assert f"`{operation.method} {operation.document_path}`" in _page("http-api.md")


@pytest.mark.parametrize("path", [*PAGES, *ROOT.glob("*.md")], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    targets = LINK.findall(path.read_text("utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r": (\S+\.md)$", nav, re.MULTILINE)
    assert sorted(listed) == sorted(str(path.relative_to(DOCS)) for path in PAGES)


def test_every_decision_that_the_code_names_exists() -> None:
    sources = [path for folder in ("proxy", "tests", "tools") for path in (ROOT / folder).rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"docs/decisions/[\w-]+\.md", path.read_text("utf-8"))}
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def _catches_everything(path: Path) -> bool:
    handlers = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ExceptHandler))
    return any(handler.type is None or ast.unparse(handler.type) == "Exception" for handler in handlers)


def test_everything_is_caught_only_at_the_boundaries_of_the_decision() -> None:
    decided = re.findall(r"\| `(proxy/[\w/]+\.py)` \|", _page("decisions/0003-boundaries.md"))
    found = [path.relative_to(ROOT).as_posix() for path in (ROOT / "proxy").rglob("*.py") if _catches_everything(path)]
    assert sorted(found) == sorted(decided)


def test_make_lists_every_target_with_one_line() -> None:
    targets = re.findall(r"^\.PHONY: (\w+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    listed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"^  make (\w+) +\S", listed, re.MULTILINE) == targets
    assert {"run", "test", "check", "fix", "bench", "soak", "build", "docs", "lock", "clean"} < set(targets)


def test_no_file_names_the_host_of_a_package_index() -> None:
    lock = (ROOT / "uv.lock").read_text("utf-8")
    assert set(re.findall(r"https?://([^/\"]+)", lock)) == {"index.invalid"}
    assert tomllib.loads(lock)["version"] == 1
