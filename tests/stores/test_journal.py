"""The journal in its file: the history, what pruning takes, what is refused, and a process killed in the middle."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.core.errors import StateUnavailable
from proxy.core.ids import ElicitationId
from proxy.core.journal import (
    AnswerClaimed,
    AnswerDoubted,
    AnswerNamed,
    AnswerPassedOn,
    AnswerSettled,
    Change,
    CursorShown,
    End,
    MessageKept,
    QuestionEnded,
    QuestionNoted,
    QuestionOffered,
    QuestionTakenBack,
    Recovered,
    Stamped,
)
from proxy.core.replay import replay
from proxy.stores import journal as journal_module
from proxy.stores.journal import SqliteJournal
from proxy.stores.writer import SqliteWriter
from tests.support.journal_changes import AGENTS, IDS, question, stamped

ONE, TWO = IDS[:2]
DAY_S = 86_400.0


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture(name="writer")
async def _writer(path: Path) -> AsyncIterator[SqliteWriter]:
    writer = await asyncio.to_thread(SqliteWriter, path)
    try:
        yield writer
    finally:
        await asyncio.to_thread(writer.close)


@pytest.fixture(name="journal")
def _journal(writer: SqliteWriter) -> SqliteJournal:
    return SqliteJournal(writer)


async def _rows(writer: SqliteWriter, query: str) -> list[tuple[object, ...]]:
    return await writer.run(lambda connection: connection.execute(query).fetchall())


def _ended(number: int) -> list[Change]:
    elicitation_id = ElicitationId(f"over{number}")
    return [QuestionNoted(question(elicitation_id)), QuestionEnded(elicitation_id, End.EXPIRED)]


class TestHistory:
    @pytest.mark.requirement("journal.history")
    async def test_it_tells_what_happened_to_a_question_and_when(
        self, journal: SqliteJournal, writer: SqliteWriter
    ) -> None:
        told: list[Change] = [
            QuestionNoted(question(ONE)),
            QuestionOffered(ONE),
            QuestionTakenBack(ONE),
            AnswerClaimed(ONE, b"d"),
            AnswerDoubted(ONE, b"d"),
            AnswerSettled(ONE),
            AnswerPassedOn(ONE),
            QuestionEnded(ONE, End.FORGOTTEN),
        ]
        await journal.apply([Stamped(float(at), change) for at, change in enumerate(told)])
        rows = await _rows(writer, "SELECT at, what FROM history WHERE elicitation_id = 'e0' ORDER BY place")
        assert rows == [
            (0.0, "noted"),
            (1.0, "offered"),
            (2.0, "taken back"),
            (3.0, "claimed"),
            (4.0, "doubted"),
            (5.0, "answered"),
            (6.0, "passed on"),
            (7.0, "forgotten"),
        ]
        assert await _rows(writer, "SELECT ended, ended_at FROM questions") == [("forgotten", 7.0)]

    async def test_a_replacement_keeps_it_and_does_not_tell_it_twice(
        self, journal: SqliteJournal, writer: SqliteWriter
    ) -> None:
        await journal.apply(stamped([*_ended(1), QuestionNoted(question(ONE))]))
        before = await _rows(writer, "SELECT * FROM history")
        await journal.replace(stamped([QuestionNoted(question(ONE)), QuestionNoted(question(TWO))]))
        assert await _rows(writer, "SELECT * FROM history") == before
        assert await _rows(writer, "SELECT elicitation_id FROM questions WHERE ended IS NOT NULL") == [("over1",)]


@pytest.mark.requirement("journal.bounds")
class TestPruning:
    async def test_what_is_over_goes_by_count_the_oldest_first(
        self, journal: SqliteJournal, writer: SqliteWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal_module, "KEPT_FINISHED", 3)
        monkeypatch.setattr(journal_module, "KEPT_HISTORY", 4)
        await journal.apply(stamped([QuestionNoted(question(ONE))]))
        await journal.apply(stamped([change for number in range(5) for change in _ended(number)]))
        await journal.prune(now=0)
        over = await _rows(writer, "SELECT elicitation_id FROM questions WHERE ended IS NOT NULL ORDER BY place")
        assert over == [("over2",), ("over3",), ("over4",)]
        history = await _rows(writer, "SELECT elicitation_id FROM history ORDER BY place")
        assert history == [("over3",), ("over3",), ("over4",), ("over4",)]
        assert [kept.question.elicitation_id for kept in (await journal.recover()).questions] == [ONE]

    async def test_what_is_over_goes_by_age(self, journal: SqliteJournal, writer: SqliteWriter) -> None:
        await journal.apply(stamped([QuestionNoted(question(ONE)), *_ended(1)], at=DAY_S))
        await journal.apply(stamped(_ended(2), at=2 * DAY_S))
        await journal.prune(now=102 * DAY_S)
        assert await _rows(writer, "SELECT elicitation_id FROM questions ORDER BY place") == [("e0",), ("over2",)]
        assert await _rows(writer, "SELECT DISTINCT elicitation_id FROM history") == [("over2",)]

    async def test_only_so_much_goes_at_once(
        self, journal: SqliteJournal, writer: SqliteWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal_module, "AT_ONCE", 2)
        await journal.apply(stamped([change for number in range(5) for change in _ended(number)]))
        await journal.prune(now=102 * DAY_S)
        assert await _rows(writer, "SELECT count(*) FROM questions") == [(3,)]

    async def test_cursors_and_names_beyond_their_bound_go_for_good(
        self, journal: SqliteJournal, writer: SqliteWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal_module, "MAX_CURSORS", 2)
        monkeypatch.setattr(journal_module, "MAX_NAMED", 2)
        cursors = [CursorShown(agent, 1) for agent in AGENTS]
        names = [AnswerNamed(AGENTS[0], number, ONE) for number in range(3)]
        await journal.apply(stamped([*cursors, *names]))
        found = await journal.recover()
        assert (found.cursors, found.names) == (tuple(cursors[1:]), tuple(names[1:]))
        await journal.prune(now=0)
        assert await journal.recover() == found
        assert await _rows(writer, "SELECT count(*) FROM cursors UNION ALL SELECT count(*) FROM names") == [(2,), (2,)]

    async def test_the_file_shrinks_again_and_the_log_beside_it_is_bounded(
        self, journal: SqliteJournal, writer: SqliteWriter
    ) -> None:
        copies = [MessageKept(AGENTS[0], number, bytes(10_000), None) for number in range(300)]
        await journal.apply(stamped([*copies]))
        await journal.apply(stamped([CursorShown(AGENTS[0], 1_000)]))
        pages = await _rows(writer, "PRAGMA page_count")
        await journal.prune(now=0)
        assert (await _rows(writer, "PRAGMA page_count"))[0][0] < 50 < pages[0][0]  # type: ignore[operator]  # numbers
        assert await _rows(writer, "PRAGMA journal_size_limit") == [(16 << 20,)]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE questions SET schema = x'7b'",
        "UPDATE questions SET state = 'odd'",
        "UPDATE questions SET schema = x'ff'",
    ],
)
async def test_what_cannot_be_read_is_an_error_of_the_state(
    journal: SqliteJournal, writer: SqliteWriter, damage: str
) -> None:
    await journal.apply(stamped([QuestionNoted(question(ONE))]))
    await _rows(writer, damage)
    with pytest.raises(StateUnavailable, match="the journal cannot be read"):
        await journal.recover()


@pytest.mark.requirement("journal.durable")
async def test_a_batch_that_fails_leaves_nothing_behind(journal: SqliteJournal, writer: SqliteWriter) -> None:
    def damage(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON cursors BEGIN SELECT raise(ABORT, 'planted'); END")

    await writer.run(damage)
    with pytest.raises(StateUnavailable, match="planted"):
        await journal.apply(stamped([QuestionNoted(question(ONE)), CursorShown(AGENTS[0], 1)]))
    assert await journal.recover() == Recovered()


BATCH = 7
CHILD = """
import asyncio, runpy, sys
from pathlib import Path
from proxy.stores.journal import SqliteJournal
from proxy.stores.writer import SqliteWriter
batch = runpy.run_path(sys.argv[2])['batch']

