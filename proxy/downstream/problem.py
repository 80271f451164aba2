"""Errors on the wire: the problem document, and the boundary that turns every error into one.

Nothing of an unforeseen error reaches the peer but that it happened; its traceback goes to the recorder.

Source: RFC 9457 (problem details), RFC 9110 section 10.2.3 (Retry-After) and 11.6.1 (WWW-Authenticate).
"""

import json
import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy.core.errors import (
    PROBLEM_MEDIA_TYPE,
    BodyTooLarge,
    MethodNotAllowed,
    NotFound,
    OurFault,
    RateLimited,
    SidecarError,
    Unauthenticated,
)

_GONE_STATUS: Final = 499
"""Never sent: what a call ends with whose peer has left. Source: the number nginx logs for it."""

_CHALLENGE: Final = MappingProxyType({"WWW-Authenticate": 'Bearer realm="elicit-sidecar"'})


def problem_response(error: SidecarError) -> web.Response:
    """The reply that tells a peer of an error; with Retry-After (whole seconds, rounded up) where the error has one."""
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(0, math.ceil(error.retry_after_s)))
    if isinstance(error, Unauthenticated):
        headers.update(_CHALLENGE)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allow
    if isinstance(error, RateLimited):
        headers.update(error.fields)
    return web.Response(
        status=error.status, body=_dump(error.problem()), content_type=error.media_type, headers=headers
    )


def _dump(document: Mapping[str, object]) -> bytes:
    try:
        return orjson.dumps(document, default=repr)
    except TypeError:
        # Texts that quote undecodable header bytes hold lone surrogates, which no JSON reader must accept.
        return json.dumps(document, default=repr, ensure_ascii=False).encode("utf-8", "replace")


def as_sidecar_error(request: web.Request, error: web.HTTPException) -> SidecarError | None:
    """Our own error for one that aiohttp itself raised, where we have one."""
    if error.status == HTTPStatus.NOT_FOUND:
        return NotFound(f"expected a path of this port, got {request.method} {request.rel_url.raw_path}")
    if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return BodyTooLarge(f"expected a body of at most {request.client_max_size} bytes; send less")
    if error.status == HTTPStatus.METHOD_NOT_ALLOWED:
        allow = error.headers["Allow"]
        return MethodNotAllowed(f"expected one of {allow} on this path, got {request.method}", allow=allow)
    return None


def http_problem(request: web.Request, error: web.HTTPException) -> web.Response:
    """The problem document of an error that aiohttp itself raised."""
    ours = as_sidecar_error(request, error)
    if ours is not None:
        return problem_response(ours)
    # Source: RFC 9457 section 4.2.1, about:blank for what the status alone says.
    document: dict[str, object] = {
        "type": "about:blank",
        "title": error.reason,
        "status": error.status,
        "detail": f"{error.reason}: {request.method} {request.rel_url.raw_path}",
        "code": error.reason.lower().replace(" ", "_"),
        "retryable": False,
    }
    return web.Response(status=error.status, body=_dump(document), content_type=PROBLEM_MEDIA_TYPE)


def error_boundary(defect: Callable[[str, BaseException], None]) -> Middleware:
    """The outermost middleware: every error becomes a problem document, an unforeseen one goes to `defect` too.

    A reply that has begun cannot be taken back: its connection is broken off, so that the peer sees it is incomplete.
    """

    @web.middleware
    async def boundary(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except SidecarError as error:
            return _instead(request, problem_response(error))
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            return _instead(request, http_problem(request, error))
        except Exception as error:  # noqa: BLE001  # one of the four boundaries: reported with traceback as our defect
            if isinstance(error, ConnectionError) and _is_gone(request):
                return web.Response(status=_GONE_STATUS)
            defect(f"{request.method} {request.rel_url.raw_path}", error)
            return _instead(request, problem_response(OurFault("the sidecar failed; its log has the traceback")))

    return boundary


def _instead(request: web.Request, response: web.Response) -> web.Response:
    """The reply in place of the door's own, if nothing of that was sent; a broken-off connection otherwise."""
    if request.writer.output_size > 0 and request.transport is not None:
        # aiohttp finds the transport closed and sends nothing more.
        request.transport.abort()
    return response


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
