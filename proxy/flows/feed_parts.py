"""What all feeds of one sidecar share."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from proxy.core.breaker import Breaker
from proxy.core.pace import Pace
from proxy.core.questions import QuestionBook
from proxy.core.sequences import SequenceMap
from proxy.flows.agent_sessions import AgentSessions
from proxy.flows.errands import Errands
from proxy.flows.naming import AnswerNames
from proxy.ports import Bridge, Clock, Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedParts:
    """What all feeds of one sidecar share."""

    bridge: Bridge
    book: QuestionBook
    breaker: Breaker
    sequences: SequenceMap
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
