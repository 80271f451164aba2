"""What the HTTP side of an MCP call says, and whether it agrees with the message inside.

Whatever is doubtful is said to be out of order: such a call is its server's to refuse.

Source: PROTOCOL.md 2.2, 2.3, 3.1.
"""

import base64
import binascii
from typing import Final

from proxy.core.errors import InvalidInput
from proxy.core.hop import RawHeaders, list_members, values_of
from proxy.mcp.jsonrpc import members, read_value
from proxy.mcp.revisions import Revision, negotiated, revision_of
from proxy.mcp.sse import Splitter, read_frame

_ONCE: Final = (b"content-type", b"mcp-session-id", b"mcp-protocol-version", b"mcp-method", b"mcp-name")
"""Fields of which a second line makes a server refuse the call, or read the other one. Source: PROTOCOL.md 2.3."""

_JSON: Final = b"application/json"
_BOTH: Final = frozenset({_JSON, b"text/event-stream"})

_SENTINEL: Final = ("=?base64?", "?=")
"""Around a value that is no plain text. Source: PROTOCOL.md 2.3."""


def is_in_order(headers: RawHeaders) -> bool:
    """Whether the headers of a POST leave nothing to refuse: JSON, either kind of reply accepted, no field twice."""
    if any(len(values_of(headers, name)) > 1 for name in _ONCE):
        return False
    sent = {_media_type(value) for value in list_members(headers, b"content-type")}
    return sent == {_JSON} and {_media_type(value) for value in list_members(headers, b"accept")} >= _BOTH


def _media_type(value: bytes) -> bytes:
    return value.partition(b";")[0].strip()


def agrees_with_envelope(headers: RawHeaders, body: bytes) -> bool:
    """Whether headers and metadata of a `tools/call` of the envelope era say the same. Source: PROTOCOL.md 2.2, 2.3."""
    version = _text(headers, b"mcp-protocol-version")
    try:
        params = members(members(body).get("params", b"{}"))
        name = read_value(params.get("name", b"null"))
        meta = members(params.get("_meta", b"{}"))
        told = read_value(meta.get("io.modelcontextprotocol/protocolVersion", b"null"))
        capabilities = read_value(meta.get("io.modelcontextprotocol/clientCapabilities", b"null"))
    except InvalidInput:
        return False
    is_named = _text(headers, b"mcp-method") == "tools/call" and _decoded(_text(headers, b"mcp-name")) == name
    is_known = revision_of(version) is not None and told == version
    return is_named and is_known and isinstance(capabilities, dict)


def _text(headers: RawHeaders, name: bytes) -> str:
    return b"".join(values_of(headers, name)).decode("utf-8", "surrogateescape")


def _decoded(value: str) -> str | None:
    begin, end = _SENTINEL
    if not (value.startswith(begin) and value.endswith(end)):
        return value
    try:
        return base64.b64decode(value.removeprefix(begin).removesuffix(end), validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def agreed_revision(reply: bytes) -> Revision | None:
    """The revision that an `initialize` ended with, by its reply: JSON, or a stream of events."""
    for message in _messages(reply):
        try:
            result = members(members(message).get("result", b"{}"))
            version = read_value(result.get("protocolVersion", b"null"))
        except InvalidInput:
            continue
        if isinstance(version, str):
            return negotiated(version)
    return None


def _messages(reply: bytes) -> list[bytes]:
    if reply.lstrip().startswith(b"{"):
        return [reply]
    # No frame is longer than all of them together, so that the splitter has nothing to refuse.
    frames = [read_frame(raw) for raw in Splitter(len(reply)).feed(reply)]
    return [frame.data for frame in frames if frame.data]
