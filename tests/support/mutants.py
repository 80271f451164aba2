"""Builds without a defence: the tests that prove the defence must fail against each of them.

    python -m tests.support.mutants [PART_OF_A_TEST_ID...]

Each mutation of tests/security/mutations.toml is put into a copy of the tree, where its test is run. Prints one line
for each; exits with 1 if a test passed although its defence was gone, or failed although it was there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = ROOT / "tests" / "security" / "mutations.toml"

BOUND_S = 120
"""For the run of one test, and for its time of the processor; one that hangs without its defence has failed."""

BOUND_KIB = 3 << 20
"""Memory of such a run: without a defence a schema may take all there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One defence that is taken away."""

    test: str
    file: str
    instead_of: str
    stands: str

    def applied_to(self, text: str) -> str:
        """The text of the file without the defence."""
        count = text.count(self.instead_of)
        assert count == 1, f"{self.file} says `{self.instead_of}` {count} times"
        return text.replace(self.instead_of, self.stands)


def mutations(path: Path = LIST) -> list[Mutation]:
    """All of the list."""
    return [Mutation(**entry) for entry in tomllib.loads(path.read_text("utf-8"))["mutation"]]


def copied(folder: Path, root: Path = ROOT) -> Path:
    """A copy of what the tests need."""
    tree = folder / "tree"
    for name in ("proxy", "tests", "tools", "bench", "docs"):
        left_out = shutil.ignore_patterns("__pycache__", "node_modules", ".peers")
        shutil.copytree(root / name, tree / name, ignore=left_out)
    for name in ("pyproject.toml", "config.example.toml"):
        shutil.copy2(root / name, tree / name)
    return tree


def is_noticed(mutation: Mutation, tree: Path) -> bool:
    """Whether its test fails in a tree without the defence; the tree is as before afterwards."""
    path = tree / mutation.file
    text = path.read_text("utf-8")
    _put(path, mutation.applied_to(text))
    try:
        return not passes(mutation.test, tree)
    finally:
        _put(path, text)


def _put(path: Path, text: str) -> None:
    """Write a file, and forget what was compiled of it: two texts of one length may have one date."""
    path.write_text(text, "utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def passes(test: str, tree: Path) -> bool:
    """Whether a test passes in a tree; one that hangs does not."""
    limited = ["sh", "-c", f'ulimit -v {BOUND_KIB} -t {BOUND_S}; exec "$@"', "sh"]
    command = [*limited, sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", test]
    # What was compiled for the run before is there for the next one.
    env = {**os.environ, "PYTHONPATH": str(tree)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        ended = subprocess.run(command, cwd=tree, env=env, capture_output=True, timeout=BOUND_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    # 1: a test failed; below 0: the system ended it. Anything else but 0 says that it could not be run.
    assert ended.returncode <= 1, ended.stdout.decode()[-2000:] + ended.stderr.decode()[-2000:]
    return ended.returncode == 0


def main(words: list[str]) -> int:
    """Replay the mutations whose test or file has one of the words in its name, or all."""
    chosen = [each for each in mutations() if not words or any(word in each.test + each.file for word in words)]
    noticed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        sound = {test: passes(test, tree) for test in dict.fromkeys(each.test for each in chosen)}
        for mutation in chosen:
            told = "FAILS AS IT IS" if not sound[mutation.test] else "MISSED"
            if sound[mutation.test] and is_noticed(mutation, tree):
                told, noticed = "noticed", noticed + 1
            sys.stdout.write(f"{told:<14}  {mutation.file}: {mutation.test}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{noticed} of {len(chosen)} noticed\n")
    return 0 if noticed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
