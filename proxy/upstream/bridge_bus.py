"""Elicitation over a Bridge that can only store events and wait for them.

Questions and answers are events of the log that `core/bus.py` words and `core/bus_book.py` judges. One reader follows
the log for all agents of this sidecar, since every agent may read all of it: each call of the port that asks for
questions is one look at the log with that caller's own credential, so that the Bridge goes on to say who may ask, and
what other waits bring is taken note of on the way. Looks beyond these, to find the end of a long log and to read back
in it, come out of a small allowance of their own, under the Bridge's abuse rule.

Messages reach the feeds as they came; those that are part of an elicitation and count are marked as such. Nothing is
ever left out here, and a cursor means what it always meant.

An answer is an event too: it stands when it is read back as the first fitting one. Of two answers the first in the
log's order counts, whoever sent the other.

Source: BRIDGE.md 2.1 (session abuse rule), 2.2 (events) and 2.3 (waits); ARCHITECTURE.md 2.2 (source `bus`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import orjson

from proxy.core.bridge_token import issued_to
from proxy.core.bus import (
    MAX_DATA_BYTES,
    MAX_LIFE_S,
    READER,
    Answered,
    Ask,
    answer_data,
    is_bus_id,
    question_data,
    read_event,
    size_of,
    withdrawal_data,
)
from proxy.core.bus_book import BusBook, fits
from proxy.core.elicitation import Answer, BridgeStatus, Elicitation
from proxy.core.errors import (
    AnswerForbidden,
    BridgeRefused,
    BridgeTimeout,
    BridgeUnavailable,
    InvalidInput,
    TooManyQuestions,
)
from proxy.core.event_seal import ANSWER, QUESTION, WITHDRAWAL, EventSeal
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.key_ring import KeyRing
from proxy.core.legacy import Message
from proxy.core.log_reader import LogReader, Look
from proxy.core.pace import Pace
from proxy.core.secret import Secret
from proxy.core.send_marks import unmarked
from proxy.ports import Clock

LOOK_S: Final = 1.0
"""Shortest wait that looks into the log. Source: BRIDGE.md 2.3 (a wait of 0 seconds does not look)."""

AGAIN_S: Final = 5.0
"""When to ask again where too many questions are open. Source: ours; answers make room sooner."""

MAX_CONFIRMING: Final = 5
"""Most looks for an answer that was just stored. Source: ours; ten events each, and it is the newest."""


GONE: Final = -1
"""Number of the logs of earlier processes, which come before all that are read here."""


class EventLog(Protocol):
    """What is needed of the Bridge; faults are those of the Bridge port."""

    async def wait(self, agent_id: AgentId, credential: Secret, *, since: int, hold_s: float) -> tuple[Message, ...]:
        """The legacy wait."""
        ...

    async def open_session(self, agent_id: AgentId) -> Secret:
        """Open a Bridge session in the agent's name."""
        ...

    async def store_event(self, agent_id: AgentId, data: Mapping[str, object], credential: Secret) -> int:
        """Store one event in an agent's name; its sequence."""
        ...


