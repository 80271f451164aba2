"""What a standing house does when its key file changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.config.load import load_config
from proxy.config.problems import ConfigError
from proxy.core.ids import AgentId
from proxy.core.key_file import write_keys
from proxy.core.key_ring import KeyRing, new_key
from proxy.wiring.keys import Keys
from tests.support.house import until

pytestmark = [pytest.mark.requirement("signatures.keys_live"), pytest.mark.blocking]
ALICE = new_key(AgentId("alice"), entropy=bytes(range(40)), created_at=1_700_000_000)
BOB = new_key(AgentId("bob"), entropy=bytes(range(40, 80)), created_at=1_700_000_000)


def _write(file: Path, text: str) -> None:
    made = file.with_name("made")
    made.touch(mode=0o600)
    made.write_text(text, "utf-8")
    made.rename(file)


def _agents(ring: KeyRing) -> list[str]:
    return [key.agent_id for key in ring.keys]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    _write(path, write_keys(KeyRing([ALICE])))
    return path


@asynccontextmanager
async def _opened(file: Path) -> AsyncIterator[Keys]:
    config = load_config(None, env={}, overrides={"signatures.keys_file": str(file)}).config
    keys = Keys(config)
    await keys.open()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(keys.keep_fresh())
        yield keys
        task.cancel()


async def test_a_new_ring_is_given_to_everybody_who_wants_it(file: Path) -> None:
    async with asyncio.timeout(20), _opened(file) as keys:
        given: asyncio.Queue[KeyRing] = asyncio.Queue()
        keys.give(given.put_nowait)
        assert _agents(await given.get()) == ["alice"]
        _write(file, write_keys(KeyRing([ALICE, BOB])))  # noticed without being told
        assert _agents(await given.get()) == ["alice", "bob"]
        assert _agents(keys.ring) == ["alice", "bob"]


async def test_a_broken_file_leaves_the_old_keys_and_is_told_of_until_it_is_mended(file: Path) -> None:
    async with asyncio.timeout(20), _opened(file) as keys:
        _write(file, "alice k1 active now geheim\n")
        await until(lambda: bool(keys.reasons()))
        assert _agents(keys.ring) == ["alice"]
        (reason,) = keys.reasons()
        assert reason.startswith("keys: the new file is not in order, the old keys stay: ")
        assert f"{file}:1: signatures.keys_file: expected a date such as" in reason
        assert "geheim" not in reason
        _write(file, write_keys(KeyRing([BOB])))
        keys.wanted.set()
        await until(lambda: not keys.reasons())
        assert _agents(keys.ring) == ["bob"]


async def test_a_file_that_is_not_in_order_at_the_start_stops_it(file: Path) -> None:
    await asyncio.to_thread(file.chmod, 0o644)
    config = load_config(None, env={}, overrides={"signatures.keys_file": str(file)}).config
    with pytest.raises(ConfigError, match="chmod 600"):
        await Keys(config).open()


async def test_without_a_file_there_is_nothing_to_keep_fresh() -> None:
    keys = Keys(load_config(None, env={}, overrides={}).config)
    await keys.open()
    async with asyncio.timeout(5):
        await keys.keep_fresh()
    assert keys.ring.keys == ()
