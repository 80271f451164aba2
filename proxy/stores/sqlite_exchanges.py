"""Suspended calls in the state file, with the keys that seal them: both outlive the process, also a kill."""

import sqlite3
from collections.abc import Callable, Sequence

from proxy.mcp.mrtr import SealKey
from proxy.ports import Clock
from proxy.stores.exchange_rules import (
    DEFAULT_BOUNDS,
    Bounds,
    MadeKey,
    Taken,
    already_kept,
    end_of,
    mark_of,
    turn_ring,
)
from proxy.stores.writer import SqliteWriter


class SqliteExchangeStore:
    """The ExchangeStore port on SQLite; several processes may share one file. `chance` gives random bytes."""

    __slots__ = ("_bounds", "_chance", "_clock", "_writer")

    def __init__(
        self,
        writer: SqliteWriter,
        clock: Clock,
        chance: Callable[[int], bytes],
        *,
        bounds: Bounds = DEFAULT_BOUNDS,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._chance = chance
        self._bounds = bounds

    async def keys(self) -> Sequence[SealKey]:
        """The key ring, read anew each time, as another process may have turned it; see the port."""
        now, chance = self._clock.wall(), self._chance
        return await self._writer.run(lambda connection: _keys(connection, chance, now))

    async def suspend(self, handle: bytes, record: bytes, *, owner: bytes, expires_at: float) -> None:
        """Keep a call; see the port.

        Raises:
            StateUnavailable: see the port; also for a record that is too large, or a handle that is kept.
        """
        bounds, mark, now = self._bounds, mark_of(owner), self._clock.wall()
        bounds.check_size(record)

        def work(connection: sqlite3.Connection) -> None:
            _forget(connection, now)
            bounds.check_room(*_taken(connection, mark), record)
            if connection.execute("SELECT 1 FROM exchanges WHERE handle = ?", (handle,)).fetchone():
                raise already_kept()
            connection.execute(
                "INSERT INTO exchanges (handle, owner, expires_at, record) VALUES (?, ?, ?, ?)",
                (handle, mark, end_of(expires_at, now=now), record),
            )

        await self._writer.run(work)

    async def resume(self, handle: bytes, digest: bytes, *, now: float) -> bytes | None:
        """Take up a call, once; see the port."""

        def work(connection: sqlite3.Connection) -> bytes | None:
            found = connection.execute(
                "UPDATE exchanges SET digest = ?2 WHERE handle = ?1 AND expires_at > ?3 AND ifnull(digest, ?2) = ?2 "
                "RETURNING record",
                (handle, digest, now),
            ).fetchall()
            return found[0][0] if found else None

        return await self._writer.run(work)

    async def sweep(self, *, now: float) -> None:
        """Forget what has expired."""
        await self._writer.run(lambda connection: _forget(connection, now))


def _keys(connection: sqlite3.Connection, chance: Callable[[int], bytes], now: float) -> tuple[SealKey, ...]:
    rows = connection.execute("SELECT key_id, secret, made_at FROM seal_keys").fetchall()
    kept = {key_id: MadeKey(key=SealKey(key_id=key_id, secret=secret), made_at=at) for key_id, secret, at in rows}
    ring = turn_ring(list(kept.values()), chance, now=now)
    for made in ring:
        if made.key.key_id not in kept:
            connection.execute(
                "INSERT INTO seal_keys VALUES (?, ?, ?)", (made.key.key_id, made.key.secret, made.made_at)
            )
    for key_id in kept.keys() - {made.key.key_id for made in ring}:
        connection.execute("DELETE FROM seal_keys WHERE key_id = ?", (key_id,))
    return tuple(made.key for made in ring)


def _taken(connection: sqlite3.Connection, mark: bytes) -> tuple[Taken, Taken]:
    """What all calls take, and what those of one owner take of it."""
    calls, octets, own_calls, own_octets = connection.execute(
        "SELECT count(*), coalesce(sum(size), 0), coalesce(sum(own), 0), coalesce(sum(own * size), 0) FROM "
        "(SELECT length(record) AS size, owner = ? AS own FROM exchanges)",
        (mark,),
    ).fetchone()
    return Taken(calls, octets), Taken(own_calls, own_octets)


def _forget(connection: sqlite3.Connection, now: float) -> None:
    connection.execute("DELETE FROM exchanges WHERE expires_at <= ?", (now,))
