"""Where a call of the Bridge names the agent that makes it: in the query, or in a member of the body.

Read strictly: what two readers may take differently (a body that is no JSON object to us and may be one to the
Bridge, a member that stands twice) is not readable, and a name in the query counts every time that it stands there.

Source: BRIDGE.md 2.1 to 2.5.
"""

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, unquote

import orjson

from proxy.core.bus import READER
from proxy.core.identity import NO_CLAIMS, Claims

_IN_BODY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "/event/store": "agent_id",
        "/elicitation/create": "from_agent",
        "/elicitation/respond": "responding_agent",
        "/session/create": "agent_id",
        "/expert/register": "agent_id",
        "/validate": "agent_id",
    }
)
"""The member of a POST that says who makes it."""

_SPEAKERS: Final = frozenset(_IN_BODY.values())

_WITHOUT_TOKEN: Final = frozenset({"/session/create", "/session/validate"})
"""Calls for which the Bridge asks for no token, so that one which comes along vouches for nobody."""

_SOCKETS: Final = "/ws/"
"""Begin of the paths whose rest names an agent, for which it asks for none either. Source: BRIDGE.md 2.5."""

_DECODINGS: Final = 3
"""How often a path may be decoded on its way. Source: ours; a proxy before the Bridge, and the Bridge, once each."""

_PLAIN: Final = re.compile(r"(?:/[a-z0-9_-]+)+")

_IN_QUERY: Final = "agent_id"
_NOBODY: Final = frozenset({"", READER})
_ASKED_BY_QUERY: Final = frozenset({"/elicitation/pending"})

MAX_FIELDS: Final = 1_000
"""Most parameters of a query that is read. Source: ours."""


def plain_path(path: str) -> str:
    """What the most lenient server may take a path for, so that no spelling of it is judged by other rules.

    That is decoded again, in lower case, a backslash as a slash, without parameters, dots and empty segments.
    """
    if _PLAIN.fullmatch(path):
        return path
    for _ in range(_DECODINGS):
        path = unquote(path)
    found: list[str] = []
    for segment in path.partition("\x00")[0].replace("\\", "/").split("/"):
        name = segment.partition(";")[0].strip()
        if name == "..":
            del found[-1:]
        elif stripped := name.rstrip(". ").lower():
            found.append(stripped)
    return "/" + "/".join(found)


def is_token_judged(path: str) -> bool:
    """Whether the Bridge looks at the token of calls to this path, so that it vouches for somebody."""
    return path not in _WITHOUT_TOKEN and not path.startswith(_SOCKETS)


def claims_in_path(path: str) -> Claims:
    """Whom the path itself names; `path` is decoded once, in the letters that came."""
    is_socket = plain_path(path).startswith(_SOCKETS)
    return Claims((path.rstrip("/").rpartition("/")[2],)) if is_socket else NO_CLAIMS


def names_agent_in_body(method: str, path: str) -> bool:
    """Whether such a call says in its body who makes it."""
    return method == "POST" and path in _IN_BODY


def names_agent_in_query(method: str, path: str, wait_paths: frozenset[str]) -> bool:
    """Whether such a call says in its query who makes it."""
    return method in {"GET", "HEAD"} and (path in wait_paths or path in _ASKED_BY_QUERY)


def claims_in_query(query: str) -> Claims:
    """Whom a query names; `query` is undecoded, without the question mark.

    The name in which sidecars read the log is nobody's.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        return Claims(is_readable=False)
    return Claims(tuple(value for name, value in pairs if name == _IN_QUERY and value not in _NOBODY))


def claims_in_body(path: str, body: bytes) -> Claims:
    """Whom the body of a POST to this path names.

    A call that names nobody is the Bridge's to refuse.
    """
    member = _IN_BODY.get(path)
    if member is None:
        return NO_CLAIMS
    try:
        orjson.loads(body)  # bounded in depth, and strict about what is JSON and UTF-8; blind to what stands twice
        said = json.loads(body.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return Claims(is_readable=False)
    named = said.get(member, "") if isinstance(said, dict) else ""
    return Claims((named,) if named else ()) if isinstance(named, str) else Claims(is_readable=False)


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs) and any(name in found for name in _SPEAKERS):
        raise ValueError("a member stands twice")
    return found
