"""Whatever a path is spelled like: what the Bridge would serve as a wait or an answer, the sidecar takes for one."""

import asyncio
from pathlib import Path

import pytest

from tests.support.asking import ask_bob
from tests.support.house import Stand, stand
from tests.support.raw_http import Reply, connect

pytestmark = pytest.mark.requirement("security.one_path")

SPELLINGS = (
    "{0}",
    "/event/../event/{1}",
    "/./event/{1}",
    "/event/./{1}",
    "/event/x/../{1}",
    "/event/x/%2e%2e/{1}",
    "/%2e/event/{1}",
    "/x/..;/event/{1}",
    "/{0}",
    "//{0}",
    "/event//{1}",
    "/event%2F{1}",
    "/event%252F{1}",
    "/%65vent/{1}",
    "/%2565vent/{1}",
    "/%u0065vent/{1}",
    "/%C0%A5vent/{1}",
    "{0}/",
    "{0}/.",
    "{0}.",
    "{0}%20",
    "{0}%00",
    "{0}%0a",
    "{0}%",
    "{0};a=b",
    "{0};",
    "{0}#x",
    "{0}#/../x",
    "{0}?#x",
    "{0}%23x",
    "{0}%3Fx",
    "/#/..{0}",
    "/EVENT/{1}",
    "/event\\{1}",
    "/event%5C{1}",
    "\\event\\{1}",
    "http://h{0}",
    "HTTP://h{0}",
    "ws://h{0}",
    "http://u:p@h{0}",
    "http://127.0.0.1:1{0}",
    "http://h{0}#x",
    "http://h#{0}",
    "http://h?{0}",
    "http://{0}",
    "http:{0}",
    "x:{0}",
    "h:1{0}",
    "event/{1}",
    "*",
    "{0}\t",
    "{0}|",
    "{0}&",
)

DOORS = {"wait": "http_wait", "store": "http_store"}


async def _call(port: int, target: bytes, token: str, body: bytes | None) -> Reply | None:
    """The reply to one call, None where the connection was closed without one."""
    method = b"GET" if body is None else b"POST"
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    head = b"%b %b HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %b\r\nConnection: close\r\n%b\r\n"
    async with asyncio.timeout(10), connect(port) as wire:
        await wire.send(head % (method, target, token.encode(), length) + (body or b""))
        try:
            return await wire.reply()
        except EOFError:
            return None


def _served(made: Stand, kind: str) -> int:
    return made.arrived("GET /event/wait" if kind == "wait" else "POST /event/store")


@pytest.mark.parametrize("kind", ["wait", "store"])
async def test_no_spelling_of_a_path_leads_past_its_door(tmp_path: Path, kind: str) -> None:
    """Each spelling is put to the development Bridge itself first, then to the sidecar before it."""
    past: list[str] = []
    served = 0
    async with stand(tmp_path) as made:
        token = await made.bridge.token("bob")
        body = None if kind == "wait" else b'{"event_type":"CUSTOM","agent_id":"bob","data":{}}'
        query = "?agent_id=bob&timeout_seconds=0" if kind == "wait" else ""
        for spelling in SPELLINGS:
            written = spelling.format(f"/event/{kind}", kind)
            path, mark, fragment = written.partition("#")
            target = f"{path}{query}{mark}{fragment}".encode()
            before = _served(made, kind)
            await _call(made.bridge.client.port or 0, target, token, body)
            is_one_for_the_bridge = _served(made, kind) > before
            served += is_one_for_the_bridge
            before, known = _served(made, kind), len(made.house.lines)
            reply = await _call(made.house.port, target, token, body)
            doors = {line["door"] for line in made.house.lines[known:]}
            is_refused = reply is not None and reply.status == 400 and _served(made, kind) == before
            if is_one_for_the_bridge and not (DOORS[kind] in doors or is_refused):
                past.append(written)
    assert past == []
    assert served >= 8, "the Bridge takes several spellings for the path; otherwise nothing was tried"


@pytest.mark.parametrize(
    "query",
    [
        "agent_id=bob&x=%ff",
        "agent_id=bob" + "&x=1" * 200,
        "agent_id=bob&since_sequence=-1",
        "agent_id=bob&since_sequence=%2B0",
        "agent_id=bob&since_sequence=%200",
        "agent_id=bob&since_sequence=0_0",
        "agent_id=bob&since_sequence=" + "0" * 100,
        "agent_id=carol&agent_id=bob",
        "agent%5fid=bob",
        "&&agent_id=bob&=&",
    ],
)
async def test_no_spelling_of_a_query_makes_a_wait_somebody_elses(tmp_path: Path, query: str) -> None:
    async with stand(tmp_path) as made:
        token = await made.bridge.token("bob")
        target = f"/event/wait?{query}&timeout_seconds=0".encode()
        direct = await _call(made.bridge.client.port or 0, target, token, None)
        assert direct is not None
        assert direct.status == 200
        through = await _call(made.house.port, target, token, None)
        assert through is not None
        assert through.status == 200
        (line,) = made.house.lines
        assert (line["door"], line.get("agent_id"), line.get("route")) == ("http_wait", "bob", "elicitation")


async def test_a_removed_wait_is_gone_in_every_spelling(tmp_path: Path) -> None:
    async with stand(tmp_path) as made:
        token = await made.bridge.token("bob")
        await made.house.flags(legacy_support=False)
        named = ("agent_id=bob", "agent_id=bob&x=%ff", "agent_id=bob&since_sequence=-1")
        for query in (*named, "agent_id=", "agent_id=%00", "agent_id=%ff", f"agent_id={'b' * 301}"):
            reply = await _call(made.house.port, f"/event/wait?{query}&timeout_seconds=0".encode(), token, None)
            assert reply is not None
            assert reply.status == 410
        assert made.arrived("GET /event/wait") == 0


@pytest.mark.parametrize(
    "target", ["/elicitation/respond#x", "http://h/elicitation/respond#x", "/elicitation/respond/../respond#"]
)
async def test_an_answer_to_a_spelling_with_a_fragment_is_no_answer(tmp_path: Path, target: str) -> None:
    async with stand(tmp_path) as made:
        asked = await ask_bob(made)
        body = b'{"elicitation_id":"%b","responding_agent":"bob","response_type":"accept","data":{"colour":7}}'
        reply = await _call(made.house.port, target.encode(), asked.bob, body % str(asked.named).encode())
        assert reply is not None
        assert reply.status == 400
        assert await asked.status() == "pending"
