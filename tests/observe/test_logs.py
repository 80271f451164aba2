"""Log lines: structured, on one stream, without secrets."""

import io
import json
import logging
from collections.abc import Iterator

import orjson
import pytest

from proxy.core.secret import Secret
from proxy.observe.logs import configure, dump_line, logger

LOG = logger("proxy.tested")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("proxy")
    before = (list(root.handlers), root.level, ours.level)
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_event_level_time_logger_and_fields() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    LOG.info("delivered", agent_id="a b", items=2)
    (line,) = _lines(stream)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {"event": "delivered", "level": "info", "logger": "proxy.tested", "agent_id": "a b", "items": 2}


def test_auto_is_json_on_a_pipe_and_for_humans_on_a_terminal() -> None:
    pipe, terminal = io.StringIO(), _Terminal()
    configure("info", "auto", pipe)
    LOG.info("delivered", items=2)
    configure("info", "auto", terminal)
    LOG.info("delivered", items=2)
    assert _lines(pipe)[0]["items"] == 2
    assert "\x1b[" in terminal.getvalue()
    assert "delivered" in terminal.getvalue()


def test_console_on_a_pipe_has_no_colours() -> None:
    stream = io.StringIO()
    configure("info", "console", stream)
    LOG.info("delivered", items=2)
    assert "\x1b" not in stream.getvalue()
    assert "items=2" in stream.getvalue()


def test_a_second_set_up_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", "json", first)
    configure("warning", "json", second)
    LOG.info("hidden")
    LOG.warning("shown")
    assert first.getvalue() == ""
    assert [line["event"] for line in _lines(second)] == ["shown"]


def test_libraries_speak_from_warning_on_even_at_debug() -> None:
    stream = io.StringIO()
    configure("debug", "json", stream)
    LOG.debug("ours")
    logging.getLogger("aiohttp.server").debug("Authorization: Bearer x")
    logging.getLogger("aiohttp.server").warning("theirs %s", 1)
    assert [line["event"] for line in _lines(stream)] == ["ours", "theirs 1"]
    assert _lines(stream)[1]["level"] == "warning"


def test_at_error_level_libraries_are_quiet_too() -> None:
    stream = io.StringIO()
    configure("error", "json", stream)
    logging.getLogger("aiohttp.server").warning("theirs")
    assert stream.getvalue() == ""


def _fail(token: str) -> None:
    raise ValueError(f"failed with {len(token)} characters")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_the_way_but_no_local_variable(form: str) -> None:
    stream = io.StringIO()
    configure("info", "json" if form == "json" else "console", stream)
    hidden = f"xy{len(form)}zzy"
    try:
        _fail(hidden)
    except ValueError as error:
        LOG.exception("defect", exc_info=error)
    shown = stream.getvalue()
    assert "_fail" in shown
    assert "failed with 6 characters" in shown
    assert hidden not in shown


@pytest.mark.parametrize("form", ["json", "console"])
def test_fields_named_like_credentials_and_secrets_are_blotted(form: str) -> None:
    stream = io.StringIO()
    configure("info", "json" if form == "json" else "console", stream)
    LOG.info("call", Authorization="Bearer xyzzy", token="xyzzy", secret_value=Secret("xyzzy"))
    assert "xyzzy" not in stream.getvalue()
    assert "[redacted]" in stream.getvalue()
    assert "Secret(...)" in stream.getvalue()


def test_control_characters_cannot_drive_the_terminal() -> None:
    stream = io.StringIO()
    configure("info", "console", stream)
    LOG.info("call\x1b[2J", path="/\x1b[31m\x07\nlevel=error")
    assert "\x1b" not in stream.getvalue()
    assert "\x07" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 1


def test_a_line_is_never_lost_because_a_value_is_odd() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    LOG.info("odd", big=2**70, raw="\udc80", kinds={1: object})
    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert line["big"] == 2**70
    assert line["raw"] == "?"


def test_a_plain_line_needs_no_second_attempt() -> None:
    assert dump_line({"event": "x", 1: 2}) == '{"event":"x","1":2}'
