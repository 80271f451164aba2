"""The killer: children that come back on the port they had, and blows that a seed decides."""

import asyncio
import signal
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from tests.support.killer import Blow, Killer, Mortal, Plan, Ready, StartFailedError, Strike, mortals, strikes

SERVER = """
import json, socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
sys.stderr.write("up\\n")
sys.stderr.flush()
print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
while True:
    line = listening.accept()[0]
    line.sendall(b"hello")
    line.close()
"""


def _server(ready: Ready) -> Sequence[str]:
    return ["-c", SERVER, ready.get("port", "0")]


async def _greeting(victim: Mortal) -> bytes:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(victim.ready["port"]))
        said = await reader.read()
        writer.close()
    return said


async def test_a_killed_child_comes_back_on_its_port(tmp_path: Path) -> None:
    async with mortals(tmp_path) as make:
        child = make("child", _server)
        await child.start()
        port = child.ready["port"]
        await child.kill()
        assert not child.is_alive
        with pytest.raises(ConnectionRefusedError):
            await _greeting(child)
        await child.start()
        assert (child.ready["port"], child.starts) == (port, 2)
        assert await _greeting(child) == b"hello"
        assert child.log().count("up") == 2
    assert not child.is_alive


async def test_a_stopped_child_says_nothing_until_it_goes_on(tmp_path: Path) -> None:
    async with mortals(tmp_path) as make:
        child = make("child", _server)
        await child.start()
        child.send(signal.SIGSTOP)
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(_greeting(child))
            done, _ = await asyncio.wait([asked], timeout=0.1)
            assert not done
            child.send(signal.SIGCONT)
        assert asked.result() == b"hello"


async def test_a_stopped_child_can_be_killed_and_ended(tmp_path: Path) -> None:
    async with mortals(tmp_path) as make:
        for name in ("killed", "ended"):
            child = make(name, _server)
            await child.start()
            child.send(signal.SIGSTOP)
            if name == "killed":
                await child.kill()
            else:
                assert await child.end() == -signal.SIGTERM
            assert not child.is_alive


async def test_a_child_that_does_not_come_up_is_told_with_its_last_words(tmp_path: Path) -> None:
    async with mortals(tmp_path) as make:
        child = make("child", lambda _: ["-c", "import sys; sys.exit('no such luck')"])
        with pytest.raises(StartFailedError, match="no such luck"):
            await child.start()


def test_the_same_seed_makes_the_same_blows_and_another_seed_others() -> None:
    plans = [Plan(weights={"one": 1, "two": 3}, stop_share=0.25, seed=seed) for seed in (7, 7, 8)]
    first, same, other = (list(islice(strikes(plan), 2_000)) for plan in plans)
    assert first == same != other
    names = Counter(strike.name for strike in first)
    assert 2 < names["two"] / names["one"] < 4
    assert 0.2 < sum(strike.blow is Blow.STOP for strike in first) / 2_000 < 0.3
    assert 0.9 < sum(strike.after_s for strike in first) / 2_000 < 1.1
    assert {strike.pause_s <= 0.5 for strike in first} == {True}


async def _at_once(_: float) -> None:
    await asyncio.sleep(0)


async def test_the_killer_makes_every_blow_good(tmp_path: Path) -> None:
    async with mortals(tmp_path) as make:
        victims = {name: make(name, _server) for name in ("one", "two")}
        for victim in victims.values():
            await victim.start()
        blows = [
            Strike(after_s=0, name="one", blow=Blow.KILL, pause_s=0),
            Strike(after_s=0, name="two", blow=Blow.STOP, pause_s=0),
        ]
        killer = Killer(victims, pause=_at_once)
        async with asyncio.timeout(60):
            await killer.run(iter(blows))
        assert killer.done == {("one", Blow.KILL): 1, ("two", Blow.STOP): 1}
        assert [victim.starts for victim in victims.values()] == [2, 1]
        assert [await _greeting(victim) for victim in victims.values()] == [b"hello", b"hello"]


async def test_a_victim_that_is_down_is_not_hit_again(tmp_path: Path) -> None:
    async with mortals(tmp_path) as make:
        victim = make("one", _server)
        await victim.start()
        blows = [Strike(after_s=0, name="one", blow=Blow.KILL, pause_s=0)] * 3
        killer = Killer({"one": victim}, pause=_at_once)
        async with asyncio.timeout(60):
            await killer.run(iter(blows))
        assert (killer.done["one", Blow.KILL], victim.starts) == (1, 2)


async def test_no_more_are_down_at_a_time_than_may_be(tmp_path: Path) -> None:
    async with mortals(tmp_path) as make:
        victims = {name: make(name, _server) for name in ("one", "two", "three")}
        for victim in victims.values():
            await victim.start()
        down: list[int] = []

        async def look(_: float) -> None:
            await asyncio.sleep(0)
            down.append(sum(not victim.is_alive for victim in victims.values()))

        blows = [Strike(after_s=0, name=name, blow=Blow.KILL, pause_s=0) for name in (*victims, *victims)]
        async with asyncio.timeout(60):
            await Killer(victims, pause=look, most_down=1).run(iter(blows))
        assert max(down) == 1
        assert [victim.starts for victim in victims.values()] == [3, 3, 3]