class BusBridge:
    """The Bridge port, and the QuestionBus port, over the event log."""

    __slots__ = ("_allowance", "_book", "_clock", "_log", "_mint", "_reader", "_seal")

    def __init__(self, log: EventLog, clock: Clock, *, mint: Callable[[], str], seal: EventSeal | None = None) -> None:
        """`mint` makes ids of 32 hexadecimal digits that nobody can guess; `seal` signs events and judges them."""
        self._seal = EventSeal(KeyRing) if seal is None else seal
        self._log = log
        self._clock = clock
        self._mint = mint
        self._book = BusBook()
        self._reader = LogReader()
        # Together with the polls of a feed (60 a minute and a burst of 10) this stays under 100 in the first minute.
        self._allowance = Pace(per_minute=15.0, burst=10.0, fast_s=0.0, idle_s=0.0)

    # The Bridge port

    async def wait(self, agent_id: AgentId, credential: Secret, *, since: int, hold_s: float) -> tuple[Message, ...]:
        """The legacy wait, with elicitation traffic marked; see the port."""
        self._reader.told(since)
        found = await self._log.wait(agent_id, credential, since=since, hold_s=hold_s)
        self._reader.heard(since, found)
        taken = self._take(found)
        if any(self._lacks_its_question(message, agent_id) for message in taken):
            # The question stands further back than was read: to name the answer it must be known.
            await self._explore(credential, lambda: not any(self._lacks_its_question(m, agent_id) for m in found))
            taken = self._take(found)
        return taken

    async def pending(self, agent_id: AgentId, credential: Secret) -> tuple[Elicitation, ...]:
        """The open questions to one agent; one look at the log, see the port."""
        await self._look(self._reader.next_on(), credential)
        await self._explore(credential, lambda: self._reader.has_history and not self._reader.is_behind)
        return self.open_for(agent_id)

    async def respond(self, answer: Answer, agent_id: AgentId, credential: Secret) -> None:
        """Give one answer and read back that it stands; see the port."""
        if not _may_speak(credential, agent_id):
            raise _refused("Invalid agent session token")
        if self._book.get(answer.elicitation_id) is None:
            await self._seek(answer.elicitation_id, credential)
        question = self._answerable(answer, agent_id)
        data = self._sealed(answer_data(answer, question), agent_id, ANSWER)
        sequence = await self._log.store_event(agent_id, data, credential)
        await self._confirm(answer, sequence, credential)

    async def status(self, elicitation_id: ElicitationId, credential: Secret) -> BridgeStatus | None:
        """How one question stands, after a look at the log; see the port."""
        await self._seek(elicitation_id, credential)
        status = self._status(elicitation_id)
        if status is None and is_bus_id(elicitation_id) and not self._reader.has_history:
            raise BridgeUnavailable("the log has not been read far enough back to tell; ask again")
        return status

    async def open_session(self, agent_id: AgentId) -> Secret:
        """Open a session in the agent's name; see the port."""
        return await self._log.open_session(agent_id)

    # The QuestionBus port

    async def carries(self, credential: Secret) -> bool:  # noqa: ARG002  # the port's; another way may have to ask
        """Every question travels over the bus; see the port."""
        return True

    def has_open(self) -> bool:
        """Whether a question is open; see the port."""
        return self._book.has_open(wall=self._clock.wall())

    def judge(self, message: Message) -> Message:
        """Mark a message of a log that is gone; see the port."""
        return self._taken(message, log=GONE, wall=self._clock.wall())

    def open_for(self, agent_id: AgentId) -> tuple[Elicitation, ...]:
        """The questions to one agent that are known to be open."""
        return self._book.open_for(agent_id, wall=self._clock.wall())

    async def ask(self, ask: Ask, credential: Secret) -> Elicitation:
        """Put one question; see the port. One that would live for more than a day lives for a day."""
        if not _may_speak(credential, ask.from_agent):
            raise AnswerForbidden(f"the token of this call is not {ask.from_agent}'s; ask with a token of its own")
        wall = self._clock.wall()
        schema, made_from = unmarked(ask.schema)
        question = Elicitation(
            elicitation_id=ElicitationId(self._mint()),
            from_agent=ask.from_agent,
            to_agent=ask.to_agent,
            message=ask.message,
            schema=schema,
            made_from=made_from,
            created_at=wall,
            expires_at=wall + min(ask.timeout_s, MAX_LIFE_S),
        )
        data = self._sealed(question_data(question), ask.from_agent, QUESTION)
        size = size_of(data)
        if size > MAX_DATA_BYTES:
            raise InvalidInput(f"expected a question of at most {MAX_DATA_BYTES} bytes, got {size}")
        if not self._book.has_room(question, size, wall):
            # Nothing is stored yet: what no book has room for would reach its addressee as a mere message.
            raise TooManyQuestions(f"as many questions to {ask.to_agent} are open as may be", retry_after_s=AGAIN_S)
        sequence = await self._log.store_event(ask.from_agent, data, credential)
        self._reader.told(sequence)
        self._book.put(question, log=self._reader.log, sequence=sequence, size=size, wall=wall)
        return question

    async def withdraw(self, elicitation_id: ElicitationId, agent_id: AgentId, credential: Secret) -> None:
        """Take a question back; see the port."""
        if not _may_speak(credential, agent_id):
            raise _refused("Invalid agent session token")
        await self._seek(elicitation_id, credential)
        question = self._book.get(elicitation_id)
        if question is None or self._status(elicitation_id) is not BridgeStatus.PENDING:
            raise _refused("400: Failed to respond to elicitation")
        if question.from_agent != agent_id:
            raise _refused(f"Only {question.from_agent} can cancel this elicitation")
        data = self._sealed(withdrawal_data(question), agent_id, WITHDRAWAL)
        await self._log.store_event(agent_id, data, credential)
        await self._look(self._reader.next_on(), credential)

    async def find(self, elicitation_id: ElicitationId, credential: Secret) -> Elicitation | None:
        """The question of this id, without a look where it is known; see the port."""
        if self._book.get(elicitation_id) is None:
            await self._seek(elicitation_id, credential)
        return self._book.get(elicitation_id)

    def _sealed(self, data: Mapping[str, object], speaker: AgentId, kind: str) -> dict[str, object]:
        named = str(data["elicitation_id"])
        return self._seal.sealed(data, speaker, kind=kind, elicitation_id=named, wall=self._clock.wall())

    # Reading

    def _take(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        wall, log = self._clock.wall(), self._reader.log
        return tuple(self._taken(message, log=log, wall=wall) for message in messages)

    def _taken(self, message: Message, *, log: int, wall: float) -> Message:
        counts = self._seal.counts(message, log=log, wall=wall)
        return self._book.take(message, log=log, wall=wall) if counts else message

    async def _look(self, look: Look, credential: Secret) -> None:
        found = await self._log.wait(READER, credential, since=look.since, hold_s=LOOK_S)
        self._reader.took(look, found, wall=self._clock.wall())
        self._take(found)

    async def _explore(self, credential: Secret, is_enough: Callable[[], bool]) -> None:
        """Look further, at what is new and then at what is old, while the allowance lasts."""
        reader = self._reader
        while not is_enough() and not self._allowance.gap(self._clock.now()):
            look = reader.next_on() if reader.is_behind else reader.next_back()
            if look is None:
                return
            self._allowance.spend(self._clock.now())
            await self._look(look, credential)

    async def _seek(self, elicitation_id: ElicitationId, credential: Secret) -> None:
        """Look at the log, and for a question that is not known further back."""
        reader, may_come = self._reader, is_bus_id(elicitation_id)
        await self._look(reader.next_on(), credential)
        await self._explore(
            credential,
            lambda: not may_come or (not reader.is_behind and self._book.get(elicitation_id) is not None),
        )

    def _lacks_its_question(self, message: Message, agent_id: AgentId) -> bool:
        event = read_event(message)
        return (
            isinstance(event, Answered)
            and event.asker in {"", agent_id}
            and self._book.get(event.answer.elicitation_id) is None
        )

    # Answering

    def _status(self, elicitation_id: ElicitationId) -> BridgeStatus | None:
        return self._book.status(elicitation_id, wall=self._clock.wall())

    def _answerable(self, answer: Answer, agent_id: AgentId) -> Elicitation:
        question = self._book.get(answer.elicitation_id)
        if question is None and is_bus_id(answer.elicitation_id) and not self._reader.has_history:
            # Nothing was sent: whoever asks for the status learns that it cannot be told yet either.
            raise _refused("503: the log has not been read far enough back; try again")
        if question is None or self._status(answer.elicitation_id) is not BridgeStatus.PENDING:
            raise _refused("400: Failed to respond to elicitation")
        if question.to_agent != agent_id:
            raise _refused(f"Agent {agent_id} not authorized to respond to elicitation for {question.to_agent}")
        if not fits(question, answer):
            raise _refused("Response does not match requested schema")
        return question

    async def _confirm(self, answer: Answer, sequence: int, credential: Secret) -> None:
        """Read on to the answer that was stored as this event, and see that it is the one that counts."""
        self._reader.told(sequence)
        for _ in range(MAX_CONFIRMING):
            await self._look(self._reader.next_on(), credential)
            if self._reader.reached >= sequence:
                break
        else:
            raise BridgeTimeout(f"the answer to {answer.elicitation_id} was stored and cannot be read back yet")
        end = self._book.end_of(answer.elicitation_id)
        if end is None or end.digest != answer.digest():
            raise _refused("400: Failed to respond to elicitation")


def _may_speak(credential: Secret, agent_id: AgentId) -> bool:
    """Whether a token can be this agent's own; one that tells no name is the Bridge's to judge.

    The Bridge stores events in any name whoever's token comes with them (BRIDGE.md 2.2), so it is seen to here.
    """
    return issued_to(credential) in {None, agent_id}


def _refused(words: str) -> BridgeRefused:
    """A refusal in the words of a Bridge that has elicitation. Source: BRIDGE.md 2.5."""
    body = orjson.dumps({"detail": words})
    return BridgeRefused(words, bridge_status=500, body=body, content_type="application/json")
