"""The version command."""

import platform

import orjson
import pytest
from click.testing import CliRunner

from proxy import __version__
from proxy.cli.version import command


def test_it_tells_its_own_and_pythons_version() -> None:
    result = CliRunner().invoke(command)
    assert result.exit_code == 0
    assert result.stdout == f"elicit-sidecar {__version__} (Python {platform.python_version()})\n"


@pytest.mark.requirement("cli.json")
def test_it_tells_the_same_as_json() -> None:
    result = CliRunner().invoke(command, ["--json"])
    assert orjson.loads(result.stdout) == {"version": __version__, "python": platform.python_version()}
