"""What all feeds of one sidecar share."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from proxy.core.agent_places import AgentPlaces
from proxy.core.breaker import Breaker
from proxy.core.inbox import Inbox
from proxy.core.legacy import Message
from proxy.core.pace import Pace
from proxy.core.questions import QuestionBook
from proxy.core.sent_questions import SentQuestions
from proxy.core.sequences import SequenceMap
from proxy.core.told_questions import ToldQuestions
from proxy.flows.agent_sessions import AgentSessions
from proxy.flows.errands import Errands
from proxy.flows.naming import AnswerNames
from proxy.flows.sends_under_way import SendsUnderWay
from proxy.ports import Bridge, Clock, Recorder


def as_it_is(message: Message) -> Message:
    """The judgement of a Bridge whose messages are never part of an elicitation."""
    return message


async def _without_journal() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedParts:
    """What all feeds of one sidecar share."""

    bridge: Bridge
    book: QuestionBook
    breaker: Breaker
    sequences: SequenceMap
    places: AgentPlaces = field(default_factory=AgentPlaces)
    """Up to which number each agent was shown everything."""
    names: AnswerNames
    clock: Clock
    recorder: Recorder
    spawn: Callable[[Coroutine[object, object, None], str], "asyncio.Task[None]"]
    """Start a task in the TaskGroup of the house, under a name."""
    errands: Errands
    sessions: AgentSessions
    """Shared by all, as a session too many pushes out one of the agent's own."""
    new_pace: Callable[[], Pace]
    hold_s: float
    """How long one long poll is held at the Bridge, in seconds."""
    inbox: Inbox = field(default_factory=Inbox)
    judge: Callable[[Message], Message] = as_it_is
    """Mark a message that was read before, as the Bridge port marks those of a wait."""
    synced: Callable[[], Coroutine[object, object, bool]] = _without_journal
    """Wait until what was written is durable; False where the state is in memory only, which is said elsewhere."""
    sent: SentQuestions = field(default_factory=SentQuestions)
    """The questions that were made from sends."""
    told: ToldQuestions = field(default_factory=ToldQuestions)
    """How each question was told first."""
    under_way: SendsUnderWay = field(default_factory=SendsUnderWay)
    """The sends that are becoming questions."""
