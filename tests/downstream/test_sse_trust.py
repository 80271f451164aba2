"""The HTTP+SSE transport: whose a stream is, and in whose name messages to it call tools."""

import pytest
from aiohttp.test_utils import make_mocked_request

from proxy.downstream.gate import SIGNER
from proxy.downstream.mcp_caller import principal_of
from tests.support.house import Heard, House, house
from tests.support.mcp_stand import PLAIN, tool
from tests.support.raw_http import connect, read_chunk
from tests.support.raw_upstream import Peer, raw_upstream

PLACE = "/messages/?session_id=1"
ENFORCE = {"identity.mode": "enforce", "limits.questions": "1/h"}
TOKENS = {name: f"0123456789:{name}:1:x" for name in ("alice", "mallory")}
ASK = tool("lighthouse_elicit_information", {"to_agent": "bob"})


async def _server(peer: Peer) -> None:
    """Name a place on a stream, and take what is posted there."""
    received = await peer.request()
    if received.method == b"POST":
        await peer.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    frame = f"event: endpoint\ndata: {PLACE}\n\n".encode()
    await peer.send(b"%x\r\n%b\r\n" % (len(frame), frame))
    await peer.stage.until("end")
    await peer.send(b"0\r\n\r\n")


async def _post(made: House, agent: str, body: bytes) -> Heard:
    return await made.call("POST", PLACE, token=TOKENS[agent], raw=body, headers=PLAIN)


@pytest.mark.requirement("admission.sessions")
@pytest.mark.requirement("admission.tools")
async def test_a_stream_is_of_whom_opened_it_and_its_messages_speak_for_nobody_else() -> None:
    async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", ENFORCE) as made:
        stage = upstream.play(_server)
        async with connect(made.port) as stream:
            head = f"GET /sse HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKENS['alice']}\r\n\r\n"
            await stream.send(head.encode())
            await stream.reply_head()
            assert PLACE.encode() in await read_chunk(stream.reader)
            for agent, body, reason in (
                ("mallory", tool("x", {}), "session"),
                ("mallory", tool("x", {"agent_id": "alice"}), "claim"),
                ("alice", tool("x", {"agent_id": "bob"}), "claim"),
            ):
                heard = await _post(made, agent, body)
                assert (heard.status, heard.problem["reason"]) == (403, reason)
            assert len(upstream.received) == 1
            assert [(await _post(made, "alice", ASK)).status for _ in range(2)] == [202, 429]
            assert [received.body for received in upstream.received[1:]] == [ASK]
            stage.reached("end")
            assert await read_chunk(stream.reader) == b""


@pytest.mark.requirement("admission.sessions")
def test_where_agents_are_held_to_it_whoever_signs_comes_back_for_itself_alone() -> None:
    plain, alice, mallory = (make_mocked_request("POST", "/mcp") for _ in range(3))
    alice[SIGNER], mallory[SIGNER] = " alice", " mallory"
    assert len({principal_of(each) for each in (plain, alice, mallory)}) == 3
    assert not principal_of(plain)
