"""State of one sidecar in one SQLite file: flags, their history, and forced agents."""

import sqlite3
from collections.abc import Mapping, Sequence

import orjson

from proxy.core.cohort import Cohort
from proxy.core.errors import FlagConflict, InvalidFlags, StateUnavailable
from proxy.core.flags import FlagChange, FlagSet, parse_patch
from proxy.core.ids import AgentId
from proxy.stores.flag_history import trim, written
from proxy.stores.writer import SqliteWriter

Forced = Mapping[AgentId, tuple[Cohort, float | None]]
"""Agents with their cohort and, where it has one, the end of it in seconds since the epoch."""


class SqliteFlagStore:
    """The FlagStore port on SQLite.

    What was stored last is remembered, so that a file which is lost while the sidecar runs does not take it along.
    """

    __slots__ = ("_flags", "_forced", "_writer")

    def __init__(self, writer: SqliteWriter) -> None:
        self._writer = writer
        self._flags: FlagSet | None = None
        self._forced: Forced = {}
        writer.carry_over(self._write_back)

    def _write_back(self, connection: sqlite3.Connection) -> None:
        """What is not in a fresh file; on the writer's thread."""
        (stored,) = connection.execute("SELECT max(version) FROM flags").fetchone()
        if self._flags is not None and (stored is None or stored < self._flags.version):
            _insert_flags(connection, self._flags)
        for agent_id, (cohort, until) in self._forced.items():
            connection.execute("INSERT OR IGNORE INTO forced VALUES (?, ?, ?)", (agent_id, cohort.value, until))

    async def load(self) -> FlagSet | None:
        """The stored set; see the port.

        Raises:
            StateUnavailable: what is stored is not a flag set.
        """
        row = await self._writer.run(
            lambda connection: connection.execute("SELECT version, body FROM flags ORDER BY version DESC").fetchone()
        )
        self._flags = None if row is None else _read_flags(row[0], row[1])
        return self._flags

    async def compare_and_set(self, flags: FlagSet, change: FlagChange, *, expected: int) -> None:
        """Store a set and its history entry in one transaction; see the port."""

        def work(connection: sqlite3.Connection) -> None:
            stored = connection.execute("SELECT max(version) FROM flags").fetchone()[0]
            if stored is not None and stored != expected:
                raise FlagConflict(f"expected version {expected}, stored is version {stored}", version=stored)
            _insert_flags(connection, flags)
            connection.execute(
                "INSERT OR REPLACE INTO flag_history VALUES (?, ?, ?, ?, ?)",
                (change.version, change.at, change.author, change.reason, written(change)),
            )
            trim(connection)

        await self._writer.run(work)
        self._flags = flags

    async def history(self, limit: int) -> Sequence[FlagChange]:
        """The latest changes, newest first."""
        rows = await self._writer.run(
            lambda connection: connection.execute(
                "SELECT version, at, author, reason, changes FROM flag_history ORDER BY version DESC LIMIT ?", (limit,)
            ).fetchall()
        )
        return [
            FlagChange(version=version, at=at, author=author, reason=reason, changes=orjson.loads(changes))
            for version, at, author, reason, changes in rows
        ]

    async def force(self, agent_id: AgentId, cohort: Cohort | None, *, until: float | None) -> None:
        """Store or forget an override; see the port."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM forced WHERE agent_id = ?", (agent_id,))
            if cohort is not None:
                connection.execute("INSERT INTO forced VALUES (?, ?, ?)", (agent_id, cohort.value, until))

        await self._writer.run(work)
        others = {known: kept for known, kept in self._forced.items() if known != agent_id}
        self._forced = others if cohort is None else {**others, agent_id: (cohort, until)}

    async def forced(self) -> dict[AgentId, tuple[Cohort, float | None]]:
        """All stored overrides; see the port.

        Raises:
            StateUnavailable: what is stored names a cohort that there is not.
        """
        rows = await self._writer.run(
            lambda connection: connection.execute("SELECT agent_id, cohort, until FROM forced").fetchall()
        )
        try:
            forced = {AgentId(agent_id): (Cohort(cohort), until) for agent_id, cohort, until in rows}
        except ValueError as error:
            raise StateUnavailable(f"the stored overrides cannot be read: {error}") from error
        self._forced = forced
        return dict(forced)


def _insert_flags(connection: sqlite3.Connection, flags: FlagSet) -> None:
    body = flags.as_json()
    del body["version"]
    connection.execute("DELETE FROM flags")
    connection.execute("INSERT INTO flags VALUES (?, ?)", (flags.version, orjson.dumps(body).decode()))


def _read_flags(version: int, body: str) -> FlagSet:
    try:
        patch = parse_patch(orjson.loads(body))
    except (orjson.JSONDecodeError, InvalidFlags) as error:
        raise StateUnavailable(f"the stored flags (version {version}) cannot be read: {error}") from error
    return FlagSet(version=version, **patch.changes)  # type: ignore[arg-type]  # parse_patch checked each value
