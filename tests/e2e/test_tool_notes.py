"""The list of tools as real MCP clients read it through the sidecar, with and without deprecation warnings."""

from collections.abc import Iterator, Mapping

import pytest

from tests.support.peers import Room, peer_room
from tests.support.processes import children
from tests.support.stand import Stand

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("mcp.tool_notes.clients")]

CLIENTS = ["mcp-1.30", "mcp-2.3"]
SERVERS = ["mcp-1.30", "mcp-2.3"]

WAIT = "lighthouse_wait_for_messages"


@pytest.fixture(scope="module", name="room")
def _room() -> Iterator[Room]:
    with peer_room() as opened:
        yield opened


@pytest.fixture(scope="module", name="stands")
def _stands(room: Room, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Stand]]:
    """A sidecar before each MCP server; nobody needs the Bridge."""
    with children() as started:
        stands = {}
        for name in SERVERS:
            stands[name] = Stand(started, tmp_path_factory.mktemp("sidecar"), "memory:")
            origin = room.server(name).url.removesuffix("/mcp")
            stands[name].start_sidecar("--set", f"bridge.mcp_url={origin}", bridge=origin)
        yield stands


def _tools(room: Room, client: str, url: str) -> list[dict[str, object]]:
    run = room.client(client, url=url, calls=[{"do": "list"}])
    found = run.hear(kind="tools")["tools"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_the_wait_tool_is_listed_as_ever_and_says_that_it_is_deprecated_when_it_is(
    *, room: Room, stands: Mapping[str, Stand], client: str, server: str
) -> None:
    stand, direct = stands[server], _tools(room, client, room.server(server).url)
    stand.set_flags({"deprecation_warnings": False})
    assert _tools(room, client, f"{stand.data}/mcp") == direct
    stand.set_flags({"deprecation_warnings": True})
    noted = _tools(room, client, f"{stand.data}/mcp")
    (wait,) = (tool for tool in noted if tool["name"] == WAIT)
    description, _, note = str(wait["description"]).partition("\n\nDeprecated: ")
    assert "elicitation" in note
    assert "https://elicit-sidecar.dev/migration" in note
    wait["description"] = description
    assert noted == direct
