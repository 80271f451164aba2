"""The journal on SQLite: questions with their state and history, cursors, numbering, and messages on their way.

What is open lives in rows of its own and is read at a start; what is over stays for the reports, and goes by age and
count. Nothing here decides anything: `core/replay.py` says what a journal amounts to, and these tables amount to the
same.
"""

import sqlite3
from collections.abc import Sequence
from math import isnan
from typing import Final

import orjson

from proxy.core.elicitation import Elicitation
from proxy.core.errors import StateUnavailable
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import (
    MAX_CURSORS,
    MAX_NAMED,
    MAX_TOLD,
    AnswerClaimed,
    AnswerDoubted,
    AnswerNamed,
    AnswerPassedOn,
    AnswerSettled,
    CopiesDropped,
    CursorShown,
    KeptQuestion,
    MessageKept,
    NumberingChanged,
    QuestionEnded,
    QuestionNoted,
    QuestionOffered,
    QuestionState,
    QuestionTakenBack,
    QuestionTold,
    Recovered,
    Stamped,
    TellingForgotten,
)
from proxy.core.send_marks import unmarked
from proxy.stores.writer import SqliteWriter

KEPT_FINISHED: Final = 100_000
"""Most questions that are over and stay on record; the oldest go first. Source: ours."""

KEPT_HISTORY: Final = 1_000_000
"""Most entries of the history; the oldest go first. Source: ours."""

KEPT_S: Final = 100 * 86_400.0
"""How long what is over stays on record, seconds. Source: ours; twelve weeks of migration, and two more."""

AT_ONCE: Final = 50_000
"""Most rows that one pruning takes from a table, so that it never holds up the writer for long. Source: ours."""

FREED_AT_ONCE: Final = 2_000
"""Most free pages that one pruning gives back to the disk; 8 MiB. Source: ours."""

_QUESTION: Final = (
    "elicitation_id, from_agent, to_agent, message, schema, created_at, expires_at, state, digest, passed_on, doubted"
)

_OF_AGENTS: Final = ("numbering", "cursors", "dropped", "messages", "names", "told")


