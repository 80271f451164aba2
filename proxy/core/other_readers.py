"""What other readers of JSON take that ours refuses, and may therefore act on where we would let it pass.

Ours is strict (RFC 8259 in UTF-8). The Bridge's, like many, also takes NaN and Infinity, a byte order mark, UTF-16 and
UTF-32, lone surrogates and deeper nesting. A body that only they can read must not be passed on as "nothing of ours".

Source: RFC 8259 sections 8.1 and 9 (a parser may accept other forms); the Bridge reads with Python's `json.loads`.
"""

import json
from typing import Final

import orjson

MAX_TRIED_BYTES: Final = 1024 * 1024
"""Longest body that is tried with the other reader, which takes some 20 ms for it. Source: ours; longer ones count as
read, as nothing honest is so long and so odd."""


def only_others_read(body: bytes) -> bool:
    """Whether a body is JSON for other readers and not for ours."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return read_by_others(body)
    return False


def read_by_others(body: bytes) -> bool:
    """Whether the most lenient reader known takes a body for JSON."""
    if len(body) > MAX_TRIED_BYTES:
        return True
    try:
        json.loads(body)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True
