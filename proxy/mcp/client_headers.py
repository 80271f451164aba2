"""The header fields of a request to an MCP server, as its era wants them: revision, session, and what the body says.

Source: PROTOCOL.md 2.3 and 3.1.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from proxy.core.errors import InvalidInput
from proxy.core.hop import HOP_BY_HOP
from proxy.mcp.jsonrpc import members, read_value
from proxy.mcp.revisions import R2026_07_28, Revision

SESSION: Final = "Mcp-Session-Id"
"""Source: PROTOCOL.md 3.1."""

REVISION: Final = "MCP-Protocol-Version"
"""Source: PROTOCOL.md 2.3 and 3.1."""

LAST_EVENT: Final = "Last-Event-ID"
"""Source: WHATWG HTML 9.2.4."""

Path = tuple[str, ...]
"""Names of properties from the arguments of a tool down to one value."""

MAX_DEPTH: Final = 32
"""How deep a schema is searched for marked properties. Source: ours; the deepest arguments seen have four levels."""

_OWN: Final = frozenset(
    {"accept", "accept-encoding", "content-type", "content-length", "expect", "host", "last-event-id"}
) | {name.decode() for name in HOP_BY_HOP}
"""Fields that belong to one HTTP request or to its connection, whoever is behind it."""

_NAMED_BY: Final = MappingProxyType({"tools/call": "name", "prompts/get": "name", "resources/read": "uri"})
"""Parameter that `Mcp-Name` repeats. Source: PROTOCOL.md 2.3."""

_PLAIN: Final = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?", re.ASCII)
_SENTINEL: Final = ("=?base64?", "?=")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}", re.ASCII)
_MIRRORED_TYPES: Final = frozenset({"string", "integer", "boolean"})


def _foreign(given: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in given.items() if name.lower() not in _OWN and not name.lower().startswith("mcp-")
    }


def _common(given: Mapping[str, str]) -> dict[str, str]:
    # Without compression, so that a stream comes piece by piece whatever stands in between.
    return {
        **_foreign(given),
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Accept-Encoding": "identity",
    }


def session_headers(given: Mapping[str, str], session_id: str | None, revision: Revision | None) -> dict[str, str]:
    """Fields of a POST or DELETE in the handshake era; before the handshake there is neither session nor revision."""
    headers = _common(given)
    if session_id is not None:
        headers[SESSION] = session_id
    if revision is not None and revision.sends_revision_header:
        headers[REVISION] = revision.name
    return headers


def resume_headers(sent: Mapping[str, str], last_event_id: str) -> dict[str, str]:
    """Fields of the GET that takes up a stream; `sent` are those of the POST that opened it."""
    headers = {name: value for name, value in sent.items() if name != "Content-Type"}
    return {**headers, "Accept": "text/event-stream", LAST_EVENT: last_event_id}


def envelope_headers(given: Mapping[str, str], method: str, params: bytes) -> dict[str, str]:
    """Fields of a POST in the envelope era, which repeat method and name.

    Raises:
        InvalidInput: the parameters are no JSON object.
    """
    headers = {**_common(given), REVISION: R2026_07_28.name, "Mcp-Method": encode(method)}
    member = _NAMED_BY.get(method)
    name = None if member is None else read_value(members(params).get(member, b"null"))
    if isinstance(name, str):
        headers["Mcp-Name"] = encode(name)
    return headers


def encode(value: str) -> str:
    """A value as a header field can carry it. Source: PROTOCOL.md 2.3."""
    begin, end = _SENTINEL
    looks_encoded = value.startswith(begin) and value.endswith(end)
    if _PLAIN.fullmatch(value) and not looks_encoded:
        return value
    return begin + base64.b64encode(value.encode()).decode() + end


# Arguments that a tool wants repeated.


def read_tools(result: bytes) -> tuple[dict[str, Mapping[Path, str]], bytes | None]:
    """What one page of `tools/list` wants repeated, by tool, and the cursor of the next page as JSON.

    Tools that want nothing are left out.

    Raises:
        InvalidInput: it is no list of tools.
    """
    page = members(result)
    tools, cursor = read_value(page.get("tools", b"null")), page.get("nextCursor")
    if not isinstance(tools, list):
        raise InvalidInput("expected tools to be a list")
    found: dict[str, Mapping[Path, str]] = {}
    for tool in tools:
        name, schema = (tool.get("name"), tool.get("inputSchema")) if isinstance(tool, dict) else (None, None)
        if isinstance(name, str) and (marked := mirrored_arguments(schema)):
            found[name] = marked
    return found, None if cursor == b"null" else cursor


def mirrored_arguments(schema: object) -> Mapping[Path, str]:
    """Which arguments go into which `Mcp-Param-` field, by the schema of a tool; empty where its marks are not valid.

    Source: PROTOCOL.md 2.3; MCP 2026-07-28, basic/transports, "Custom Headers".
    """
    found: dict[Path, str] = {}
    for path, described in _properties(schema, ()):
        if "x-mcp-header" not in described:
            continue
        mark, kind = described["x-mcp-header"], described.get("type")
        is_valid = isinstance(mark, str) and _TOKEN.fullmatch(mark) and isinstance(kind, str)
        if not is_valid or kind not in _MIRRORED_TYPES:
            return {}
        found[path] = str(mark)
    is_unique = len({mark.lower() for mark in found.values()}) == len(found)
    return found if is_unique else {}


def _properties(schema: object, path: Path) -> Iterator[tuple[Path, Mapping[str, object]]]:
    properties = schema.get("properties") if isinstance(schema, dict) and len(path) < MAX_DEPTH else None
    for name, described in properties.items() if isinstance(properties, dict) else ():
        if isinstance(described, dict):
            yield (*path, name), described
            yield from _properties(described, (*path, name))


def argument_headers(marked: Mapping[Path, str], arguments: bytes) -> dict[str, str]:
    """The `Mcp-Param-` fields of one call; an argument that is absent or null has none.

    Raises:
        InvalidInput: the arguments are no JSON object.
    """
    headers: dict[str, str] = {}
    for path, mark in marked.items():
        value = _scalar(_at(arguments, path))
        if value is not None:
            headers[f"Mcp-Param-{mark}"] = encode(value)
    return headers


def _at(arguments: bytes, path: Path) -> bytes:
    raw = arguments
    for name in path:
        if not raw.startswith(b"{"):
            return b"null"
        raw = members(raw).get(name, b"null")
    return raw


def _scalar(raw: bytes) -> str | None:
    # A number keeps its digits: it may be beyond what any number type here can hold.
    if raw == b"null" or raw.startswith((b"{", b"[")):
        return None
    return str(read_value(raw)) if raw.startswith(b'"') else raw.decode()
