"""Work for a caller that goes on when the caller has gone, because the Bridge acts on it either way.

Such work is a task of the house and must not raise. It is short, but not as short as an exit has to be: what is still
under way when the house closes is given up.
"""

import asyncio
from collections.abc import Callable, Coroutine


class Errands:
    """The work under way for callers that may leave."""

    __slots__ = ("_spawn", "_tasks")

    def __init__(self, spawn: Callable[[Coroutine[object, object, None], str], "asyncio.Task[None]"]) -> None:
        self._spawn = spawn
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
        """Start a piece of work; `asyncio.wait` waits for it without cancelling it."""
        task = self._spawn(work, name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """Give up what is still under way."""
        for task in tuple(self._tasks):
            task.cancel()
