"""Read, change and watch the flag set, and the operators' overrides of single agents.

The board holds the one current set in memory: every call reads it there, so a change is whole and immediate for
all later calls. A change is stored before it takes effect, and parked waits are told to look again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from proxy.core.cohort import Cohort
from proxy.core.errors import FlagConflict, InvalidFlags, StateUnavailable
from proxy.core.flags import FlagChange, FlagSet, Patch, describe_change
from proxy.core.ids import AgentId
from proxy.core.routing import Decision, Membership, Way, decide, membership
from proxy.ports import Clock, FlagStore

MAX_FORCED: Final = 10_000
"""Most agents an operator may force at once. Source: ours, as the lists of the flag set."""

LATEST_TOLD: Final = 20
"""Most changes by others that are told of at once. Source: ours; the history has all of them."""

HOW_TO_RETREAT: Final = (
    "if elicitation has to end before that, restart the sidecar with "
    "--state memory: --set flags.elicitation_enabled=false: the Bridge holds what is open"
)
"""What an operator can do who wants less elicitation while nothing can be stored."""


@asynccontextmanager
async def _told(*, is_retreat: bool) -> AsyncIterator[None]:
    """Tell an operator whose change cannot be stored what that means, and what to do."""
    try:
        yield
    except StateUnavailable as error:
        otherwise = f"; {HOW_TO_RETREAT}" if is_retreat else ""
        raise StateUnavailable(
            f"nothing has changed, as it cannot be stored: {error.detail}; "
            f"make it again when /readyz has nothing to say of the state{otherwise}",
            retry_after_s=error.retry_after_s,
        ) from error


def _is_less(after: FlagSet, before: FlagSet) -> bool:
    """Whether elicitation is taken back."""
    return not after.elicitation_enabled or after.elicitation_percentage < before.elicitation_percentage


class FlagBoard:
    """The current flags and overrides of one sidecar."""

    __slots__ = (
        "_clock",
        "_forced",
        "_groups",
        "_hearers",
        "_in_doubt",
        "_salt",
        "_store",
        "_tellers",
        "_turn",
        "_watchers",
        "flags",
    )

    def __init__(self, store: FlagStore, clock: Clock, *, salt: str, groups: Mapping[str, frozenset[str]]) -> None:
        self.flags = FlagSet()
        self._store = store
        self._clock = clock
        self._salt = salt
        self._groups = groups
        self._forced: dict[AgentId, tuple[Cohort, float | None]] = {}
        self._watchers: list[Callable[[], None]] = []
        self._hearers: list[Callable[[], None]] = []
        self._tellers: list[Callable[[FlagChange], None]] = []
        self._turn = asyncio.Lock()
        self._in_doubt = False

    async def open(self, configured: FlagSet) -> bool:
        """Take the stored set up again, or the configured one at the first start; True when it was stored.

        A change made at run time outlives restarts and the file: precedence is run time over file.
        """
        stored = await self._store.load()
        self.flags = stored or configured
        self._forced = await self._store.forced()
        return stored is not None

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        """One change after the other, each on top of what is really stored.

        A caller that leaves midway, or a second sidecar on the same file, may have changed what is stored without
        our knowing: then the next change reads it again first.
        """
        async with self._turn:
            if self._in_doubt:
                known, self.flags = self.flags.version, await self._store.load() or self.flags
                self._forced = await self._store.forced()
                self._notify()
                with suppress(StateUnavailable):  # only its story is missing: the change itself goes on
                    self._tell(
                        each for each in reversed(await self._store.history(LATEST_TOLD)) if each.version > known
                    )
            self._in_doubt = True
            try:
                yield
                self._in_doubt = False
            finally:  # whoever leaves midway may have changed them
                for heard in self._hearers:
                    heard()

    async def read_again(self) -> None:
        """Take up what another sidecar has stored meanwhile.

        Raises:
            StateUnavailable: it cannot be read.
        """
        self._in_doubt = True
        async with self._changing():
            pass

    def regroup(self, groups: Mapping[str, frozenset[str]]) -> None:
        """Take other groups, by name, for all later calls; parked waits look again."""
        self._groups = groups
        self._notify()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` after each change of flags or overrides."""
        self._watchers.append(watcher)

    def hear(self, hearer: Callable[[], None]) -> None:
        """Call `hearer` after each change that was stored, or may have been."""
        self._hearers.append(hearer)

    def tell(self, teller: Callable[[FlagChange], None]) -> None:
        """Tell `teller` of each change of the flags when it takes effect here, those of others included."""
        self._tellers.append(teller)

    async def change(self, patch: Patch, *, author: str, expected: int | None) -> FlagSet:
        """Apply a patch to the version that the caller saw (`expected`; None takes the current one).

        Raises:
            FlagConflict: the flags have another version by now.
            InvalidFlags: a name would stand in both lists.
            StateUnavailable: the change could not be stored; nothing has changed.
        """
        try:
            return await self._change(patch, author=author, expected=expected)
        except FlagConflict:
            # Another sidecar changed the same store. Who named no version, or insists, meant the stored ones.
            if expected is not None and not patch.force:
                raise
            return await self._change(patch, author=author, expected=expected)

    async def _change(self, patch: Patch, *, author: str, expected: int | None) -> FlagSet:
        async with _told(is_retreat=_is_less(self.flags.patched(patch), self.flags)), self._changing():
            before = self.flags
            if expected is not None and expected != before.version and not patch.force:
                raise FlagConflict(
                    f"expected version {expected}, the flags are at version {before.version}; read them and try again",
                    version=before.version,
                )
            after = before.patched(patch)
            both = sorted(set(after.elicitation_whitelist) & set(after.elicitation_denylist))
            if both:
                raise InvalidFlags(f"expected no name in both lists, got {both[0]!r}; take it out of one")
            change = describe_change(before, after, at=self._clock.wall(), author=author, reason=patch.reason)
            await self._store.compare_and_set(after, change, expected=before.version)
            self.flags = after
        self._notify()
        self._tell([change])
        return after

    async def history(self, limit: int) -> Sequence[FlagChange]:
        """The latest changes, newest first."""
        return await self._store.history(limit)

    async def force(self, agent_id: AgentId, cohort: Cohort | None, *, ttl_s: float | None = None) -> None:
        """Force an agent to a cohort for `ttl_s` seconds (None: until undone), or undo it (cohort None).

        Raises:
            InvalidFlags: 10,000 agents are forced already.
            StateUnavailable: it could not be stored; nothing has changed.
        """
        async with _told(is_retreat=cohort is Cohort.LEGACY), self._changing():
            await self._drop_ended()
            if cohort is not None and agent_id not in self._forced and len(self._forced) >= MAX_FORCED:
                raise InvalidFlags(f"expected at most {MAX_FORCED} forced agents; undo some first")
            until = None if ttl_s is None else self._clock.wall() + ttl_s
            await self._store.force(agent_id, cohort, until=until)
            if cohort is None:
                self._forced.pop(agent_id, None)
            else:
                self._forced[agent_id] = (cohort, until)
        self._notify()

    async def _drop_ended(self) -> None:
        for ended in self._forced.keys() - self.forced().keys():
            await self._store.force(ended, None, until=None)
            del self._forced[ended]

    def forced(self) -> dict[AgentId, tuple[Cohort, float | None]]:
        """The overrides in force, with their ends (wall clock) where they have one."""
        wall = self._clock.wall()
        return {agent: kept for agent, kept in self._forced.items() if kept[1] is None or wall < kept[1]}

    def member(self, agent_id: AgentId) -> Membership:
        """What is known of an agent before the flags are asked."""
        cohort, until = self._forced.get(agent_id, (None, None))
        if until is not None and self._clock.wall() >= until:
            cohort = None
        return membership(agent_id, salt=self._salt, groups=self._groups, forced=cohort)

    def decide(self, agent_id: AgentId, way: Way) -> Decision:
        """The route of one wait of this agent now."""
        return decide(self.flags, self.member(agent_id), way)

    def _tell(self, changes: Iterable[FlagChange]) -> None:
        for change in changes:
            for teller in self._tellers:
                teller(change)

    def _notify(self) -> None:
        for watcher in self._watchers:
            watcher()
