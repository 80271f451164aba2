"""How changed files are noticed."""

import asyncio
from pathlib import Path

import pytest

from proxy.wiring.watch import mark_of, marks_of, watch_files

pytestmark = [pytest.mark.requirement("config.reload"), pytest.mark.blocking]


def test_a_file_that_was_written_replaced_or_opened_to_others_has_another_mark(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a")
    file.chmod(0o600)
    marks = [mark_of(file)]
    file.write_text("ab")
    marks.append(mark_of(file))
    (tmp_path / "new").write_text("ab")
    (tmp_path / "new").rename(file)
    marks.append(mark_of(file))
    file.chmod(0o640)
    marks.append(mark_of(file))
    assert len(set(marks)) == len(marks)
    assert None not in marks


def test_what_is_not_there_has_no_mark(tmp_path: Path) -> None:
    assert mark_of(None) is None
    assert marks_of([tmp_path / "none"]) == {tmp_path / "none": None}


async def test_of_several_files_in_several_folders_each_is_noticed_and_where_a_link_leads_to_as_well(
    tmp_path: Path,
) -> None:
    one, link, first, second = (
        tmp_path / "a" / "one",
        tmp_path / "b" / "link",
        tmp_path / "first",
        tmp_path / "second",
    )
    for path in (one, link):
        path.parent.mkdir()
    for path in (one, first, second):
        path.write_text("x")
    link.symlink_to(first)
    wanted = asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(watch_files(marks_of([one, link]), wanted))
        one.write_text("xy")
        await wanted.wait()
        wanted.clear()
        (tmp_path / "b" / "next").symlink_to(second)
        (tmp_path / "b" / "next").rename(link)
        await wanted.wait()
        wanted.clear()
        one.unlink()  # what is gone is waited for
        one.write_text("again")
        await wanted.wait()
        task.cancel()


async def test_a_folder_that_cannot_be_watched_ends_the_watch(tmp_path: Path) -> None:
    wanted = asyncio.Event()
    async with asyncio.timeout(5):
        await watch_files({tmp_path / "gone" / "file": None}, wanted)
        await watch_files({}, wanted)
    assert not wanted.is_set()
