"""Arguments of a tool that have to be repeated in header fields, in the envelope era."""

from collections.abc import Callable, Mapping

import orjson
import pytest
from aiohttp import web

from proxy.mcp.calling import Outgoing
from proxy.mcp.jsonrpc import Response
from proxy.mcp.revisions import Era
from proxy.upstream import mcp_envelope
from tests.support.scripted_mcp import Got, UpstreamStand, never_asked, unheard, upstream_stand

pytestmark = pytest.mark.requirement("mcp.upstream.envelope")

Say = Callable[[Got, int], web.StreamResponse]
"""What to answer to a call; the number counts the calls from 1."""


async def send(stand: UpstreamStand, call: Outgoing) -> Response:
    return await stand.upstream.request(Era.ENVELOPE, call, on_ask=never_asked, on_note=unheard)


def script(say: Say, tools: Callable[[Got], web.StreamResponse] | None = None) -> "Script":
    return Script(say, tools)


class Script:
    """Answers calls by a function, and lists of tools by another."""

    def __init__(self, say: Say, tools: Callable[[Got], web.StreamResponse] | None) -> None:
        self.say = say
        self.tools = tools
        self.calls = 0

    async def __call__(self, got: Got) -> web.StreamResponse | None:
        if got.method == "tools/list" and self.tools is not None:
            return self.tools(got)
        if got.method != "tools/call":
            return None
        self.calls += 1
        return self.say(got, self.calls)


def complete(got: Got, **more: object) -> web.StreamResponse:
    return got.result({"resultType": "complete", **more})


def listing(*pages: Mapping[str, object]) -> Callable[[Got], web.StreamResponse]:
    def tools(got: Got) -> web.StreamResponse:
        number = int(str(got.params.get("cursor", 0)))
        more = {"nextCursor": str(number + 1)} if number + 1 < len(pages) else {}
        schema = {"type": "object", "properties": pages[number]}
        return got.result({"resultType": "complete", "tools": [{"name": f"t{number}", "inputSchema": schema}], **more})

    return tools


REGION = {"region": {"type": "string", "x-mcp-header": "Region"}}


def call_of(tool: str, **arguments: object) -> Outgoing:
    params = orjson.dumps({"name": tool, "arguments": arguments})
    return Outgoing(method="tools/call", params=params, principal="p")


async def test_an_argument_is_repeated_where_its_tool_wants_that() -> None:
    async with upstream_stand(script(lambda got, _: complete(got), listing({}, REGION))) as stand:
        await send(stand, call_of("t1", region="Zürich"))
        await send(stand, call_of("t0", region="x"))
        await send(stand, call_of("t1"))
        await send(stand, Outgoing(method="tools/call", params=b'{"name":5}', principal="p"))
    sent = [got.headers.get("Mcp-Param-Region") for got in stand.server.all("tools/call")]
    assert sent == ["=?base64?WsO8cmljaA==?=", None, None, None]
    assert len(stand.server.all("tools/list")) == 2


async def test_the_tools_are_listed_again_after_a_while_and_when_the_principal_is_forgotten() -> None:
    async with upstream_stand(script(lambda got, _: complete(got), listing(REGION))) as stand:
        await send(stand, call_of("t0"))
        await stand.clock.advance(301)
        await send(stand, call_of("t0"))
        await stand.upstream.forget("p")
        await send(stand, call_of("t0"))
    assert len(stand.server.all("tools/list")) == 3


async def test_no_more_principals_than_may_be_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_envelope, "MAX_PRINCIPALS", 1)
    async with upstream_stand(script(lambda got, _: complete(got), listing(REGION))) as stand:
        for principal in ("p", "q", "p"):
            await send(stand, Outgoing(method="tools/call", params=b'{"name":"t0"}', principal=principal))
    assert len(stand.server.all("tools/list")) == 3


async def test_a_call_that_is_refused_for_its_fields_is_sent_once_more_with_what_the_tool_wants_now() -> None:
    versions = [listing({}), listing(REGION)]

    def tools(got: Got) -> web.StreamResponse:
        return versions.pop(0)(got)

    def say(got: Got, _: int) -> web.StreamResponse:
        return complete(got) if "Mcp-Param-Region" in got.headers else got.error(-32020, 400)

    async with upstream_stand(script(say, tools)) as stand:
        assert (await send(stand, call_of("t0", region="x"))).result is not None
    assert len(stand.server.all("tools/call")) == 2


async def test_fields_that_are_refused_again_are_told() -> None:
    async with upstream_stand(script(lambda got, _: got.error(-32020, 400), listing(REGION))) as stand:
        assert (await send(stand, call_of("t0"))).error is not None
    assert len(stand.server.all("tools/call")) == 2


@pytest.mark.parametrize(
    "tools",
    [
        lambda got: got.error(-32601, 404),
        lambda got: got.result({"tools": 5}),
        lambda _: web.Response(status=500),
        lambda _: web.Response(text="<html>"),
    ],
)
async def test_tools_that_cannot_be_listed_want_nothing(tools: Callable[[Got], web.StreamResponse]) -> None:
    async with upstream_stand(script(lambda got, _: complete(got), tools)) as stand:
        assert (await send(stand, call_of("ask"))).result is not None


async def test_a_list_without_an_end_is_left_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_envelope, "MAX_PAGES", 3)
    endless = listing(*[REGION] * 9)
    async with upstream_stand(script(lambda got, _: complete(got), endless)) as stand:
        await send(stand, call_of("t2", region="x"))
    assert len(stand.server.all("tools/list")) == 3
    assert stand.server.all("tools/call")[0].headers["Mcp-Param-Region"] == "x"
