"""Asks the MCP server behind us what we have to know ourselves: whether a session is alive."""

import itertools
from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from proxy.mcp.jsonrpc import request_message
from proxy.upstream.bridge_http import translated

PING_BYTES: Final = 65_536
"""Most that is read of the answer to a ping. Source: ours."""


class HttpMcpServer:
    """The McpServer port over streamable HTTP."""

    __slots__ = ("_numbers", "_session", "_timeout", "_url")

    def __init__(self, session: aiohttp.ClientSession, url: URL, *, request_timeout_s: float) -> None:
        self._numbers = itertools.count(1)
        self._session = session
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=request_timeout_s)

    async def is_alive(self, headers: Mapping[str, str]) -> bool:
        """Ping the session that these headers name; see the port."""
        sent = {
            **headers,
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        body = request_message(f"esc-ping-{next(self._numbers)}", "ping", {})
        async with (
            translated(self._url),
            self._session.post(
                self._url, data=body, headers=sent, timeout=self._timeout, allow_redirects=False
            ) as reply,
        ):
            await reply.content.read(PING_BYTES)
            return reply.status == 200
