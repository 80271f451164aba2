"""The ledger of a chaos run: every message and answer that was ever sent, and what became of each.

It holds the Bridge's log against what the agents wrote down, and finds what was lost, delivered to the wrong one,
done twice, or out of order for its sender. A duplicate to an agent is allowed when it carries the same number and id;
a second effect in the log never is, unless the agent itself stored a message again because it took it for lost.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from bench.chaos_past import answered_by
from bench.chaos_records import (
    Answered,
    AnyRecord,
    Asking,
    Heard,
    Odd,
    Received,
    Sending,
    Stored,
    Told,
    Unsent,
)

MOST_TOLD: Final = 20
"""Examples that are kept of each kind of breach."""

MANAGER: Final = "elicitation_manager"
"""Who writes the Bridge's notes of elicitations. Source: proxy/devbridge/elicitations.py."""


class _Data(msgspec.Struct, frozen=True):
    id: str = ""
    to_agent: str = ""
    closing: bool = False
    in_reply_to: int | str = 0
    elicitation_id: str = ""
    elicitation_type: str = ""
    message: str = ""
    from_agent: str = ""
    responding_agent: str = ""
    response_data: Mapping[str, object] | None = None


class _Draft(msgspec.Struct, frozen=True):
    source_component: str
    aggregate_id: str
    data: _Data
    source_agent: str | None = None


class LogEvent(msgspec.Struct, frozen=True):
    """One event of the Bridge's log."""

    sequence: int
    draft: _Draft


def read_log(path: Path) -> list[LogEvent]:
    """The state file of a development Bridge that has ended."""
    decoder = msgspec.json.Decoder(LogEvent)
    with path.open("rb") as file:
        return [decoder.decode(line) for line in file if line.endswith(b"\n")]


@dataclass(slots=True)
class Verdict:
    """What was found."""

    counts: Counter[str] = field(default_factory=Counter)
    """What happened, for people to read."""
    breaches: Counter[str] = field(default_factory=Counter)
    """What must not happen, by kind."""
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def is_clean(self) -> bool:
        """Nothing happened that must not."""
        return not self.breaches

    def breach(self, kind: str, what: str) -> None:
        """Note one thing that must not happen."""
        self.breaches[kind] += 1
        if len(self.examples[kind]) < MOST_TOLD:
            self.examples[kind].append(what)


LOST: Final = "lost"
MISDELIVERED: Final = "misdelivered"
DOUBLED: Final = "double effect upstream"
DISORDERED: Final = "out of order"
OTHER_ID: Final = "duplicate under another id"
REFUSED: Final = "refused although it stands"
ODD: Final = "odd reply"


@dataclass(slots=True)
class _Elicitation:
    """One question of the log."""

    known: str
    asker: str
    addressee: str
    question: str
    taken: list[LogEvent] = field(default_factory=list)
    """Accepted answers."""
    messages: list[str] = field(default_factory=list)
    """Messages that answered the Bridge's note of it."""
    is_told: bool = False
    """It reached its addressee."""


