"""An agent of a chaos run: an unchanged legacy agent that stores, waits, asks and answers, and never gives up.

Whatever fails is done again: a wait with the same cursor, an answer as the same answer. A store that may or may not
have had its effect is looked up in the log before it is repeated, as the Bridge knows no idempotency key: once every
try must be over, the agent stores a fence and reads its stream up to there.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from bench.chaos_past import Past, answer_id, key_of
from bench.chaos_records import (
    Answered,
    Answering,
    AnyRecord,
    Asked,
    Asking,
    Failed,
    Heard,
    Odd,
    Received,
    Sending,
    Stored,
    Told,
    Unsent,
    spans_of,
)
from bench.http_client import BadReplyError, Client, Reply, encode

CALL_S: Final = 4.0
"""Longest short call. Source: ours; longer than the sidecar's own time for one."""

WAIT_S: Final = 3
"""Length of one wait. Source: ours; short, so that many end while something is broken."""

GRACE_S: Final = 1.2
"""After so long a try that failed is over everywhere: longer than every planned stop, delay and partition. Source:
ours; what comes later all the same is seen in the log as a message stored twice."""

RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 0.8
"""Pauses before a call is repeated, from and up to. Source: ours."""

BACKLOG: Final = 400
"""A lane pauses while its agent has so many messages to read, so that reading keeps up with storing. Source: ours."""

SESSION_LOST: Final = frozenset({401, 403})
EXPECTED: Final = frozenset({502, 503, 504})
"""What is said while something is broken; only after 503 a call surely had no effect. Source: RFC 9110 15.6."""

FAILURES: Final = (OSError, TimeoutError, BadReplyError, ValueError)
SCHEMA: Final = {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]}

