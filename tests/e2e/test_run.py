"""`elicit-sidecar run` as an operator meets it."""

import socket
from pathlib import Path

import pytest

from tests.support.processes import Children

pytestmark = pytest.mark.e2e

ANYWHERE = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")


def test_without_a_file_it_says_what_it_assumed(processes: Children, tmp_path: Path) -> None:
    sidecar = processes.run("run", *ANYWHERE, env={"XDG_STATE_HOME": str(tmp_path)})
    sidecar.hear(event="ready")
    said = sidecar.errors
    assert "no --config: assuming the Bridge at http://127.0.0.1:8765" in said
    assert "elicitation off at 0 percent" in said
    assert f"state in sqlite://{tmp_path}/elicit-sidecar/state.db" in said
    assert sidecar.end() == 0
    assert (tmp_path / "elicit-sidecar" / "state.db").exists()


def test_a_bad_configuration_is_a_usage_error_that_names_the_place(processes: Children, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[bridge]\nurll = "http://127.0.0.1:8765"\n')
    sidecar = processes.run("run", "--config", str(file), *ANYWHERE)
    assert sidecar.code() == 2
    assert "bad.toml:2" in sidecar.errors
    assert "url" in sidecar.errors
    assert not sidecar.lines


@pytest.mark.parametrize("option", ["--listen", "--admin"])
def test_a_busy_port_is_named(processes: Children, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sidecar = processes.run("run", *ANYWHERE, "--state", "memory:", option, f"127.0.0.1:{port}")
        assert sidecar.code() == 1
    assert "cannot start" in sidecar.errors
    assert str(port) in sidecar.errors
    assert "Traceback" not in sidecar.errors