class SqliteJournal:
    """The JournalStore port on SQLite."""

    __slots__ = ("_writer",)

    def __init__(self, writer: SqliteWriter) -> None:
        self._writer = writer

    async def apply(self, changes: Sequence[Stamped]) -> None:
        """Write changes in their order, all or none; see the port."""

        def work(connection: sqlite3.Connection) -> None:
            for stamped in changes:
                _apply(connection, stamped)

        await self._writer.run(work)

    async def replace(self, changes: Sequence[Stamped]) -> None:
        """Forget what is open and write this instead; see the port. The history is not told a second time."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM questions WHERE ended IS NULL")
            for table in _OF_AGENTS:
                connection.execute(f"DELETE FROM {table}")  # noqa: S608  # names of our own, above
            for stamped in changes:
                _apply(connection, stamped, is_told=False)

        await self._writer.run(work)

    async def recover(self) -> Recovered:
        """What an earlier process kept; see the port."""
        return await self._writer.run(read_journal)

    async def prune(self, *, now: float) -> None:
        """Forget the oldest of what is over; see the port."""
        await self._writer.run(lambda connection: _prune(connection, now - KEPT_S))


def _prune(connection: sqlite3.Connection, before: float) -> None:
    connection.execute(
        "DELETE FROM questions WHERE place IN (SELECT place FROM questions WHERE ended IS NOT NULL "
        "AND (ended_at < ? OR place <= (SELECT max(place) FROM questions) - ?) ORDER BY place LIMIT ?)",
        (before, KEPT_FINISHED, AT_ONCE),
    )
    connection.execute(
        "DELETE FROM history WHERE place IN (SELECT place FROM history "
        "WHERE at < ? OR place <= (SELECT max(place) FROM history) - ? ORDER BY place LIMIT ?)",
        (before, KEPT_HISTORY, AT_ONCE),
    )
    for table, kept in (("cursors", MAX_CURSORS), ("dropped", MAX_CURSORS), ("names", MAX_NAMED), ("told", MAX_TOLD)):
        connection.execute(
            f"DELETE FROM {table} WHERE place IN (SELECT place FROM {table} "  # noqa: S608  # names of our own
            "ORDER BY place DESC LIMIT ? OFFSET ?)",
            (AT_ONCE, kept),
        )
    free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    for _ in range(min(free, FREED_AT_ONCE)):  # page by page: the library takes one step of a statement without rows
        connection.execute("PRAGMA incremental_vacuum(1)")


def _apply(connection: sqlite3.Connection, stamped: Stamped, *, is_told: bool = True) -> None:
    match stamped.change:
        case NumberingChanged() as change:
            connection.execute(
                "INSERT OR REPLACE INTO numbering VALUES (1, ?, ?, ?, ?, ?, ?)",
                (
                    change.offset,
                    change.ended,
                    change.highest,
                    change.reserved,
                    change.first_sequence,
                    change.first_created_at,
                ),
            )
        case CursorShown() | MessageKept() | CopiesDropped() | AnswerNamed() as change:
            _apply_of_agent(connection, change)
        case QuestionTold() | TellingForgotten() as change:
            _apply_told(connection, change)
        case change:
            _apply_of_question(connection, stamped.at, change, is_told=is_told)


def _apply_of_agent(
    connection: sqlite3.Connection, change: CursorShown | MessageKept | CopiesDropped | AnswerNamed
) -> None:
    match change:
        case CursorShown(agent_id, cursor):
            connection.execute("INSERT OR REPLACE INTO cursors (agent_id, cursor) VALUES (?, ?)", (agent_id, cursor))
            connection.execute("DELETE FROM messages WHERE agent_id = ? AND number <= ?", (agent_id, cursor))
            connection.execute("DELETE FROM dropped WHERE agent_id = ? AND upto <= ?", (agent_id, cursor))
        case CopiesDropped(agent_id, upto):
            connection.execute("INSERT OR REPLACE INTO dropped (agent_id, upto) VALUES (?, ?)", (agent_id, upto))
            connection.execute("DELETE FROM messages WHERE agent_id = ? AND number <= ?", (agent_id, upto))
        case MessageKept(agent_id, number, body, created_at):
            connection.execute(
                "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?)", (agent_id, number, body, created_at)
            )
        case AnswerNamed(agent_id, number, elicitation_id):
            connection.execute(
                "INSERT OR REPLACE INTO names (agent_id, number, elicitation_id) VALUES (?, ?, ?)",
                (agent_id, number, elicitation_id),
            )


def _apply_told(connection: sqlite3.Connection, change: QuestionTold | TellingForgotten) -> None:
    if isinstance(change, TellingForgotten):
        connection.execute("DELETE FROM told WHERE agent_id = ? AND key = ?", (change.agent_id, change.key))
        return
    connection.execute(
        "INSERT OR REPLACE INTO told (agent_id, key, number, is_note) VALUES (?, ?, ?, ?)",
        (change.agent_id, change.key, change.number, change.is_note),
    )


OfQuestion = (
    QuestionNoted
    | QuestionOffered
    | QuestionTakenBack
    | AnswerClaimed
    | AnswerDoubted
    | AnswerSettled
    | AnswerPassedOn
    | QuestionEnded
)


def _apply_of_question(connection: sqlite3.Connection, at: float, change: OfQuestion, *, is_told: bool) -> None:
    if isinstance(change, QuestionNoted):
        if not is_storable(change.question):
            return
        elicitation_id, what = change.question.elicitation_id, "noted"
        _insert(connection, change.question)
    else:
        elicitation_id = change.elicitation_id
        what, columns = _said_of(change, at)
        connection.execute(
            f"UPDATE questions SET {columns[0]} WHERE elicitation_id = ? AND ended IS NULL",  # noqa: S608  # our own
            (*columns[1:], elicitation_id),
        )
    if is_told:
        connection.execute(
            "INSERT INTO history (elicitation_id, at, what) VALUES (?, ?, ?)", (elicitation_id, at, what)
        )


def _said_of(
    change: QuestionOffered
    | QuestionTakenBack
    | AnswerClaimed
    | AnswerDoubted
    | AnswerSettled
    | AnswerPassedOn
    | QuestionEnded,
    at: float,
) -> tuple[str, tuple[str, *tuple[object, ...]]]:
    """What the history is told of a change, and the columns it sets with their values."""
    what: str
    columns: tuple[str, *tuple[object, ...]]
    match change:
        case QuestionOffered():
            what, columns = "offered", ("state = ?", QuestionState.OFFERED.value)
        case QuestionTakenBack():
            what, columns = "taken back", ("state = ?, digest = ?", QuestionState.NEW.value, b"")
        case AnswerClaimed(digest=digest):
            what, columns = "claimed", ("state = ?, digest = ?", QuestionState.CLAIMED.value, digest)
        case AnswerDoubted(digest=digest):
            what, columns = "doubted", ("doubted = ?", digest)
        case AnswerSettled():
            what, columns = "answered", ("state = ?, doubted = ?", QuestionState.ANSWERED.value, None)
        case AnswerPassedOn():
            what, columns = "passed on", ("passed_on = ?", 1)
        case QuestionEnded(how=how):
            what, columns = how.value, ("ended = ?, ended_at = ?", how.value, at)
    return what, columns


def is_storable(question: Elicitation) -> bool:
    """Whether a question can be written at all; one that cannot stays with the Bridge, and must not stop the others."""
    texts = (question.elicitation_id, question.from_agent, question.to_agent, question.message)
    try:
        orjson.dumps((texts, question.wire_schema))
    except orjson.JSONEncodeError:
        return False
    return not (isnan(question.created_at) or isnan(question.expires_at))


def _insert(connection: sqlite3.Connection, question: Elicitation) -> None:
    connection.execute(
        f"INSERT OR REPLACE INTO questions ({_QUESTION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, x'', 0, NULL)",  # noqa: S608
        (
            question.elicitation_id,
            question.from_agent,
            question.to_agent,
            question.message,
            orjson.dumps(question.wire_schema),
            question.created_at,
            question.expires_at,
            QuestionState.NEW.value,
        ),
    )


def read_journal(connection: sqlite3.Connection) -> Recovered:
    """What an earlier process kept in this file.

    Raises:
        StateUnavailable: what is stored is nothing that was ever written here.
        sqlite3.Error: SQLite cannot read it.
    """
    try:
        return _read(connection)
    except (ValueError, TypeError) as error:
        raise StateUnavailable(f"the journal cannot be read: {error}") from error


def _read(connection: sqlite3.Connection) -> Recovered:
    numbering = connection.execute("SELECT * FROM numbering").fetchone()
    return Recovered(
        questions=tuple(
            _kept(row)
            for row in connection.execute(
                f"SELECT {_QUESTION} FROM questions WHERE ended IS NULL ORDER BY place"  # noqa: S608  # our own columns
            )
        ),
        numbering=None
        if numbering is None
        else NumberingChanged(
            offset=numbering[1],
            ended=numbering[2],
            highest=numbering[3],
            reserved=numbering[4],
            first_sequence=numbering[5],
            first_created_at=numbering[6],
        ),
        cursors=tuple(
            CursorShown(AgentId(agent_id), cursor)
            for agent_id, cursor in _latest(connection, "agent_id, cursor FROM cursors", MAX_CURSORS)
        ),
        messages=tuple(
            MessageKept(AgentId(agent_id), number, body, created_at)
            for agent_id, number, body, created_at in connection.execute(
                "SELECT agent_id, number, body, created_at FROM messages ORDER BY agent_id, number"
            )
        ),
        dropped=tuple(
            CopiesDropped(AgentId(agent_id), upto)
            for agent_id, upto in _latest(connection, "agent_id, upto FROM dropped", MAX_CURSORS)
        ),
        names=tuple(
            AnswerNamed(AgentId(agent_id), number, ElicitationId(elicitation_id))
            for agent_id, number, elicitation_id in _latest(
                connection, "agent_id, number, elicitation_id FROM names", MAX_NAMED
            )
        ),
        told=tuple(
            QuestionTold(agent_id=AgentId(agent_id), key=key, number=number, is_note=bool(is_note))
            for agent_id, key, number, is_note in _latest(
                connection, "agent_id, key, number, is_note FROM told", MAX_TOLD
            )
        ),
    )


def _latest(connection: sqlite3.Connection, what: str, limit: int) -> list[sqlite3.Row]:
    """The newest rows of a table, oldest of them first."""
    return connection.execute(f"SELECT {what} ORDER BY place DESC LIMIT ?", (limit,)).fetchall()[::-1]


def _kept(row: Sequence[object]) -> KeptQuestion:
    elicitation_id, from_agent, to_agent, message, stored, created_at, expires_at, state, digest, passed_on, doubted = (
        row
    )
    schema, made_from = unmarked(orjson.loads(bytes(stored)))  # type: ignore[call-overload]  # a BLOB column, STRICT
    return KeptQuestion(
        question=Elicitation(
            elicitation_id=ElicitationId(str(elicitation_id)),
            from_agent=str(from_agent),
            to_agent=AgentId(str(to_agent)),
            message=str(message),
            schema=schema,
            made_from=made_from,
            created_at=float(created_at),  # type: ignore[arg-type]  # a REAL column, STRICT
            expires_at=float(expires_at),  # type: ignore[arg-type]  # a REAL column, STRICT
        ),
        state=QuestionState(str(state)),
        digest=bytes(digest),  # type: ignore[call-overload]  # a BLOB column, STRICT
        passed_on=bool(passed_on),
        doubted=None if doubted is None else bytes(doubted),  # type: ignore[call-overload]  # a BLOB column, STRICT
    )