Item = Mapping[str, object]


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
        self._client = client
        self._part = part
        self._write = write
        self._token = ""
        self._session = asyncio.Lock()
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
                group.create_task(self._send_all(f"{self.name}.{lane}", random.Random(f"{self._part.seed} {lane}")))
            for lane in range(self._part.question_lanes):
                group.create_task(self._ask_all(f"{self.name}.q{lane}", random.Random(f"{self._part.seed} q{lane}")))
            while not (self.is_closed and not self.answering):
                await self._wait_once()

    # Calls

    async def _call(self, method: str, target: str, body: object = None, *, timeout_s: float = CALL_S) -> Reply:
        """One call with a session; a session that is lost is opened anew for the next call."""
        token = self._token or await self._open_session()
        reply = await self._client.call(encode(method, target, body=body, token=token), timeout_s=timeout_s)
        if reply.status in SESSION_LOST and self._token == token:
            self._token = ""
        return reply

    async def _open_session(self) -> str:
        async with self._session:
            if not self._token:
                body = {"agent_id": self.name, "ip_address": "127.0.0.1", "user_agent": "chaos"}
                try:
                    said = await self._client.json("POST", "/session/create", body=body)
                except BadReplyError as error:
                    raise ConnectionError("no session") from error
                self._token = str(said["session_token"]) if isinstance(said, dict) else ""
        return self._token

    async def _pause(self, tries: int) -> None:
        await asyncio.sleep(min(LAST_RETRY_S, RETRY_S * 2 ** min(tries, 6)))

    # Waiting

    async def _wait_once(self) -> None:
        since = self.past.cursor
        target = f"/event/wait?agent_id={self.name}&since_sequence={since}&timeout_seconds={WAIT_S}"
        try:
            reply = await self._call("GET", target, timeout_s=WAIT_S + CALL_S)
            if reply.status != 200:
                if reply.status not in SESSION_LOST | EXPECTED:
                    self._odd(f"wait answered {reply.status} {reply.body[:200]!r}")
                await self._pause(0)
                return
            events: list[Item] = orjson.loads(reply.body)["events"]
        except FAILURES:
            await self._pause(0)
            return
        if events:
            await self._take(since, events)

    async def _take(self, since: int, events: list[Item]) -> None:
        numbers: list[int] = []
        mine: list[tuple[int, str]] = []
        others: list[AnyRecord] = []
        for item in events:
            data, sequence = item["data"], item["sequence"]
            if not isinstance(data, dict) or not isinstance(sequence, int):
                self._odd(f"an item like {item}")
                continue
            if item["event_type"] == "elicitation_request":
                others.append(self._told(data, data["elicitation_id"], 0))
                continue
            numbers.append(sequence)
            if data.get("to_agent") == self.name and "id" in data:
                mine.append((sequence, data["id"]))
            found = self._read(item, data, sequence)
            if found is not None:
                others.append(found)
        # Questions and answers first: the cursor passes them with what follows.
        for record in others:
            self._write(record)
        self._write(Received(self.name, since, spans_of(numbers), mine))
        for record in others:
            self._act(record)
        self.past.cursor = max([self.past.cursor, *numbers])
        async with self._moved:
            self._moved.notify_all()

    def _read(self, item: Item, data: Item, sequence: int) -> AnyRecord | None:
        """What one message is, beside being one."""
        known = data.get("id")
        if known is not None and str(known).split(".")[0] != item["source_agent"]:
            self._odd(f"message {known} came as from {item['source_agent']}")
        if known in self.past.doubtful:
            self._found[str(known)] = sequence
        if data.get("closing"):
            self.is_closed = True
        kind = data.get("elicitation_type")
        if kind == "elicitation_requested" and data.get("to_agent") == self.name:
            return self._told(data, "", sequence)
        content, elicitation = data.get("content"), ""
        if item["event_type"] == "elicitation_response":
            content, elicitation = data.get("data"), str(data["elicitation_id"])
        elif kind == "elicitation_accepted":
            content = data.get("response_data")
        elif data.get("to_agent") != self.name:
            return None
        question = content.get("question") if isinstance(content, dict) else None
        if isinstance(question, str) and (question.split(".")[0] == self.name or elicitation):
            return Heard(self.name, question, elicitation, sequence, str(item["source_agent"]))
        return None

    def _told(self, data: Item, elicitation: object, sequence: int) -> Told:
        expires_at = data["expires_at"]
        deadline = float(expires_at) if isinstance(expires_at, int | float) else 0.0
        return Told(self.name, str(data["message"]), str(elicitation), sequence, deadline)

    def _act(self, record: AnyRecord) -> None:
        is_new = not (isinstance(record, Told) and key_of(record) in self.past.told)
        if is_new:
            self.past.note(record)
        if isinstance(record, Told) and is_new:
            self._begin_answer(record)

    # Storing

    async def _send_all(self, lane: str, chance: random.Random) -> None:
        last = self.past.last.get(lane, 0)
        receivers = [chance.choice(self._part.everybody) for _ in range(self._part.messages)]
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
            await self._pause(tries)
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
            reply = await self._call("POST", "/event/store", body)
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
            return self._fence

    async def _until_moved(self) -> None:
        """Wait for the next reply of a wait, but not long."""
        try:
            async with asyncio.timeout(RETRY_S), self._moved:
                await self._moved.wait()
        except TimeoutError:
            return

    # Asking

    async def _ask_all(self, lane: str, chance: random.Random) -> None:
        last = self.past.last.get(lane, 0)
        receivers = [chance.choice(self._part.everybody) for _ in range(self._part.questions)]
        for number, receiver in enumerate(receivers, start=1):
            question = f"{lane}.{number}"
            if number < last or question in self.past.heard:
                continue
            if self.is_stopped and number > last:
                break
            # Nobody asks itself.
            other = receiver if receiver != self.name else self._part.everybody[0]
            await self._ask(question, other if other != self.name else self._part.everybody[-1])
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
                await self._pause(tries)
                tries += 1

    async def _try_to_ask(self, question: str, body: object) -> float:
        """Until when it may be answered, in seconds since the epoch; 0 when it was not asked, as far as is known."""
        try:
            reply = await self._call("POST", "/elicitation/create", body)
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
        if self._group is not None:
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
                await self._pause(tries)
            tries += 1
        self._note(Answered(self.name, told.question, told.elicitation, status))

    async def _try_to_answer(self, target: str, body: object) -> int:
        """The status that ends it; 0 when it has to be given again."""
        try:
            reply = await self._call("POST", target, body)
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
