"""The request of the relay benchmark, and what `wrk` prints read back."""

import pytest

from bench.closed_loop import BODY, lua_script, read_wrk, request_bytes

GOOD = """Running 2s test @ http://127.0.0.1:1/mcp
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   750.11us  103.13us   2.51ms   90.10%
  84123 requests in 2.00s, 20.22MB read
Requests/sec:  42061.50
"""
BAD = GOOD + "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n"


def test_the_request_is_that_of_the_documented_method() -> None:
    request = request_bytes()
    assert len(BODY) == 157
    assert request.startswith(b"POST /mcp HTTP/1.1\r\n")
    assert request.partition(b"\r\n\r\n")[0].count(b"\r\n") == 9
    assert request.endswith(b"Content-Length: 157\r\n\r\n" + BODY)


def test_wrk_sends_the_same_body_and_headers() -> None:
    script = lua_script()
    assert BODY.decode() in script
    assert 'wrk.headers["MCP-Protocol-Version"] = "2025-06-18"' in script
    assert "Content-Length" not in script


def test_a_clean_report_of_wrk_is_read() -> None:
    load = read_wrk(GOOD)
    assert (load.requests, load.errors, load.seconds, load.tool) == (84123, 0, 2.0, "wrk")


def test_every_kind_of_error_of_wrk_counts() -> None:
    assert read_wrk(BAD).errors == 15


def test_a_report_in_minutes_is_seconds() -> None:
    assert read_wrk("10 requests in 1.50m, 1MB read").seconds == 90


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(ValueError, match="report of wrk"):
        read_wrk("unable to connect to 127.0.0.1:1 Connection refused")
