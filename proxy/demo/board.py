"""What the demo's child processes have said, and waiting for one of them to say something.

Every child says what happens to it as lines of JSON; a child that dies when it should not ends every wait here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from proxy.core.errors import OurFault

MAX_KEPT: Final = 1_000
"""Most lines that are remembered. Source: ours; the story takes some fifty, serving goes on for ever."""

MAX_RECALLED: Final = 5
"""How many of the last lines a failure repeats. Source: ours."""


@dataclass(frozen=True, slots=True)
class Said:
    """One line of one child."""

    child: str
    fields: Mapping[str, object]

    @property
    def what(self) -> str:
        """What happened."""
        return str(self.fields.get("event"))

    def text(self, name: str) -> str:
        """A field as text; empty where it is missing."""
        return str(self.fields.get(name) or "")

    def seconds(self, name: str) -> float:
        """A field that is a wall-clock time in seconds.

        Raises:
            OurFault: it is none.
        """
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise OurFault(f"expected {self.child} to say {name} in seconds, got {value!r:.80}")
        return float(value)


@dataclass(slots=True)
class Board:
    """Everything said so far, the latest thousand lines."""

    _said: deque[Said] = field(default_factory=lambda: deque(maxlen=MAX_KEPT))
    _fault: OurFault | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def post(self, said: Said) -> None:
        """A child said something."""
        self._said.append(said)
        self._wake()

    def fail(self, fault: OurFault) -> None:
        """Nothing good will come any more; the first reason counts."""
        self._fault = self._fault or fault
        self._wake()

    async def until(self, match: Callable[[Said], bool], *, within_s: float, what: str) -> Said:
        """The first line that matches, from the beginning; `what` names it in an error.

        Raises:
            OurFault: a child died, or nothing matched within `within_s` seconds.
        """
        try:
            async with asyncio.timeout(within_s):
                while True:
                    found = next((said for said in self._said if match(said)), None)
                    if found is not None:
                        return found
                    await self._next()
        except TimeoutError as error:
            raise OurFault(f"{what} did not come within {within_s:g} s; {self._recall()}") from error

    async def until_fault(self) -> None:
        """Wait for as long as all is well.

        Raises:
            OurFault: why it is not.
        """
        while True:
            await self._next()

    async def _next(self) -> None:
        if self._fault is not None:
            raise self._fault
        await self._news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _recall(self) -> str:
        last = [f"{said.child}: {dict(said.fields)!r:.200}" for said in list(self._said)[-MAX_RECALLED:]]
        return "last heard: " + ("; ".join(last) if last else "nothing at all")
