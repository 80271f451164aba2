"""Nonces that were claimed, in the state file: what was let through once is refused after a restart, too.

What this process knows is in memory, so that a replay costs no disk. A claim that is new there is written, together
with whatever else waits for the writer, before it counts: the file has the last word, as another process may share
it. Where it cannot be written nothing is let through.
"""

import asyncio
import sqlite3
from typing import Final

from proxy.core.errors import StateUnavailable
from proxy.core.nonces import DEFAULT_BOUNDS, Nonce, NonceBook, NonceBounds, NonceClaim, mark_of
from proxy.stores.writer import SqliteWriter

FORGET_AT_ONCE: Final = 4
"""Most expired rows that go with one claim. Source: ours; more than one, so that the table shrinks."""


class SqliteNonceStore:
    """The NonceStore port on SQLite, for one event loop; several processes may share one file."""

    __slots__ = ("_ahead", "_book", "_is_loaded", "_loading", "_under_way", "_writer")

    def __init__(self, writer: SqliteWriter, bounds: NonceBounds = DEFAULT_BOUNDS) -> None:
        self._writer = writer
        self._book = NonceBook(bounds)
        self._is_loaded = False
        self._loading = asyncio.Lock()
        self._under_way: set[Nonce] = set()
        """What waits to be written."""
        self._ahead: set[Nonce] = set()
        """What of it came into a fresh file before its turn; for the writer's thread alone."""
        writer.carry_over(self._write_back)

    async def claim(self, keyid: str, nonce: str, *, expires: float, now: float) -> NonceClaim:
        """Claim a nonce once; see the port.

        A claim whose caller has left stays one: it may be on the disk.
        """
        if not self._is_loaded:
            await self._load(now)
        claimed = self._book.claim(keyid, nonce, expires=expires, now=now)
        if claimed is not NonceClaim.CLAIMED:
            return claimed
        claim = (keyid, mark_of(nonce))
        self._under_way.add(claim)
        try:
            is_new = await self._writer.run(lambda connection: self._write(connection, claim, expires, now))
        except StateUnavailable:
            self._book.release(keyid, nonce)
            raise
        finally:
            self._under_way.discard(claim)
        return NonceClaim.CLAIMED if is_new else NonceClaim.REPLAYED

    def _write(self, connection: sqlite3.Connection, claim: Nonce, expires: float, now: float) -> bool:
        """Write a claim down; whether it is the first one."""
        is_ahead = claim in self._ahead
        self._ahead.discard(claim)
        return _claim(connection, (*claim, expires), now) or is_ahead

    async def _load(self, now: float) -> None:
        async with self._loading:
            if self._is_loaded:
                return
            rows, upto = await self._writer.run(lambda connection: _read(connection, now))
            for keyid, mark, expires in rows:
                self._book.restore((keyid, mark), expires)
            self._book.raise_forgotten(upto)
            self._is_loaded = True

    def _write_back(self, connection: sqlite3.Connection) -> None:
        """What is not in a fresh file; on the writer's thread.

        What waits to be written is among it, as nobody here can tell whether it was written already.
        """
        connection.executemany(
            "INSERT OR IGNORE INTO nonces (keyid, mark, expires) VALUES (?, ?, ?)",
            [(keyid, mark, expires) for (keyid, mark), expires in self._book.copy().items()],
        )
        _note_forgotten(connection, self._book.forgotten_upto)
        self._ahead = self._under_way.copy()


def _claim(connection: sqlite3.Connection, row: tuple[str, bytes, float], now: float) -> bool:
    """Write a nonce down; whether it was not there yet, or only as one that has expired since."""
    gone = connection.execute(
        "DELETE FROM nonces WHERE place IN (SELECT place FROM nonces WHERE expires <= ? ORDER BY expires LIMIT ?) "
        "RETURNING expires",
        (now, FORGET_AT_ONCE),
    ).fetchall()
    if gone:
        _note_forgotten(connection, max(expires for (expires,) in gone))
    written = connection.execute(
        "INSERT INTO nonces (keyid, mark, expires) VALUES (?1, ?2, ?3) ON CONFLICT (keyid, mark) "
        "DO UPDATE SET expires = excluded.expires WHERE nonces.expires <= ?4",
        (*row, now),
    )
    return written.rowcount == 1


def _note_forgotten(connection: sqlite3.Connection, upto: float) -> None:
    connection.execute(
        "INSERT INTO nonces_forgotten VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET upto = max(upto, excluded.upto)",
        (upto,),
    )


def _read(connection: sqlite3.Connection, now: float) -> tuple[list[tuple[str, bytes, float]], float]:
    """What counts now, and until when all was forgotten."""
    rows = connection.execute("SELECT keyid, mark, expires FROM nonces WHERE expires > ?", (now,)).fetchall()
    (upto,) = connection.execute("SELECT coalesce(max(upto), 0.0) FROM nonces_forgotten").fetchone()
    return rows, upto
