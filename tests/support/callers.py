"""Calls that are under way while a test does something to the sidecar, each in a thread of its own."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException

from tests.support.stand import Reply

Begin = Callable[[Callable[[], Reply]], "Future[Reply | None]"]
"""Begins a call; its reply, or None where the connection ended without one."""


@contextmanager
def callers(most: int = 16) -> Iterator[Begin]:
    """Calls for as long as the block lasts; it ends when they have ended."""
    with ThreadPoolExecutor(most, thread_name_prefix="caller") as pool:
        yield lambda call: pool.submit(_reply_of, call)


def _reply_of(call: Callable[[], Reply]) -> Reply | None:
    try:
        return call()
    except (HTTPException, OSError):
        return None
