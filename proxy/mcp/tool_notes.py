"""Say in the server's list of tools that a tool is deprecated: only the descriptions of such tools change.

Every other member keeps the bytes it came as; what cannot be read, or is no list of tools, stays whole. A note that
stands there already is not repeated, so that two sidecars in a row say it once.

Source: ARCHITECTURE.md 2.7; MCP, "List Tools", the same in all revisions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import orjson

from proxy.core.errors import InvalidInput
from proxy.mcp.jsonrpc import envelope_of, members, read_value
from proxy.mcp.sse import read_frame

METHOD: Final = "tools/list"
"""Whose responses have descriptions. Source: MCP, "List Tools"."""

_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class ToolNote:
    """What is said of which tools."""

    tools: frozenset[str]
    text: str


def wait_is_deprecated(tools: frozenset[str], guide_url: str) -> ToolNote:
    """The note on the wait tools: what ends, what to use, and where it is explained."""
    return ToolNote(
        tools,
        "Deprecated: waiting for messages with this tool will be removed. "
        f"Let questions reach you as MCP elicitations instead; see {guide_url}.",
    )


def lists_tools(body: bytes) -> bool:
    """Whether a client's message asks for the list of tools; a search costs less than to read every message."""
    if b"tools" not in body or b"list" not in body:
        return False
    envelope = envelope_of(body)
    return envelope is not None and envelope.method == METHOD


def noted_message(message: bytes, note: ToolNote) -> bytes:
    """A JSON-RPC response with the note on its tools: a JSON body, the data of an event, or a line.

    The very same object where nothing changes. What comes in one line leaves in one line.
    """
    try:
        found = members(message)
        result = found.get("result", b"null")
        noted = noted_result(result, note)
    except InvalidInput:
        return message
    return message if noted is result else _written({**found, "result": noted})


def noted_result(result: bytes, note: ToolNote) -> bytes:
    """The result of `tools/list` with the note on its tools; the very same object where nothing changes.

    Raises:
        InvalidInput: not a JSON object, or nested too deeply.
    """
    found = members(result)
    try:
        tools = [bytes(raw) for raw in _ITEMS.decode(found.get("tools", b"[]"))]
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput(f"expected a list of tools: {error}") from error
    noted = [_noted_tool(tool, note) for tool in tools]
    if all(after is before for after, before in zip(noted, tools, strict=True)):
        return result
    return _written({**found, "tools": b"[" + b",".join(noted) + b"]"})


def _noted_tool(tool: bytes, note: ToolNote) -> bytes:
    try:
        found = members(tool)
        name, description = read_value(found.get("name", b"null")), read_value(found.get("description", b'""'))
    except InvalidInput:  # one tool's oddity must not take the note from the others
        return tool
    if not isinstance(name, str) or name not in note.tools:
        return tool
    if not isinstance(description, str) or note.text in description:
        return tool
    text = f"{description}\n\n{note.text}" if description else note.text
    return _written({**found, "description": orjson.dumps(text)})


def _written(found: Mapping[str, bytes]) -> bytes:
    return b"{" + b",".join(orjson.dumps(name) + b":" + value for name, value in found.items()) + b"}"


def noted_frame(raw: bytes, note: ToolNote) -> bytes:
    """One frame of an event stream with the note in what it carries; all its other lines stay as they came.

    The very same object where nothing changes.
    """
    data = read_frame(raw).data
    if not data:
        return raw
    noted = noted_message(data, note)
    return raw if noted is data else _with_data(raw, noted)


def _with_data(raw: bytes, data: bytes) -> bytes:
    """The frame with other data in the place of its first line of data."""
    fresh = b"".join(b"data: %b\n" % line for line in _LINE_END.split(data))
    lines: list[bytes] = []
    for line in raw.splitlines(keepends=True):
        if line.partition(b":")[0].rstrip(b"\r\n") != b"data":
            lines.append(line)
        elif fresh:
            lines.append(fresh)
            fresh = b""
    return b"".join(lines)
