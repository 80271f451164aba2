"""All feeds of one sidecar: who waits, who is woken, and how many may."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from proxy.core.asker_share import has_share
from proxy.core.elicitation import Elicitation
from proxy.core.errors import TooManyWaits
from proxy.core.exchange import Draining, Rerouted
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.routing import Route, Way
from proxy.core.secret import Secret
from proxy.flows.feed import Feed
from proxy.flows.feed_parts import FeedParts
from proxy.flows.flags import FlagBoard
from proxy.flows.waiter import Waiter

PER_AGENT: Final = 100
"""Default of `wait.max_parked_per_agent`. Source: ours; an agent has one loop that waits, rarely some."""

IDLE_S: Final = 300.0
"""A feed nobody has used for so long is forgotten. Source: ours."""


class Feeds:
    """The feeds by agent and token."""

    __slots__ = ("_board", "_feeds", "draining", "max_parked", "max_parked_per_agent", "parked", "parts")

    def __init__(
        self, parts: FeedParts, board: FlagBoard, *, max_parked: int, max_parked_per_agent: int = PER_AGENT
    ) -> None:
        self.parts = parts
        self.parked = 0
        """Waits that are parked now."""
        self.draining = False
        self._board = board
        self.max_parked = max_parked
        self.max_parked_per_agent = max_parked_per_agent
        self._feeds: dict[AgentId, dict[bytes, Feed]] = {}
        board.watch(self.reconsider)

    @contextmanager
    def joined(self, waiter: Waiter, credential: Secret) -> Iterator[Feed]:
        """Let a wait take part for as long as the block lasts.

        Raises:
            TooManyWaits: as many waits are parked as may be.
        """
        if self.parked >= self.max_parked:
            raise TooManyWaits(f"{self.parked} waits are parked, as many as wait.max_parked allows", retry_after_s=1)
        feed = self.feed(waiter.ask.agent_id, credential)
        if self._parked_like(feed) >= self.max_parked_per_agent:
            self._forget_stranger(feed)
            raise TooManyWaits(
                f"{self.max_parked_per_agent} waits of this agent are parked, as many as wait.max_parked_per_agent "
                "allows; end some first",
                retry_after_s=1,
            )
        self.parked += 1
        gone = True
        try:
            feed.join(waiter)
            yield feed
            gone = False
        finally:
            self.parked -= 1
            feed.leave(waiter, gone=gone)
            self._forget_stranger(feed)

    def _parked_like(self, feed: Feed) -> int:
        """Waits of this agent that are parked, with tokens that the Bridge has accepted, or with such as it has not.

        Apart, so that nobody who only knows an agent's name can keep it from waiting.
        """
        is_known = feed.access.is_known()
        return sum(len(each.waiters) for each in self.of(feed.agent_id) if each.access.is_known() is is_known)

    @contextmanager
    def visited(self, agent_id: AgentId, credential: Secret) -> Iterator[Feed]:
        """The feed of one agent and token for a wait that does not stay."""
        feed = self.feed(agent_id, credential)
        try:
            yield feed
        finally:
            self._forget_stranger(feed)

    def _forget_stranger(self, feed: Feed) -> None:
        if not feed.waiters and not feed.access.is_known():
            self._forget(feed)

    def _forget(self, feed: Feed) -> None:
        """A token that the Bridge did not accept leaves nothing behind, so that guessing fills no memory."""
        feed.close()
        mine = self._feeds.get(feed.agent_id, {})
        for key in [key for key, known in mine.items() if known is feed]:
            del mine[key]
        if not mine:
            self._feeds.pop(feed.agent_id, None)

    def feed(self, agent_id: AgentId, credential: Secret) -> Feed:
        """The feed of one agent and token, made on first use."""
        self._forget_long_idle()
        mine = self._feeds.setdefault(agent_id, {})
        key = credential.fingerprint()
        if key not in mine:
            mine[key] = Feed(agent_id, credential, self.parts)
        return mine[key]

    def _forget_long_idle(self) -> None:
        """Forget feeds that have been idle; looks at the two least recently created agents, so it stays cheap."""
        now = self.parts.clock.now()
        for agent_id in [agent for agent, _ in zip(self._feeds, range(2), strict=False)]:
            mine = self._feeds.pop(agent_id)
            kept = {key: feed for key, feed in mine.items() if feed.waiters or now - feed.idle_since < IDLE_S}
            for key in mine.keys() - kept.keys():
                mine[key].close()
            if kept:
                self._feeds[agent_id] = kept  # moves to the end: the next call looks at others

    def forget_idle(self) -> int:
        """Forget every feed that nobody waits on now; how many there were. Their tokens are checked anew."""
        idle = [feed for mine in self._feeds.values() for feed in mine.values() if not feed.waiters]
        for feed in idle:
            self._forget(feed)
        return len(idle)

    def of(self, agent_id: str) -> Iterable[Feed]:
        """The feeds of one agent."""
        return tuple(self._feeds.get(AgentId(agent_id), {}).values())

    def is_accepted(self, agent_id: AgentId, fingerprint: bytes) -> bool:
        """Whether the Bridge takes this token, which a wait of the agent came with."""
        return any(feed.access.stands_for(fingerprint) and feed.access.is_trusted() for feed in self.of(agent_id))

    def question_created(self, elicitation: Elicitation) -> None:
        """A question was created before our eyes: note it, and wake the agent it is for."""
        if self.parts.book.add(elicitation):
            self.parts.recorder.elicitation(ElicitationOutcome.SEEN, elicitation.to_agent)
            for feed in self.of(elicitation.to_agent):
                feed.stir()

    def question_seen(self, elicitation: Elicitation) -> None:
        """The same, unless its asker has as many open questions to this agent as may be: then the Bridge keeps it."""
        if has_share(self.parts.book, elicitation, wall=self.parts.clock.wall()):
            self.question_created(elicitation)

    def message_stored(self, agent_id: str) -> None:
        """Something for this agent reached the Bridge's log: its long poll begins anew and finds it at once."""
        for feed in self.of(agent_id):
            feed.look_again()

    def place_of(self, agent_id: AgentId) -> int:
        """A number that the agent may take for its cursor: up to there it was shown everything.

        Of one that never waited here nothing is known. It gets the highest number read here: that is no more than its
        answer would have as an event of the log, so nothing is skipped that comes after it.
        """
        parts = self.parts
        place = parts.places.of(agent_id)
        if place is None:
            place = parts.inbox.cursor_of(agent_id)
        return parts.sequences.highest if place is None else place

    def take_back(self, elicitation_ids: Iterable[ElicitationId]) -> None:
        """A reply with these questions never reached its agent."""
        ids = tuple(elicitation_ids)
        self.parts.book.take_back(ids)
        questions = [question for known in ids if (question := self.parts.book.get(known))]
        for agent_id in {question.to_agent for question in questions}:
            for feed in self.of(agent_id):
                feed.stir()

    def reconsider(self) -> None:
        """The flags changed: waits whose agent now belongs to the legacy cohort go on the legacy way."""
        for feed, waiter in self._parked():
            decision = self._board.decide(feed.agent_id, Way.OPEN)
            if waiter.on_elicitation and decision.route is not Route.ELICITATION:
                waiter.post(Rerouted(decision.reason))

    def drain(self) -> None:
        """The sidecar stops: every parked wait is answered now."""
        self.draining = True
        for _, waiter in self._parked():
            waiter.post(Draining())

    def _parked(self) -> list[tuple[Feed, Waiter]]:
        return [(feed, waiter) for mine in self._feeds.values() for feed in mine.values() for waiter in feed.waiters]

    def close(self) -> None:
        """End all polls, and what goes on for callers that have gone."""
        self.parts.errands.close()
        for mine in self._feeds.values():
            for feed in mine.values():
                feed.close()
