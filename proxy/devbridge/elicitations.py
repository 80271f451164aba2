"""The book of elicitations: questions, their one answer, expiry, and the events each step leaves in the log.

Times are seconds since the epoch and come in as arguments. Expiry is judged at once when somebody answers, but shows
in `pending` and `status` only after the next sweep, as on the real Bridge.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from proxy.devbridge.content import Allowance
from proxy.devbridge.events import Draft, StoredEvent
from proxy.devbridge.wire import Fields, WireError, wrapped

CREATES_PER_MINUTE: Final = 13
"""10 and a burst of 3. Source: BRIDGE.md 2.5."""

RESPONSES_PER_MINUTE: Final = 23
"""20 and a burst of 3. Source: BRIDGE.md 2.5."""

COMPONENT: Final = "elicitation_manager"
"""Source component of the book's events. Source: the public Bridge, elicitation/events.py."""

SYSTEM: Final = "system"
"""Source agent of an expiry; it stores as often as it must. Source: the public Bridge, elicitation/events.py."""

_COMPLETED: Final[Mapping[str, str]] = {"accept": "accepted", "decline": "declined", "cancel": "cancelled"}
_PREFIX: Final = "elicitation_"

Append = Callable[[Draft, float], StoredEvent]
"""Stores an event in the log, or refuses it with a WireError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question before it has an id; `timeout_s` may be nought or less, then it is born expired."""

    from_agent: str
    to_agent: str
    message: str
    schema: Mapping[str, object]
    timeout_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What somebody says to a question; `token_is_valid` tells whether the token is the agent's own."""

    elicitation_id: str
    agent_id: str
    kind: str
    data: Mapping[str, object] | None
    token_is_valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question, pending until its status says otherwise; times in seconds since the epoch."""

    elicitation_id: str
    from_agent: str
    to_agent: str
    message: str
    schema: Mapping[str, object]
    created_at: float
    expires_at: float
    nonce: str
    response_key: str
    nonce_is_known: bool = True
    """False for a question of an earlier process: nonces do not outlive a process, so nobody can answer it."""
    status: str = "pending"

    def pending_item(self) -> dict[str, object]:
        """The question as `/elicitation/pending` shows it: the key is `id`, and there is no metadata."""
        return {
            "id": self.elicitation_id,
            "from_agent": self.from_agent,
            "message": self.message,
            "schema": self.schema,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
        }

    def status_item(self) -> dict[str, object]:
        """The question as `/elicitation/status` shows it; `responded_at` is always null."""
        if self.status == "pending":
            return {"status": self.status, "created_at": self.created_at, "expires_at": self.expires_at}
        return {"status": self.status, "created_at": self.created_at, "responded_at": None}


@dataclass(slots=True)
class _Tally:
    """What the metrics count."""

    requests: int = 0
    responses: int = 0
    timeouts: int = 0
    violations: int = 0


@dataclass(slots=True)
class ElicitationBook:
    """All questions of one process; it starts with the first create and knows nothing before."""

    append: Append
    secret: bytes
    sweep_s: float = 10.0
    is_started: bool = False
    _active: dict[str, Question] = field(default_factory=dict)
    _completed: dict[str, Question] = field(default_factory=dict)
    _by_target: dict[str, dict[str, None]] = field(default_factory=dict)
    _tally: _Tally = field(default_factory=_Tally)
    _creates: Allowance = field(default_factory=lambda: Allowance(CREATES_PER_MINUTE))
    _responses: Allowance = field(default_factory=lambda: Allowance(RESPONSES_PER_MINUTE))
    _next_sweep: float = 0.0

    def start(self, kept: Iterable[StoredEvent], now: float) -> None:
        """Begin, with the questions that the log of earlier processes still holds open."""
        self.is_started = True
        self._next_sweep = now + self.sweep_s
        for event in kept:
            self._replay(event)

    def create(self, ask: Ask, now: float, *, rate_limits: bool = True) -> Question:
        """Put one question; its event tells everybody, nonce and key included.

        Raises:
            WireError: 500, rate limit or refused content.
        """
        if rate_limits and not self._creates.take(ask.from_agent, now):
            self._tally.violations += 1
            raise WireError(500, f"Rate limit exceeded for agent {ask.from_agent}")
        elicitation_id = f"elicit_{secrets.token_hex(8)}"
        nonce = secrets.token_hex(32)
        question = Question(
            elicitation_id=elicitation_id,
            from_agent=ask.from_agent,
            to_agent=ask.to_agent,
            message=ask.message,
            schema=ask.schema,
            created_at=now,
            expires_at=now + ask.timeout_s,
            nonce=nonce,
            response_key=self._sign([elicitation_id, ask.to_agent, nonce]),
        )
        self.append(self._request_draft(question, ask.timeout_s), now)
        self._open(question)
        return question

    def pending(self, agent_id: str) -> list[dict[str, object]]:
        """The open questions to one agent, also those that expired since the last sweep."""
        return [self._active[known].pending_item() for known in self._by_target.get(agent_id, ())]

    def status(self, elicitation_id: str) -> dict[str, object]:
        """How one question stands.

        Raises:
            WireError: 404, unknown.
        """
        question = self._active.get(elicitation_id) or self._completed.get(elicitation_id)
        if question is None:
            raise WireError(404, "Elicitation not found")
        return question.status_item()

    def respond(self, answer: Answer, now: float, *, rate_limits: bool = True, anybody_answers: bool = False) -> None:
        """Take one answer, the first valid one only; its event tells everybody.

        With `anybody_answers` nobody looks whether it comes from the agent that was asked.

        Raises:
            WireError: 500 with the Bridge's text, in the Bridge's order of checks.
        """
        if not answer.token_is_valid:
            raise WireError(500, "Invalid agent session token")
        question = self._active.get(answer.elicitation_id)
        if question is None:
            raise wrapped(400, "Failed to respond to elicitation")
        if not anybody_answers or answer.kind == "cancel":
            _check_right(question, answer)
        if now > question.expires_at:
            raise wrapped(400, "Failed to respond to elicitation")
        if rate_limits and not self._responses.take(answer.agent_id, now):
            self._tally.violations += 1
            raise WireError(500, f"Response rate limit exceeded for agent {answer.agent_id}")
        _check_data(question, answer)
        if not question.nonce_is_known:
            raise WireError(500, "Replay attack detected")
        if answer.kind not in _COMPLETED:
            raise WireError(500, repr(answer.kind))
        self.append(self._answer_draft(question, answer, now), now)
        self._complete(question, _COMPLETED[answer.kind])

    def sweep(self, now: float) -> None:
        """Expire what is overdue, when the next sweep is due; each leaves an event."""
        if not self.is_started or now < self._next_sweep:
            return
        self._next_sweep = now + self.sweep_s
        overdue = [question for question in self._active.values() if question.expires_at < now]
        for question in overdue:
            data = {"elicitation_type": _PREFIX + "expired", "expired_at": now}
            self.append(_draft(question.elicitation_id, SYSTEM, data), now)
            self._complete(question, "expired")

    def metrics(self) -> dict[str, object]:
        """The three groups of `/elicitation/metrics`; two security counters are always 0, as observed."""
        tally = self._tally
        asked = max(tally.requests, 1)
        return {
            "performance": {
                "p50_latency_ms": 0.0,
                "p95_latency_ms": 0.0,
                "p99_latency_ms": 0.0,
                "delivery_rate": tally.responses / asked,
                "timeout_rate": tally.timeouts / asked,
            },
            "security": {
                "impersonation_attempts": 0,
                "replay_attempts": 0,
                "rate_limit_violations": tally.violations,
            },
            "activity": {"active_elicitations": len(self._active), "pending_elicitations": len(self._active)},
        }

    def _open(self, question: Question) -> None:
        self._active[question.elicitation_id] = question
        self._by_target.setdefault(question.to_agent, {})[question.elicitation_id] = None
        self._tally.requests += 1

    def _complete(self, question: Question, status: str) -> None:
        known = question.elicitation_id
        del self._active[known]
        self._completed[known] = replace(question, status=status)
        targets = self._by_target[question.to_agent]
        del targets[known]
        if not targets:
            del self._by_target[question.to_agent]
        if status in {"accepted", "declined"}:
            self._tally.responses += 1
        elif status == "expired":
            self._tally.timeouts += 1

    def _replay(self, event: StoredEvent) -> None:
        draft = event.draft
        if draft.source_component != COMPONENT:
            return
        kind = str(draft.data.get("elicitation_type")).removeprefix(_PREFIX)
        if kind == "requested":
            self._open(_question_from(draft))
        elif draft.aggregate_id in self._active:
            self._complete(self._active[draft.aggregate_id], kind)

    def _sign(self, parts: object, key: bytes | None = None) -> str:
        return hmac.new(key or self.secret, orjson.dumps(parts), hashlib.sha256).hexdigest()

    def _request_draft(self, question: Question, timeout_s: int) -> Draft:
        data: dict[str, object] = {
            "elicitation_type": _PREFIX + "requested",
            "from_agent": question.from_agent,
            "to_agent": question.to_agent,
            "message": question.message,
            "schema": question.schema,
            "nonce": question.nonce,
            "request_signature": self._sign([question.pending_item(), question.to_agent, question.nonce]),
            "expected_response_key": question.response_key,
            "timeout_seconds": timeout_s,
            "created_at": question.created_at,
            "expires_at": question.expires_at,
            "security_context": {
                "from_agent": question.from_agent,
                "to_agent": question.to_agent,
                "security_level": "HIGH",
                "encryption_enabled": True,
                "audit_enabled": True,
            },
        }
        return _draft(question.elicitation_id, question.from_agent, data)

    def _answer_draft(self, question: Question, answer: Answer, now: float) -> Draft:
        said = [answer.elicitation_id, answer.agent_id, answer.kind, answer.data, question.nonce, now]
        data: dict[str, object] = {
            "elicitation_type": _PREFIX + _COMPLETED[answer.kind],
            "responding_agent": answer.agent_id,
            "response_type": answer.kind,
            "response_data": answer.data,
            "response_signature": self._sign(said, question.response_key.encode()),
            "responded_at": now,
            "security_context": {},
        }
        return _draft(question.elicitation_id, answer.agent_id, data)


def _draft(elicitation_id: str, source_agent: str, data: Mapping[str, object]) -> Draft:
    return Draft(
        event_type="custom",
        data=data,
        source_agent=source_agent,
        source_component=COMPONENT,
        aggregate_id=elicitation_id,
        aggregate_type="elicitation",
    )


def _question_from(draft: Draft) -> Question:
    kept = Fields("body", draft.data)
    return Question(
        elicitation_id=draft.aggregate_id,
        from_agent=kept.text("from_agent"),
        to_agent=kept.text("to_agent"),
        message=kept.text("message"),
        schema=kept.mapping("schema"),
        created_at=_number(draft.data.get("created_at")),
        expires_at=_number(draft.data.get("expires_at")),
        nonce=kept.text("nonce"),
        response_key=kept.text("expected_response_key"),
        nonce_is_known=False,
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _check_right(question: Question, answer: Answer) -> None:
    if answer.kind == "cancel":
        if question.from_agent != answer.agent_id:
            raise WireError(500, f"Only {question.from_agent} can cancel this elicitation")
    elif question.to_agent != answer.agent_id:
        text = f"not authorized to respond to elicitation for {question.to_agent}"
        raise WireError(500, f"Agent {answer.agent_id} {text}")


def _check_data(question: Question, answer: Answer) -> None:
    # Only the names under "required" are looked for, and not at all in {} or null. Source: BRIDGE.md 2.5.
    if answer.kind != "accept" or not answer.data:
        return
    required = question.schema.get("required", [])
    if isinstance(required, list) and not all(name in answer.data for name in required):
        raise WireError(500, "Response does not match requested schema")
