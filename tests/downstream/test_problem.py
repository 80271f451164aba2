"""Errors on the wire: problem documents, and the boundary around all doors."""

import asyncio
from collections.abc import Awaitable, Callable

import orjson
import pytest
from aiohttp import ClientConnectionError, ClientPayloadError, web
from aiohttp.test_utils import TestClient, make_mocked_request
from pytest_aiohttp import AiohttpServer

from proxy.core.errors import BridgeTimeout, FlagConflict, NotFound, SidecarError, TooManyWaits, Unauthenticated
from proxy.downstream.problem import error_boundary, problem_response

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _document(response: web.Response) -> dict[str, object]:
    assert isinstance(response.body, bytes)
    document = orjson.loads(response.body)
    assert isinstance(document, dict)
    return document


def test_a_problem_names_type_title_status_detail_code_and_extras() -> None:
    response = problem_response(FlagConflict("expected version 3, got 2", version=3))
    assert response.status == 409
    assert response.content_type == "application/problem+json"
    assert _document(response) == {
        "type": "https://elicit-sidecar.dev/errors/flag-conflict",
        "title": "Version conflict",
        "status": 409,
        "detail": "expected version 3, got 2",
        "code": "flag_conflict",
        "retryable": True,
        "version": 3,
    }
    assert "Retry-After" not in response.headers


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, "0"), (-3.0, "0"), (0.2, "1"), (5.0, "5")])
def test_retry_after_is_whole_seconds_rounded_up(seconds: float, shown: str) -> None:
    assert problem_response(TooManyWaits("full", retry_after_s=seconds)).headers["Retry-After"] == shown


def test_a_401_challenges_for_a_bearer_token() -> None:
    assert problem_response(Unauthenticated("no token")).headers["WWW-Authenticate"].startswith("Bearer")


def test_undecodable_bytes_in_a_text_do_not_break_its_problem() -> None:
    assert _document(problem_response(NotFound("got \udc80")))["detail"] == "got ?"


class _Stand:
    """A server with one door inside of the boundary; keeps the defects that were reported."""

    def __init__(self, server: AiohttpServer) -> None:
        self._server = server
        self.defects: list[tuple[str, BaseException]] = []

    async def client(self, door: Handler) -> TestClient[web.Request, web.Application]:
        app = web.Application(middlewares=[error_boundary(self._defect)], client_max_size=100)
        app.router.add_post("/door", door)
        app.router.add_put("/door", door)
        return TestClient(await self._server(app))

    def _defect(self, where: str, error: BaseException) -> None:
        self.defects.append((where, error))


@pytest.fixture
def stand(aiohttp_server: AiohttpServer) -> _Stand:
    return _Stand(aiohttp_server)


def _raising(error: BaseException) -> Handler:
    async def door(_: web.Request) -> web.StreamResponse:
        raise error

    return door


async def _fine(request: web.Request) -> web.StreamResponse:
    return web.Response(body=await request.read())


@pytest.mark.parametrize("error", [BridgeTimeout("no reply in 10 s"), NotFound("no such agent")])
async def test_an_error_of_ours_becomes_its_problem(stand: _Stand, error: SidecarError) -> None:
    async with await stand.client(_raising(error)) as client:
        response = await client.post("/door")
        assert response.status == error.status
        assert (await response.json(content_type="application/problem+json"))["code"] == error.code
    assert stand.defects == []


async def test_an_unforeseen_error_tells_the_peer_nothing_and_the_recorder_everything(stand: _Stand) -> None:
    planted = ValueError("the secret is xyzzy")
    async with await stand.client(_raising(planted)) as client:
        response = await client.post("/door?token=xyzzy")
        assert response.status == 500
        text = await response.text()
    assert "xyzzy" not in text
    assert "ValueError" not in text
    assert stand.defects == [("POST /door", planted)]


async def test_an_unknown_path_is_a_404_problem(stand: _Stand) -> None:
    async with await stand.client(_fine) as client:
        response = await client.get("/nowhere")
        assert response.status == 404
        assert (await response.json(content_type="application/problem+json"))["code"] == "not_found"


async def test_a_wrong_method_is_a_405_problem_with_allow(stand: _Stand) -> None:
    async with await stand.client(_fine) as client:
        response = await client.get("/door")
        assert response.status == 405
        assert response.headers["Allow"] == "POST,PUT"
        document = await response.json(content_type="application/problem+json")
        assert document["code"] == "method_not_allowed"
        assert document["detail"] == "expected one of POST,PUT on this path, got GET"


async def test_what_only_http_itself_says_is_a_problem_without_type(stand: _Stand) -> None:
    async with await stand.client(_raising(web.HTTPUnsupportedMediaType())) as client:
        response = await client.post("/door")
        assert response.status == 415
        document = await response.json(content_type="application/problem+json")
        assert (document["code"], document["type"]) == ("unsupported_media_type", "about:blank")
        assert document["detail"] == "Unsupported Media Type: POST /door"


async def test_a_body_beyond_the_bound_is_a_413_problem(stand: _Stand) -> None:
    async with await stand.client(_fine) as client:
        response = await client.post("/door", data=b"x" * 101)
        assert response.status == 413
        assert (await response.json(content_type="application/problem+json"))["code"] == "body_too_large"


async def test_a_redirect_and_a_reply_pass(stand: _Stand) -> None:
    async with await stand.client(_raising(web.HTTPFound("/elsewhere"))) as client:
        assert (await client.post("/door", allow_redirects=False)).status == 302
    async with await stand.client(_fine) as client:
        assert await (await client.post("/door", data=b"body")).read() == b"body"


@pytest.mark.parametrize(("error", "defects"), [(BridgeTimeout("broke"), 0), (ValueError("broke"), 1)])
async def test_an_error_after_the_reply_began_breaks_the_connection_off(
    stand: _Stand, error: Exception, defects: int
) -> None:
    async def door(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise error

    async with await stand.client(door) as client:
        response = await client.post("/door")
        assert response.status == 200
        with pytest.raises(ClientPayloadError):
            await response.read()
    assert len(stand.defects) == defects


async def test_a_cancelled_call_stays_cancelled(stand: _Stand) -> None:
    boundary = error_boundary(stand._defect)
    with pytest.raises(asyncio.CancelledError):
        await boundary(make_mocked_request("GET", "/"), _raising(asyncio.CancelledError()))
    assert stand.defects == []


async def test_a_peer_that_left_is_no_defect(stand: _Stand) -> None:
    async def door(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        raise ConnectionResetError("Cannot write to closing transport")

    async with await stand.client(door) as client:
        with pytest.raises(ClientConnectionError):
            await client.post("/door")
    assert stand.defects == []


async def test_a_broken_connection_of_ours_is_a_defect_while_the_peer_is_there(stand: _Stand) -> None:
    async with await stand.client(_raising(ConnectionResetError("upstream, not translated"))) as client:
        assert (await client.post("/door")).status == 500
    assert len(stand.defects) == 1
