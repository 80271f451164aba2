"""An agent of a chaos run: an unchanged legacy agent that stores, waits, asks and answers, and never gives up.

Whatever fails is done again: a wait with the same cursor, an answer as the same answer. A store that may or may not
have had its effect is looked up in the log before it is repeated, as the Bridge knows no idempotency key: once every
try must be over, the agent stores a fence and reads its stream up to there.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from bench.chaos_calls import CALL_S, EXPECTED, FAILURES, RETRY_S, SESSION_LOST, Item, Line, Reading, pause, read_reply
from bench.chaos_past import Past, answer_id, key_of
from bench.chaos_records import (
    Answered,
    Answering,
    AnyRecord,
    Asked,
    Asking,
    Failed,
    Odd,
    Received,
    Sending,
    Stored,
    Told,
    Unsent,
    spans_of,
)
from bench.http_client import Client

WAIT_S: Final = 3
"""Length of one wait. Source: ours; short, so that many end while something is broken."""

GRACE_S: Final = 1.2
"""After so long a try that failed is over everywhere: longer than every planned stop, delay and partition. Source:
ours; what comes later all the same is seen in the log as a message stored twice."""

BACKLOG: Final = 400
"""A lane pauses while its agent has so many messages to read, so that reading keeps up with storing. Source: ours."""

SCHEMA: Final = {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one agent is to do."""

    messages: int
    """On each lane, one after another."""
    questions: int
    """The same."""
    lanes: int
    at_once: int
    """Tries to store that are on their way at a time; a lane that is in doubt lets another one go ahead."""
    question_lanes: int
    question_s: int
    """Time for an answer, seconds."""
    seed: int
    everybody: tuple[str, ...]


