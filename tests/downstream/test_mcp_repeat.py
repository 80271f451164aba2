"""A client that opens a session over a connection that its server closes at that moment."""

import orjson
import pytest

from tests.support.corpus import sized
from tests.support.house import ON, house
from tests.support.raw_upstream import Peer, raw_upstream

PLAIN = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def _message(method: str) -> bytes:
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


async def _serves_one_request_per_connection(peer: Peer) -> None:
    await peer.request()
    await peer.send(sized(b"200 OK"))
    await peer.request()


@pytest.mark.requirement("relay.opening")
@pytest.mark.parametrize(("method", "connections"), [("initialize", 2), ("tools/call", 1)])
async def test_only_the_opening_is_sent_again_as_a_session_that_nobody_heard_of_is_nobodys(
    method: str, connections: int
) -> None:
    async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", ON) as made:
        upstream.play(_serves_one_request_per_connection)
        assert (await made.call("POST", "/mcp", raw=_message("ping"), headers=PLAIN)).status == 200
        await made.call("POST", "/mcp", raw=_message(method), headers=PLAIN)
        assert upstream.connections == connections
