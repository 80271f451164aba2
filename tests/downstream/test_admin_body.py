"""What callers of the admin port send is read within bounds."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from pytest_aiohttp import AiohttpClient

from proxy.core.errors import InvalidInput
from proxy.downstream.admin_body import MAX_DEPTH, parse_object, read_if_match, read_limit, read_object
from proxy.downstream.problem import error_boundary


def _call(path: str, *headers: tuple[str, str]) -> web.Request:
    return make_mocked_request("GET", path, headers=CIMultiDict(headers))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"[]",
        b"null",
        b'"{}"',
        b"{",
        b'{"a":NaN}',
        b"\xff",
        b'{"a":"\\ud800"}',
        b"[" * 100_000,
        b"elicitation_enabled=false",
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="JSON object"):
        parse_object(body)


def test_nesting_is_bounded() -> None:
    assert parse_object(b'{"a":' * (MAX_DEPTH - 1) + b"{}" + b"}" * (MAX_DEPTH - 1))
    for start, end in ((b'{"a":', b"}"), (b'{"a":[', b"]}")):
        with pytest.raises(InvalidInput, match="nested"):
            parse_object(start * MAX_DEPTH + b"{}" + end * MAX_DEPTH)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0a', max_size=60).map(str.encode))
def test_a_body_is_an_object_or_refused(body: bytes) -> None:
    try:
        parsed = parse_object(body)
    except InvalidInput:
        return
    assert parsed == orjson.loads(body)


@pytest.mark.parametrize(("query", "limit"), [("", 50), ("?limit=1", 1), ("?limit=1000", 1000), ("?limit=007", 7)])
def test_a_limit_is_read_or_has_its_default(query: str, limit: int) -> None:
    assert read_limit(_call("/" + query), default=50, most=1000) == limit


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "1.5", "", "x", "%D9%A3", "9" * 30])
def test_a_limit_out_of_range_is_refused(limit: str) -> None:
    with pytest.raises(InvalidInput, match="1 to 1000"):
        read_limit(_call(f"/?limit={limit}"), default=50, most=1000)


@pytest.mark.parametrize(
    ("headers", "version"),
    [((), None), (("*",), None), (('"3"',), 3), (("3",), 3), ((" 12 ",), 12)],
)
def test_if_match_is_a_version_or_any(headers: tuple[str, ...], version: int | None) -> None:
    assert read_if_match(_call("/", *(("If-Match", value) for value in headers))) == version


@pytest.mark.parametrize("headers", [('W/"3"',), ('"3", "4"',), ("3", "4"), ('"3',), ("x",), ("-1",), ("9" * 30,)])
def test_any_other_if_match_is_refused(headers: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match="If-Match"):
        read_if_match(_call("/", *(("If-Match", value) for value in headers)))


async def _echo(request: web.Request) -> web.Response:
    return web.json_response(await read_object(request, within_s=0.05))


def _app() -> web.Application:
    def defect(where: str, error: BaseException) -> None:
        raise AssertionError(where) from error

    app = web.Application(middlewares=[error_boundary(defect)])
    app.router.add_post("/", _echo)
    return app


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
async def test_json_is_read_whatever_the_content_type_says(aiohttp_client: AiohttpClient, content_type: str) -> None:
    client = await aiohttp_client(_app())
    response = await client.post("/", data=b'{"elicitation_enabled": false}', headers={"Content-Type": content_type})
    assert await response.json() == {"elicitation_enabled": False}


async def test_a_body_that_cannot_be_decoded_is_refused(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(_app())
    response = await client.post("/", data=b"no gzip at all", headers={"Content-Encoding": "gzip"})
    assert response.status == 400
    assert "decoded" in (await response.json(content_type="application/problem+json"))["detail"]


async def test_a_body_that_does_not_come_is_not_waited_for(aiohttp_client: AiohttpClient) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b'{"a":'
        await answered.wait()

    answered = asyncio.Event()
    client = await aiohttp_client(_app())
    async with asyncio.timeout(5):
        response = await client.post("/", data=half())
        answered.set()
    assert response.status == 400
    assert "within" in (await response.json(content_type="application/problem+json"))["detail"]
