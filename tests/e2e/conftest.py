"""Fixtures of the end-to-end tests: processes that never outlive their test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Children, children
from tests.support.stand import Stand


@pytest.fixture(name="processes")
def _processes() -> Iterator[Children]:
    with children() as started:
        yield started


@pytest.fixture(name="stand")
def _stand(processes: Children, tmp_path: Path) -> Stand:
    """Nothing runs yet."""
    return Stand(processes, tmp_path, f"sqlite://{tmp_path / 'state.db'}")
