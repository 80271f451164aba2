"""The log lines of a whole house that an operator alerts on, and when the trail says that it began."""

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy import __version__
from proxy.stores.sqlite_audit import SqliteAuditTrail
from proxy.stores.writer import SqliteWriter
from tests.support.house import OPERATOR, VIEWER, house, write_tokens
from tests.support.raw_upstream import Peer, raw_upstream

pytestmark = pytest.mark.requirement("log.operators")

NOBODY = "http://127.0.0.1:1"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


def _lines(caplog: pytest.LogCaptureFixture) -> list[Mapping[str, object]]:
    return [
        record.msg
        for record in caplog.records
        if record.name == "proxy.wiring.announce" and isinstance(record.msg, dict)
    ]


async def test_start_change_of_flags_and_end_have_a_line_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "proxy.wiring.announce")
    tokens = await asyncio.to_thread(write_tokens, tmp_path)
    async with house(NOBODY, {"admin.token_file": str(tokens)}) as made:
        await made.flags(elicitation_percentage=25, reason="week 5")
        bound = made.bound
    started, changed, stopped = _lines(caplog)
    assert started["event"] == "started"
    assert (started["version"], started["data"], started["admin"]) == (__version__, str(bound.data), str(bound.admin))
    assert (started["bridge"], started["state"], started["flags_version"]) == (NOBODY, "memory:", 1)
    assert (changed["event"], changed["before"], changed["now"]) == ("flags changed", 1, 2)
    assert (changed["flags"], changed["reason"]) == (["elicitation_percentage"], "week 5")
    assert changed["author"]
    assert stopped["event"] == "stopped"
    assert not any(secret in str(line) for line in _lines(caplog) for secret in (OPERATOR, VIEWER))


async def test_a_bridge_that_is_lost_and_back_has_one_line_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "proxy.wiring.announce")
    is_away = True

    async def play(peer: Peer) -> None:
        await peer.request()
        if is_away:
            peer.abort()
        else:
            await peer.send(OK)

    async with raw_upstream() as upstream:
        upstream.play(play)
        async with house(f"http://127.0.0.1:{upstream.port}") as made:
            for _ in range(3):
                assert (await made.call("GET", "/x")).status == 502
            is_away = False
            for _ in range(3):
                assert (await made.call("GET", "/x")).status == 200
    started, lost, back, stopped = _lines(caplog)
    assert [line["event"] for line in (started, lost, back, stopped)] == [
        "started",
        "Bridge lost",
        "Bridge back",
        "stopped",
    ]
    assert lost["problem"]
    assert isinstance(back["away_seconds"], float)


async def test_one_that_cannot_bind_both_addresses_has_not_started(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "proxy.wiring.announce")
    path = tmp_path / "state.db"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = {"state.url": f"sqlite://{path}", "listen.admin": f"127.0.0.1:{taken.getsockname()[1]}"}
        with pytest.raises(OSError, match="address already in use"):
            async with house(NOBODY, given):
                pass
    assert _lines(caplog) == []
    writer = await asyncio.to_thread(SqliteWriter, path)
    trail = await SqliteAuditTrail(writer).whole()
    await asyncio.to_thread(writer.close)
    assert [entry.what for entry in trail.entries] == []
