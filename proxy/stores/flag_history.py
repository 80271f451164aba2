"""How much of the history of the flags is kept, in whatever store: the latest changes, and always the very last.

A change names the lists that it replaced, which may be long, and an operator's script may make changes without end.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

import orjson

from proxy.core.flags import FlagChange

KEPT_CHANGES: Final = 10_000
"""Most changes. Source: ours; a hundred a day for the twelve weeks of a migration."""

KEPT_BYTES: Final = 16 << 20
"""Most bytes of what they changed. Source: ours, a quarter of all copies of messages."""


def written(change: FlagChange) -> str:
    """What a change changed, as it is stored."""
    return orjson.dumps(dict(change.changes)).decode()


def kept(history: Sequence[FlagChange]) -> list[FlagChange]:
    """Those of a history, oldest first, that are kept."""
    found: list[FlagChange] = []
    size = 0
    for change in reversed(history[-KEPT_CHANGES:]):
        size += len(written(change))
        if found and size > KEPT_BYTES:
            break
        found.append(change)
    return found[::-1]


def trim(connection: sqlite3.Connection) -> None:
    """Delete what is not kept."""
    connection.execute(
        "DELETE FROM flag_history WHERE version <= (SELECT max(version) FROM (SELECT version, "
        "row_number() OVER (ORDER BY version DESC) AS place, sum(length(changes)) OVER (ORDER BY version DESC) AS size "
        "FROM flag_history) WHERE place > ? OR (place > 1 AND size > ?))",
        (KEPT_CHANGES, KEPT_BYTES),
    )
