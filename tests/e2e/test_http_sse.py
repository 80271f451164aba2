"""Agents on the HTTP+SSE transport, through the sidecar's process: asked, answered, and kept on this side of it."""

from collections.abc import Iterator

import pytest

from tests.support.peers import Room, call, peer_room
from tests.support.processes import Children, children

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("mcp.http_sse")]


@pytest.fixture(scope="module", name="room")
def _room() -> Iterator[Room]:
    with peer_room() as opened:
        yield opened


@pytest.fixture(scope="module", name="processes")
def _processes() -> Iterator[Children]:
    with children() as started:
        yield started


@pytest.mark.parametrize("is_bridge", [True, False], ids=["at the Bridge", "elsewhere"])
@pytest.mark.parametrize("words", [(), ("--absolute",)], ids=["by path", "by URL"])
def test_a_client_is_asked_on_its_stream_and_answers_past_nobody(
    *, room: Room, processes: Children, words: tuple[str, ...], is_bridge: bool
) -> None:
    origin = room.server("mcp-1.30", "--sse", *words).url.removesuffix("/sse")
    # Nothing listens on the discard port.
    where = (
        ["--bridge", origin] if is_bridge else ["--bridge", "http://127.0.0.1:9", "--set", f"bridge.mcp_url={origin}"]
    )
    ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state", "memory:"]
    data = processes.run("run", *ports, *where).hear(event="ready")["data"]
    for client in ("mcp-1.22", "mcp-1.30", "ts-1"):
        calls = [call("ask"), call("echo", {"text": "héllo"})]
        lines = room.client(client, url=f"http://{data}/sse", sse=True, answer="accept", calls=calls).outcome()
        assert [line["text"] for line in lines if line["kind"] == "result"] == [["accept:zed-name"], ["héllo"]], lines