class Agent:
    """One agent; `write` takes its lines, `past` is what earlier lives left."""

    def __init__(
        self, name: str, client: Client, part: Part, *, past: Past, write: Callable[[AnyRecord], None]
    ) -> None:
        self.name = name
        self.past = past
        self.is_closed = False
        """The last message of the run was read."""
        self.is_stopped = False
        """Nothing more is to be begun."""
        self.working = part.lanes + part.question_lanes
        """Lanes that are not done."""
        self.answering = 0
        """Answers on their way."""
        self.tail = past.cursor
        """The highest number that a message of this agent got."""
        self._line = Line(name, client)
        self._part = part
        self._write = write
        self._turn = asyncio.Semaphore(part.at_once)
        self._moved = asyncio.Condition()
        self._found: dict[str, int] = {}
        """Own messages of the stream that are being looked for."""
        self._is_troubled = False
        """The last try to store came to nothing."""
        self._probe = asyncio.Lock()
        self._fence = 0
        self._fenced_at = 0.0
        self._fencing = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Do the part, then read on until the run is closed."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for told in list(self.past.untold.values()):
                self._begin_answer(told)
            for lane in range(self._part.lanes):
                group.create_task(self._send_all(f"{self.name}.{lane}"))
            for lane in range(self._part.question_lanes):
                group.create_task(self._ask_all(f"{self.name}.q{lane}"))
            while not (self.is_closed and not self.answering):
                await self._wait_once()

    # Waiting

    async def _wait_once(self) -> None:
        since = self.past.cursor
        target = f"/event/wait?agent_id={self.name}&since_sequence={since}&timeout_seconds={WAIT_S}"
        try:
            reply = await self._line.call("GET", target, timeout_s=WAIT_S + CALL_S)
            if reply.status != 200:
                if reply.status not in SESSION_LOST | EXPECTED:
                    self._odd(f"wait answered {reply.status} {reply.body[:200]!r}")
                await pause(0)
                return
            reading = read_reply(self.name, reply.body)
        except FAILURES:
            await pause(0)
            return
        if reading.numbers or reading.records:
            await self._take(since, reading)

    async def _take(self, since: int, reading: Reading) -> None:
        # Questions and answers first: the cursor passes them with what follows.
        for record in (*reading.records, Received(self.name, since, spans_of(reading.numbers), reading.mine)):
            self._write(record)
        for known, sequence in reading.ids.items():
            if known in self.past.doubtful:
                self._found[known] = sequence
        for record in reading.records:
            is_new = not (isinstance(record, Told) and key_of(record) in self.past.told)
            if is_new:
                self.past.note(record)
            if isinstance(record, Told) and is_new:
                self._begin_answer(record)
        self.is_closed = self.is_closed or reading.is_closing
        self.past.cursor = max([self.past.cursor, *reading.numbers])
        async with self._moved:
            self._moved.notify_all()

    # Storing

    def _receivers(self, lane: str, count: int) -> list[str]:
        """To whom a lane goes, the same in every life; nobody speaks to itself."""
        chance = random.Random(f"{self._part.seed} {lane}")  # noqa: S311  # a load, nothing secret
        others = [agent for agent in self._part.everybody if agent != self.name]
        return chance.choices(others, k=count)

    async def _send_all(self, lane: str) -> None:
        last = self.past.last.get(lane, 0)
        receivers = self._receivers(lane, self._part.messages)
        for number, receiver in enumerate(receivers, start=1):
            message = f"{lane}.{number}"
            if number < last or (number == last and message not in self.past.open | self.past.doubtful):
                continue
            if self.is_stopped and number > last:
                break
            while self.tail - self.past.cursor > BACKLOG and not self.is_stopped:
                await self._until_moved()
            await self._store(message, {"id": message, "to_agent": receiver, "text": f"word {number}"})
        self.working -= 1

    async def _store(self, message: str, data: Item) -> None:
        """Store one message once, however long it takes."""
        body = {"event_type": "custom", "agent_id": self.name, "data": data}
        tries = 0
        if message in self.past.doubtful and await self._is_stored(message):
            return
        while True:
            async with self._turn:
                sequence = await self._try_in_turn(message, body)
            if sequence > 0:
                self.tail = max(self.tail, sequence)
                self._note(Stored(self.name, message, sequence))
                return
            if sequence == 0:
                self._note(Unsent(self.name, message, is_certain=True))
            elif await self._is_stored(message):
                return
            await pause(tries)
            tries += 1

    async def _try_in_turn(self, message: str, body: object) -> int:
        """Try to store; while something is broken one by one, so that not every lane falls into doubt."""
        if not self._is_troubled:
            self._note(Sending(self.name, message))
            return await self._try_to_store(body)
        async with self._probe:
            if self._is_troubled:
                await self._until_moved()
            self._note(Sending(self.name, message))
            return await self._try_to_store(body)

    async def _try_to_store(self, body: object) -> int:
        """The number it got; 0 when it was refused, -1 when nobody can tell."""
        try:
            reply = await self._line.call("POST", "/event/store", body)
            if reply.status == 200:
                self._is_troubled = False
                return int(orjson.loads(reply.body)["sequence"])
        except FAILURES as error:
            self._trouble(type(error).__name__)
            return -1
        if reply.status not in SESSION_LOST | EXPECTED:
            self._odd(f"store answered {reply.status} {reply.body[:200]!r}")
        self._trouble(str(reply.status))
        return 0 if reply.status in SESSION_LOST | {503} else -1

    def _trouble(self, why: str) -> None:
        self._is_troubled = True
        self._write(Failed(self.name, "/event/store", why))

    async def _is_stored(self, message: str) -> bool:
        """Look a message up in the log, once its last try must be over."""
        failed_at = time.monotonic()
        while message not in self._found and time.monotonic() < failed_at + GRACE_S:
            await self._until_moved()
        fence = 0
        while message not in self._found and not (fence and self.past.cursor >= fence):
            fence = fence or await self._set_fence(failed_at + GRACE_S)
            await self._until_moved()
        found = self._found.pop(message, 0)
        self._note(Stored(self.name, message, found) if found else Unsent(self.name, message, is_certain=False))
        return bool(found)

    async def _set_fence(self, not_before: float) -> int:
        """Store something else; its number, 0 when that failed. Lanes that doubt at the same time share it."""
        async with self._fencing:
            if self._fenced_at < not_before:
                begun = time.monotonic()
                body = {"event_type": "custom", "agent_id": self.name, "data": {"fence": True}}
                self._fence = max(0, await self._try_to_store(body))
                self._fenced_at = begun if self._fence else 0.0
                if not self._fence:
                    await pause(1)
            return self._fence

    async def _until_moved(self) -> None:
        """Wait for the next reply of a wait, but not long."""
        try:
            async with asyncio.timeout(RETRY_S), self._moved:
                await self._moved.wait()
        except TimeoutError:
            return

    # Asking

    async def _ask_all(self, lane: str) -> None:
        last = self.past.last.get(lane, 0)
        receivers = self._receivers(lane, self._part.questions)
        for number, receiver in enumerate(receivers, start=1):
            question = f"{lane}.{number}"
            if number < last or question in self.past.heard:
                continue
            if self.is_stopped and number > last:
                break
            await self._ask(question, receiver)
        self.working -= 1

    async def _ask(self, question: str, receiver: str) -> None:
        """Ask until it is answered; a question that nobody answered in its time is put again."""
        until = self.past.unheard.get(question, 0.0)
        body = {
            "from_agent": self.name,
            "to_agent": receiver,
            "message": question,
            "schema": SCHEMA,
            "timeout_seconds": self._part.question_s,
        }
        tries = 0
        while question not in self.past.heard:
            if time.time() < until + 1:
                await self._until_moved()
                continue
            self._note(Asking(self.name, question))
            until = await self._try_to_ask(question, body)
            if not until:
                await pause(tries)
                tries += 1

    async def _try_to_ask(self, question: str, body: object) -> float:
        """Until when it may be answered, in seconds since the epoch; 0 when it was not asked, as far as is known."""
        try:
            reply = await self._line.call("POST", "/elicitation/create", body)
            if reply.status == 200:
                said = orjson.loads(reply.body)
                self._note(Asked(self.name, question, said["elicitation_id"], said["expires_at"]))
                return float(said["expires_at"])
        except FAILURES:
            return 0.0
        if reply.status not in SESSION_LOST | EXPECTED:
            self._odd(f"create answered {reply.status} {reply.body[:200]!r}")
        return 0.0

    # Answering

    def _begin_answer(self, told: Told) -> None:
        """Answer a question that can still be answered, as the demo's legacy agent does."""
        if self._group is not None and time.time() < told.expires_at:
            self.answering += 1
            self._group.create_task(self._answer(told))

    async def _answer(self, told: Told) -> None:
        content = {"question": told.question}
        if told.elicitation:
            await self._answer_elicitation(told, content)
        else:
            asker = told.question.split(".")[0]
            message = answer_id(self.name, told)
            data = {"id": message, "to_agent": asker, "in_reply_to": told.sequence, "content": content}
            await self._store(message, data)
        self.answering -= 1

    async def _answer_elicitation(self, told: Told, content: Item) -> None:
        """Give the same answer until it is taken or refused for good."""
        named = {"elicitation_id": told.elicitation, "response_type": "accept"}
        target, body = (
            "/event/store",
            {"event_type": "custom", "agent_id": self.name, "data": named | {"content": content}},
        )
        if told.elicitation[-1] in "0123":  # some use the Bridge's own call
            target, body = "/elicitation/respond", named | {"responding_agent": self.name, "data": content}
        status, tries = 0, 0
        while not status and (tries == 0 or time.time() < told.expires_at + 1):
            self._write(Answering(self.name, told.question, told.elicitation))
            status = await self._try_to_answer(target, body)
            if not status:
                await pause(tries)
            tries += 1
        self._note(Answered(self.name, told.question, told.elicitation, status))

    async def _try_to_answer(self, target: str, body: object) -> int:
        """The status that ends it; 0 when it has to be given again."""
        try:
            reply = await self._line.call("POST", target, body)
        except FAILURES as error:
            self._write(Failed(self.name, target, type(error).__name__))
            return 0
        if reply.status == 200 or (400 <= reply.status < 500 and reply.status not in SESSION_LOST):
            return reply.status
        self._write(Failed(self.name, target, f"{reply.status} {reply.body[:200]!r}"))
        return 0

    def _note(self, record: AnyRecord) -> None:
        self._write(record)
        self.past.note(record)

    def _odd(self, text: str) -> None:
        self._write(Odd(self.name, text))
