"""The search for planted secrets, the short form; and a secret that is written down in any form is found."""

import base64
import random
import subprocess
import sys
import urllib.parse
from pathlib import Path

import orjson
import pytest

from bench.planted_secrets import END_CHARS, Search, SearchedLog, made_up
from proxy.downstream.admin_api import OPERATIONS
from tests.support.nursery import unmeasured

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "secrets_grep.py"
SECRET = made_up(random.Random(1), "it", is_plain=False)  # noqa: S311 - the same in every run
RAW = SECRET.encode()


@pytest.mark.requirement("secrets.nowhere")
@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        SECRET[:END_CHARS],
        SECRET[-END_CHARS:],
        urllib.parse.quote(SECRET, safe=""),
        RAW.hex(),
        base64.b64encode(RAW).decode(),
        base64.b64encode(b"user:" + RAW + b"?").decode(),
        base64.urlsafe_b64encode(b"x" + RAW).decode(),
        repr(SECRET),
        orjson.dumps(SECRET).decode(),
    ],
)
def test_a_secret_is_found_in_every_form(written: str) -> None:
    search = Search({"it": SECRET})
    search.look("somewhere", f"before {written} after")
    assert search.found == 1
    assert [(name, place) for name, place, _ in search.hits] == [("it", "somewhere")]


def test_what_is_not_there_is_not_found() -> None:
    search = Search({"it": SECRET})
    search.look("somewhere", SECRET[1 : END_CHARS - 1] + " and " + SECRET.swapcase())
    assert (search.found, search.texts["somewhere"]) == (0, 1)


def test_a_log_is_looked_into_line_by_line_however_it_is_written() -> None:
    log = SearchedLog(Search({"it": SECRET}))
    for piece in ("one ", "line\ntwo ", SECRET[:8], SECRET[8:], "\nthr", "ee\n"):
        log.write(piece)
    assert (log.lines, log.search.found) == (3, 1)


@pytest.mark.e2e
@pytest.mark.requirement("secrets.nowhere")
def test_a_short_load_leaves_no_secret_anywhere(tmp_path: Path) -> None:
    to = tmp_path / "result.json"
    command = [sys.executable, str(SCRIPT), "--lines", "600", "--json", str(to)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=unmeasured())
    assert done.returncode == 0, done.stdout + done.stderr
    result = orjson.loads(to.read_bytes())
    assert (result["is_clean"], result["hits"]) == (True, [])
    assert result["lines"] >= 600
    assert {"state.db", "log"} <= result["texts"].keys()
    looked_at = {place.split()[1] for place in result["texts"] if place.startswith("GET")}
    assert len(looked_at) > len([each for each in OPERATIONS if each.method == "GET"]) / 2
    assert len(result["error_bodies"]) > 10
    assert len(result["secrets"]) > 15


@pytest.mark.e2e
def test_nonsense_is_a_usage_error() -> None:
    command = [sys.executable, str(SCRIPT), "--lines", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=unmeasured())
    assert done.returncode == 2
    assert "expected" in done.stderr
