"""What a question was made from outlives the process that heard of it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core.journal import QuestionNoted, Stamped
from proxy.stores.journal import SqliteJournal, is_storable
from proxy.stores.writer import SqliteWriter
from tests.support.journal_changes import IDS, question


@pytest.mark.requirement("dual.one_copy")
async def test_a_mark_is_kept_with_its_question(tmp_path: Path) -> None:
    made = replace(question(IDS[0]), made_from=7)
    plain = question(IDS[1])
    writer = await asyncio.to_thread(SqliteWriter, tmp_path / "state.db")
    try:
        journal = SqliteJournal(writer)
        assert is_storable(made)
        await journal.apply([Stamped(1.0, QuestionNoted(each)) for each in (made, plain)])
        found = await journal.recover()
    finally:
        await asyncio.to_thread(writer.close)
    assert [kept.question for kept in found.questions] == [made, plain]
