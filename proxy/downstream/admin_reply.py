"""How the doors of the admin port write JSON: never to be kept by a cache."""

from collections.abc import Mapping

import orjson
from aiohttp import web


def json_reply(
    value: Mapping[str, object], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON object as reply."""
    shown = {"Cache-Control": "no-store", **(headers or {})}
    return web.Response(status=status, body=orjson.dumps(dict(value)), content_type="application/json", headers=shown)