class Ledger:
    """Holds one log against the lines of its agents."""

    def __init__(self, log: Sequence[LogEvent], records: Mapping[str, Sequence[AnyRecord]]) -> None:
        self.verdict = Verdict()
        self._log = {event.sequence: event for event in log}
        self._records = records
        self._messages: dict[str, list[int]] = defaultdict(list)
        """Numbers of the copies of each message."""
        self._elicitations: dict[str, _Elicitation] = {}
        self._heard: set[tuple[str, str]] = set()
        """Agent and elicitation of each answer that arrived."""
        self._closed_at = next((event.sequence for event in log if event.draft.data.closing), len(log))
        for event in log:
            self._enter(event)

    def _enter(self, event: LogEvent) -> None:
        draft, data = event.draft, event.draft.data
        if draft.source_component != MANAGER:
            self.verdict.counts["answers that became messages"] += bool(data.elicitation_id)
            if data.id:
                self._messages[data.id].append(event.sequence)
                noted = self._noted(data.in_reply_to)
                if noted is not None:
                    noted.messages.append(data.id)
        elif data.elicitation_type == "elicitation_requested":
            self._elicitations[draft.aggregate_id] = _Elicitation(
                known=draft.aggregate_id, asker=data.from_agent, addressee=data.to_agent, question=data.message
            )
        elif data.elicitation_type == "elicitation_accepted":
            self._elicitations[draft.aggregate_id].taken.append(event)

    def _noted(self, sequence: int | str) -> _Elicitation | None:
        """The elicitation that the Bridge's note of this number is about."""
        event = self._log.get(sequence) if isinstance(sequence, int) else None
        return None if event is None else self._elicitations.get(event.draft.aggregate_id)

    def judge(self) -> Verdict:
        """Everything that can be said."""
        counts = self.verdict.counts
        counts["log events"] = len(self._log)
        counts["messages in the log"] = sum(map(len, self._messages.values()))
        counts["elicitations in the log"] = len(self._elicitations)
        counts["answers in the log"] = sum(len(known.taken) for known in self._elicitations.values())
        self._judge_stores()
        for agent, records in self._records.items():
            if not agent:  # ticks of the clock
                continue
            self._judge_stream(agent, [record for record in records if isinstance(record, Received)])
            self._judge_told(agent, [record for record in records if isinstance(record, Told)])
            for heard in (record for record in records if isinstance(record, Heard)):
                self._judge_heard(heard)
            for odd in (record for record in records if isinstance(record, Odd)):
                self.verdict.breach(ODD, f"{agent}: {odd.text}")
        for elicitation in self._elicitations.values():
            self._judge_effects(elicitation)
        self._judge_questions()
        return self.verdict

    def _all(self) -> Iterable[AnyRecord]:
        for records in self._records.values():
            yield from records

    # Messages

    def _sent(self) -> tuple[Counter[str], dict[str, int]]:
        """How often each message may have been stored, and as what each was taken."""
        possible: Counter[str] = Counter()
        told: dict[str, int] = {}
        for record in self._all():
            match record:
                case Sending(message=message):
                    possible[message] += 1
                case Unsent(message=message, is_certain=is_certain):
                    possible[message] -= is_certain
                    self.verdict.counts["stores refused" if is_certain else "stores that came to nothing"] += 1
                case Stored(message=message, sequence=sequence):
                    told[message] = sequence
                case _:
                    pass
        return possible, told

    def _judge_stores(self) -> None:
        possible, told = self._sent()
        self.verdict.counts["messages sent"] = len(possible)
        for message, tries in possible.items():
            copies = self._messages.get(message, [])
            if message not in told:
                self.verdict.counts["messages without outcome"] += 1
            elif told[message] not in copies and not self._is_taken_as_answer(message):
                self.verdict.breach(LOST, f"message {message} was taken as {told[message]} and is not in the log")
            if len(copies) > tries:
                self.verdict.breach(DOUBLED, f"message {message} is in the log as {copies}, it was sent {tries} times")
            elif len(copies) > 1:
                self.verdict.counts["messages that their agent stored again"] += 1
        for message in self._messages.keys() - possible.keys():
            self.verdict.breach(MISDELIVERED, f"message {message} was never sent")
        self._judge_order()

    def _is_taken_as_answer(self, message: str) -> bool:
        """Whether a message that answers a note is in the log as an answer to the elicitation itself."""
        noted = self._noted(int(answered_by(message) or 0))
        return noted is not None and bool(noted.taken)

    def _judge_order(self) -> None:
        """The messages of each lane are in the log in the order they were sent."""
        last: dict[str, tuple[int, int]] = {}
        for message, copies in sorted(self._messages.items(), key=lambda item: _place(item[0])):
            lane, number = _place(message)
            if lane in last and copies[0] < last[lane][1]:
                self.verdict.breach(DISORDERED, f"message {message} is in the log before {lane}.{last[lane][0]}")
            last[lane] = number, copies[0]

    def _judge_stream(self, agent: str, received: Sequence[Received]) -> None:
        covered = bytearray(len(self._log) + 1)
        highest = 0
        mine: set[int] = set()
        for record in received:
            for first, last in record.spans:
                highest = self._cover(agent, covered, (first, last), highest)
            for number, message in record.mine:
                mine.add(number)
                event = self._log.get(number)
                if event is None or (event.draft.data.id, event.draft.data.to_agent) != (message, agent):
                    self.verdict.breach(MISDELIVERED, f"{agent} got {message} as {number}, which is another message")
        for number, event in self._log.items():
            if number > self._closed_at or event.draft.source_component == MANAGER:
                continue
            if not covered[number]:
                self.verdict.breach(LOST, f"{agent} never got {number} ({event.draft.data.id})")
            elif event.draft.data.to_agent == agent and event.draft.data.id and number not in mine:
                self.verdict.breach(MISDELIVERED, f"{agent} did not recognise {number} as its own")
        self.verdict.counts["messages delivered"] += covered.count(1)

    def _cover(self, agent: str, covered: bytearray, span: tuple[int, int], highest: int) -> int:
        """Take in one stretch of numbers; the highest number so far."""
        first, last = span
        if first < 1 or last >= len(covered):
            self.verdict.breach(MISDELIVERED, f"{agent} got {first} to {last}, which are not in the log")
            return highest
        known = covered[first : last + 1].count(1)
        self.verdict.counts["duplicates delivered"] += known
        if known < last + 1 - first and first <= highest and not all(covered[first : highest + 1]):
            self.verdict.breach(DISORDERED, f"{agent} got {first} to {last} after {highest}")
        covered[first : last + 1] = b"\x01" * (last + 1 - first)
        return max(highest, last)

    # Questions and answers

    def _judge_told(self, agent: str, told: Sequence[Told]) -> None:
        ways: dict[str, set[bool]] = defaultdict(set)
        for record in told:
            known = self._elicitations.get(record.elicitation) or self._noted(record.sequence)
            if known is None or (known.addressee, known.question) != (agent, record.question):
                self.verdict.breach(MISDELIVERED, f"{agent} was asked {record}, which is not its question")
                continue
            is_by_id = bool(record.elicitation)
            self.verdict.counts["questions told again"] += is_by_id in ways[known.known]
            ways[known.known].add(is_by_id)
            known.is_told = True
        for elicitation, seen in ways.items():
            if len(seen) > 1:
                self.verdict.breach(OTHER_ID, f"{agent} was told {elicitation} as an elicitation and as a note")

    def _judge_heard(self, heard: Heard) -> None:
        known = self._elicitations.get(heard.elicitation) or self._answered_at(heard.sequence)
        said = heard.question, heard.responder, heard.agent
        if known is None or (known.question, known.addressee, known.asker) != said:
            self.verdict.breach(MISDELIVERED, f"{heard} is no answer to this agent")
        elif not known.taken and not known.messages:
            self.verdict.breach(MISDELIVERED, f"{heard} was never given")
        else:
            self.verdict.counts["answers heard again"] += (heard.agent, known.known) in self._heard
            self._heard.add((heard.agent, known.known))

    def _answered_at(self, sequence: int) -> _Elicitation | None:
        """What the note or message of this number answers."""
        event = self._log.get(sequence)
        if event is None:
            return None
        is_note = event.draft.source_component == MANAGER
        return self._noted(sequence if is_note else event.draft.data.in_reply_to)

    def _judge_effects(self, known: _Elicitation) -> None:
        effects = len(known.taken) + len(set(known.messages))
        if effects > 1:
            said = f"{len(known.taken)} times and by {sorted(set(known.messages))}"
            self.verdict.breach(DOUBLED, f"elicitation {known.known} ({known.question}) was answered {said}")
        for event in known.taken:
            data = event.draft.data
            content = data.response_data or {}
            if (data.responding_agent, content.get("question")) != (known.addressee, known.question):
                self.verdict.breach(MISDELIVERED, f"elicitation {known.known} was answered as {data}")
            if event.sequence <= self._closed_at and (known.asker, known.known) not in self._heard:
                self.verdict.breach(LOST, f"the answer {event.sequence} to {known.known} ({known.question})")
        self.verdict.counts["elicitations that ended unseen"] += not known.is_told

    def _judge_questions(self) -> None:
        asked: set[str] = set()
        heard: set[str] = set()
        for record in self._all():
            match record:
                case Asking(question=question):
                    self.verdict.counts["questions put"] += 1
                    asked.add(question)
                case Heard(question=question):
                    heard.add(question)
                case Answered():
                    self._judge_answered(record)
                case _:
                    pass
        self.verdict.counts["exchanges begun"] = len(asked)
        self.verdict.counts["exchanges completed"] = len(asked & heard)
        for question in sorted(asked - heard):
            self.verdict.breach(LOST, f"question {question} was never answered")

    def _judge_answered(self, record: Answered) -> None:
        known = self._elicitations.get(record.elicitation)
        is_taken = known is not None and bool(known.taken)
        if record.status == 200:
            self.verdict.counts["answers taken"] += 1
            if not is_taken:
                self.verdict.breach(LOST, f"{record} is not in the log")
        else:
            self.verdict.counts[f"answers refused {record.status}" if record.status else "answers given up"] += 1
            if is_taken and record.status:
                self.verdict.breach(REFUSED, f"{record} stands in the log")


def _place(message: str) -> tuple[str, int]:
    """Lane and number of a message."""
    lane, _, number = message.rpartition(".")
    return lane, int(number)
