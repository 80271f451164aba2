"""What kind of program calls, from its User-Agent: a name from a closed list, fit for a metric label."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class AgentKind(StrEnum):
    """Programs that agents are made of."""

    URLLIB = "urllib"
    REQUESTS = "requests"
    HTTPX = "httpx"
    AIOHTTP = "aiohttp"
    CURL = "curl"
    NODE = "node"
    GO = "go"
    OTHER = "other"
    NONE = "none"


_PREFIXES: Final[Mapping[str, AgentKind]] = {
    "python-urllib": AgentKind.URLLIB,
    "python-requests": AgentKind.REQUESTS,
    "python-httpx": AgentKind.HTTPX,
    "python/": AgentKind.AIOHTTP,  # aiohttp: "Python/3.11 aiohttp/3.14.5"
    "curl": AgentKind.CURL,
    "node": AgentKind.NODE,
    "undici": AgentKind.NODE,
    "go-http-client": AgentKind.GO,
}


def agent_kind(user_agent: str) -> AgentKind:
    """The kind that a User-Agent header tells; `none` without one."""
    told = user_agent.strip().lower()
    if not told:
        return AgentKind.NONE
    return next((kind for prefix, kind in _PREFIXES.items() if told.startswith(prefix)), AgentKind.OTHER)
