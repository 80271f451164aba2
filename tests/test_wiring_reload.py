"""What a standing house takes up of another configuration, and how it hears of one."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from proxy.config.load import Loaded, load_config
from proxy.config.problems import ConfigError
from proxy.core.ids import AgentId
from proxy.core.routing import Reason, Way
from proxy.wiring.clock import LoopClock
from proxy.wiring.house import House
from proxy.wiring.keep import configured_flags
from proxy.wiring.outside import open_outside
from proxy.wiring.reload import ConfigSource, reload_when_wanted, take_up, watch_file
from proxy.wiring.watch import mark_of

NOWHERE = "http://127.0.0.1:1"
pytestmark = pytest.mark.requirement("config.reload")


def _loaded(**settings: str) -> Loaded:
    given = {key.replace("__", "."): text for key, text in settings.items()}
    return load_config(
        None,
        env={},
        overrides={"flags.elicitation_enabled": "true", "state.url": "memory:", "bridge.url": NOWHERE, **given},
    )


async def _house(loaded: Loaded, stack: AsyncExitStack) -> House:
    made = House(loaded, await open_outside(loaded.config, LoopClock(), stack))
    await made.board.open(configured_flags(loaded.config))
    return made


async def test_groups_limits_and_the_breaker_take_effect_at_once_and_addresses_do_not() -> None:
    async with AsyncExitStack() as stack:
        house = await _house(_loaded(flags__elicitation_whitelist="canary"), stack)
        assert house.board.decide(AgentId("bob"), Way.OPEN).reason is Reason.SPLIT
        take_up(house, _loaded(groups__canary="bob", wait__max_parked="3", listen__data="127.0.0.1:9"))
        assert house.board.decide(AgentId("bob"), Way.OPEN).reason is Reason.WHITELIST
        assert house.feeds.max_parked == 3
        assert (house.config.wait.max_parked, house.config.listen.data.port) == (3, 8766)


async def test_the_same_configuration_again_changes_nothing() -> None:
    async with AsyncExitStack() as stack:
        house = await _house(_loaded(), stack)
        before = house.config
        take_up(house, _loaded())
        assert house.config is before


async def test_a_configuration_that_is_not_in_order_leaves_the_old_one_and_the_next_is_read() -> None:
    async with AsyncExitStack() as stack:
        house = await _house(_loaded(), stack)
        loop = asyncio.get_running_loop()
        # Refused, taken up, refused again: by the third reading the second has been taken up.
        texts = ["0", "4", "0"]
        begun = [asyncio.Event() for _ in texts]
        turns = iter(zip(texts, begun, strict=True))

        def load() -> Loaded:
            text, event = next(turns)
            loop.call_soon_threadsafe(event.set)
            return load_config(None, env={}, overrides={"wait.max_parked": text})

        source = ConfigSource(path=None, mark=None, load=load, wanted=asyncio.Event())
        task = house._spawn(reload_when_wanted(house, source), "reload")
        async with asyncio.timeout(5):
            for event in begun:
                source.wanted.set()
                await event.wait()
        assert house.feeds.max_parked == 4
        task.cancel()


@pytest.mark.blocking
async def test_a_file_that_is_renamed_into_place_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    source = ConfigSource(path=file, mark=mark_of(file), load=_refuse, wanted=asyncio.Event())
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(watch_file(source))
        while not source.wanted.is_set():  # the watch needs a moment to stand: change the file until it is seen
            (tmp_path / "new").write_text("x")
            (tmp_path / "new").rename(file)
            await asyncio.to_thread(_breathe)
        task.cancel()


async def test_without_a_file_there_is_nothing_to_watch() -> None:
    await watch_file(ConfigSource(path=None, mark=None, load=_refuse, wanted=asyncio.Event()))


async def test_a_folder_that_cannot_be_watched_ends_the_watch_and_not_the_house(tmp_path: Path) -> None:
    source = ConfigSource(path=tmp_path / "gone" / "config.toml", mark=None, load=_refuse, wanted=asyncio.Event())
    async with asyncio.timeout(5):
        await watch_file(source)
    assert not source.wanted.is_set()


def _refuse() -> Loaded:
    raise ConfigError([])


def _breathe() -> None:
    """Give the watching thread a turn: a thread switch is all that is needed."""
