"""Find a call of one of our tools in a message that would be relayed because we cannot read it as one.

Servers are more lenient readers than we are: of twins some take the first and some the last, Python's also takes NaN,
UTF-16 and a byte order mark, some serve batches, and what a member means that they do not know they do not ask. A
message is relayed as "nothing of ours" only if no such reader finds our tools in it; else it would be served past all
that is decided about them.

Source: ours; JSON-RPC 2.0 section 6 (batches), RFC 8259 section 4 (twins: behaviour is unpredictable) and 9.
"""

import json
from collections.abc import Iterator
from typing import Final

from proxy.core.errors import InvalidInput
from proxy.core.lenient_json import Members, objects_in, parse_lenient
from proxy.mcp.inbound import LOOKED_AT, ToolNames
from proxy.mcp.jsonrpc import Batch, Malformed, Message, Request, members
from proxy.mcp.tools import read_tool_call

MAX_TRIED_BYTES: Final = 1024 * 1024
"""Longest message that is tried with the lenient reader. Source: ours; a longer one counts as hiding something, as
nothing honest is so long and so odd."""

_UTF8: Final = frozenset({"utf-8", "utf-8-sig"})
_CALL: Final = "tools/call"
_INSIDE: Final = ("params", "arguments", "event_data")
"""Where what is decided about is said, each inside the one before."""


def is_looked_at(body: bytes) -> bool:
    """Whether a message may be something of ours: it has one of the marks, or an encoding in which none would show."""
    return any(mark in body for mark in LOOKED_AT) or json.detect_encoding(body) not in _UTF8


def hides_call(message: Message, body: bytes, names: ToolNames) -> bool:
    """Whether a message that is nothing of ours when it is read strictly is a call of our tools for somebody else."""
    match message:
        case Malformed() | Batch():
            return _holds_call(body, names.wait | names.respond | names.send)
        case Request(method="tools/call", params=bytes(params)):
            return _is_ambiguous(params, names)
        case _:
            return False


def _holds_call(body: bytes, known: frozenset[str]) -> bool:
    if not _may_name(body, known):
        return False
    if len(body) > MAX_TRIED_BYTES:
        return True
    try:
        value = parse_lenient(body)
    except RecursionError:
        return True
    except ValueError:  # nobody can read it
        return False
    return any(name in known for message in objects_in(value) for name in _tools_called(message))


def _may_name(body: bytes, known: frozenset[str]) -> bool:
    """Whether one of the names may stand in a body: as it is, escaped, or in an encoding in which it would not show."""
    is_plain = b"\\" not in body and json.detect_encoding(body) in _UTF8
    return not is_plain or any(name.encode() in body for name in known)


def _tools_called(message: Members) -> Iterator[str]:
    if _CALL in message.all("method"):
        for params in message.all("params"):
            names = params.all("name") if isinstance(params, Members) else []
            yield from (name for name in names if isinstance(name, str))


def _is_ambiguous(params: bytes, names: ToolNames) -> bool:
    """Whether a call of a tool says something twice, or is an answer that only looks as if it was the server's.

    A server that knows no tasks and no suspended calls answers the question all the same.
    """
    call = b'{"method":"tools/call","params":%b}' % params
    if _has_twins(params):
        return _holds_call(call, names.wait | names.respond | names.send)
    return read_tool_call(params) is None and _holds_call(call, names.respond)


def _has_twins(params: bytes) -> bool:
    found = {"params": params}
    for place in _INSIDE:
        inside = found.get(place, b"")
        if not inside.startswith(b"{"):
            return False
        try:
            found = members(inside)
        except InvalidInput:
            return True
    return False
