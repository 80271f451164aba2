"""The doors of OpenFeature remote evaluation: what the flags are for one agent.

Evaluating changes nothing, though it is a POST: the context travels in the body. Source: OFREP 0.3.
"""

import orjson
import xxhash
from aiohttp import web

from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId
from proxy.core.ofrep import ErrorCode, evaluate, evaluate_all, parse_targeting_key, refusal
from proxy.downstream.admin_body import read_object
from proxy.downstream.admin_reply import json_reply
from proxy.flows.flags import FlagBoard


class OfrepDoors:
    """One method per operation of the table."""

    __slots__ = ("_board",)

    def __init__(self, board: FlagBoard) -> None:
        self._board = board

    async def evaluate_flag(self, request: web.Request) -> web.Response:
        """One flag for one agent."""
        key = request.match_info["key"]
        member = self._board.member(await _read_agent(request, key=key))
        return json_reply(evaluate(key, self._board.flags, member))

    async def evaluate_flags(self, request: web.Request) -> web.Response:
        """Every flag for one agent; 304 when the caller has them as they are."""
        member = self._board.member(await _read_agent(request))
        evaluated = evaluate_all(self._board.flags, member)
        # The tag is made from the whole: an override changes it as well as a new version of the flags does.
        tag = xxhash.xxh3_64_hexdigest(orjson.dumps(evaluated))
        if _is_known(request, tag):
            return _not_modified(tag)
        return json_reply(evaluated, headers={"ETag": f'"{tag}"'})


async def _read_agent(request: web.Request, *, key: str | None = None) -> AgentId:
    try:
        body = await read_object(request)
    except InvalidInput as error:
        raise refusal(ErrorCode.PARSE_ERROR, error.detail, key=key) from error
    return parse_targeting_key(body, key=key)


def _is_known(request: web.Request, tag: str) -> bool:
    """Whether the caller names this tag in If-None-Match. Source: RFC 9110 section 13.1.2 (weak comparison)."""
    return any(known.value in {"*", tag} for known in request.if_none_match or ())


def _not_modified(tag: str) -> web.Response:
    # Source: RFC 9110 section 15.4.5: a 304 has the fields that the full reply would have had for caches.
    return web.Response(status=304, headers={"ETag": f'"{tag}"', "Cache-Control": "no-store"})