async def main():
    journal = SqliteJournal(SqliteWriter(Path(sys.argv[1])))
    number = 0
    while True:
        await journal.apply(batch(number))
        number += 1
        print(number, flush=True)

asyncio.run(main())
"""


def batch(number: int) -> list[Stamped]:
    """The changes of one commit: questions that are asked and partly answered, and a cursor that goes on."""
    found: list[Change] = []
    for place in range(BATCH):
        elicitation_id = ElicitationId(f"e{number}-{place}")
        found += [QuestionNoted(question(elicitation_id)), AnswerClaimed(elicitation_id, b"d")]
    return stamped([*found, CursorShown(AGENTS[0], number), MessageKept(AGENTS[0], number + 1, b"x", None)])


@pytest.mark.requirement("journal.durable")
@pytest.mark.parametrize("after", [1, 5, 20])
def test_a_process_killed_while_it_writes_leaves_whole_batches_and_all_that_were_acknowledged(
    path: Path, after: int
) -> None:
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(path), __file__], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as said:
        acknowledged = [int(next(said)) for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in said if line.endswith(b"\n")]
    assert process.wait(10) == -signal.SIGKILL
    found = asyncio.run(_recovered(path))
    whole = len(found.questions) // BATCH
    assert whole in {acknowledged[-1], acknowledged[-1] + 1}
    assert found == replay([each.change for number in range(whole) for each in batch(number)])


async def _recovered(path: Path) -> Recovered:
    writer = await asyncio.to_thread(SqliteWriter, path)
    try:
        return await SqliteJournal(writer).recover()
    finally:
        await asyncio.to_thread(writer.close)
