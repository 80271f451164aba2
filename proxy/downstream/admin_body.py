"""Read what callers of the admin port send: JSON bodies, query values, version headers, all of them bounded."""

import asyncio
import re
from typing import Final

import orjson
from aiohttp import web

from proxy.core.errors import InvalidInput

MAX_BODY_BYTES: Final = 256 * 1024
"""Largest body of an admin call. Source: ours; a list of 10,000 names of 24 characters fits."""

MAX_DEPTH: Final = 32
"""Deepest nesting of a body. Source: ours; no document of this port nests deeper than 3."""

BODY_WITHIN_S: Final = 10.0
"""Seconds in which a body must have arrived. Source: ours; it has at most 256 KiB."""

_WHOLE: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_ETAG: Final = re.compile(r'"([0-9]{1,18})"|([0-9]{1,18})', re.ASCII)


async def read_object(request: web.Request, *, within_s: float = BODY_WITHIN_S) -> dict[str, object]:
    """The body as a JSON object, whatever its Content-Type says (curl's `-d` calls it a form).

    Raises:
        InvalidInput: broken off, not there after `within_s` seconds, or nothing that `parse_object` reads.
    """
    try:
        async with asyncio.timeout(within_s):
            body = await request.read()
    except web.RequestPayloadError as error:
        raise InvalidInput("expected a complete body, got one that breaks off or cannot be decoded") from error
    except TimeoutError as error:
        raise InvalidInput(f"expected the whole body within {within_s:g} seconds") from error
    return parse_object(body)


def parse_object(body: bytes) -> dict[str, object]:
    """Read a JSON object of bounded depth.

    Raises:
        InvalidInput: not JSON, not an object, or nested too deeply.
    """
    try:
        value: object = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise InvalidInput(f"expected a JSON object as body: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"expected a JSON object as body, got {type(value).__name__}")
    if not _is_shallow(value):
        raise InvalidInput(f"expected a body nested at most {MAX_DEPTH} deep")
    return value


def _is_shallow(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return True
    return False


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def read_limit(request: web.Request, *, default: int, most: int) -> int:
    """The query value `limit`, 1 to `most`.

    Raises:
        InvalidInput: not a whole number in that range.
    """
    text = request.query.get("limit")
    if text is None:
        return default
    if _WHOLE.fullmatch(text) is None or not 1 <= int(text) <= most:
        raise InvalidInput(f"limit: expected a whole number from 1 to {most}, got {text[:40]!r}")
    return int(text)


def read_number(request: web.Request, name: str, *, most: int) -> int | None:
    """The query value of this name, 0 to `most`; None without one.

    Raises:
        InvalidInput: not a whole number in that range.
    """
    text = request.query.get(name)
    if text is None:
        return None
    if _WHOLE.fullmatch(text) is None or int(text) > most:
        raise InvalidInput(f"{name}: expected a whole number from 0 to {most}, got {text[:40]!r}")
    return int(text)


def read_if_match(request: web.Request) -> int | None:
    """The version that If-Match asks for; None without one, or with `*`. Source: RFC 9110 section 13.1.1.

    Raises:
        InvalidInput: neither `"3"` nor `3` nor `*`.
    """
    given = request.headers.getall("If-Match", ["*"])
    text = ", ".join(given).strip()
    if text == "*":
        return None
    match = _ETAG.fullmatch(text)
    if match is None:
        raise InvalidInput(f'If-Match: expected the version of the flags, as in "3", got {text[:40]!r}')
    return int(match[1] or match[2])
