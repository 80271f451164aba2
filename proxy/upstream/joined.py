"""Work that several callers wait for together: whoever comes first begins it, and it goes on when that one has gone."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from proxy.core.errors import BridgeFault, BridgeUnavailable

Spawn = Callable[[Coroutine[object, object, None], str], object]
"""Run something, by a name, that goes on when its caller has gone; it never raises."""

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


@dataclass(slots=True)
class _Work(Generic[Found]):
    over: asyncio.Event = field(default_factory=asyncio.Event)
    found: Found | BridgeFault = field(default_factory=lambda: BridgeUnavailable("the sidecar stops"))


class Joined(Generic[Key, Found]):
    """Pieces of work by key, each under way at most once."""

    __slots__ = ("_spawn", "_under_way")

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._under_way: dict[Key, _Work[Found]] = {}

    async def join(self, key: Key, begin: Callable[[], Awaitable[Found]], name: str) -> Found:
        """What the work of this key finds; `begin` starts it where it is not under way.

        Raises:
            BridgeFault: the work did, or the sidecar stops.
        """
        work = self._under_way.get(key)
        if work is None:
            work = self._under_way[key] = _Work()
            self._spawn(self._do(key, begin, work), name)
        await work.over.wait()
        if isinstance(work.found, BridgeFault):
            raise work.found
        return work.found

    async def _do(self, key: Key, begin: Callable[[], Awaitable[Found]], work: _Work[Found]) -> None:
        try:
            work.found = await begin()
        except BridgeFault as fault:
            work.found = fault
        finally:
            del self._under_way[key]
            work.over.set()
