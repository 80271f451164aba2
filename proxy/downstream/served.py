"""One served call from its first byte to its one outcome record."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from aiohttp import web

from proxy.core.agent_kind import agent_kind
from proxy.core.errors import Fault, OurFault, SidecarError
from proxy.core.outcome import Door, ElicitationOutcome, Outcome, Result
from proxy.core.routing import Decision, Reason, Route
from proxy.downstream.relay import RELAY_OUTCOME
from proxy.ports import Clock, Recorder

_LOST_WAYS: Final = frozenset({Reason.INCAPABLE, Reason.BREAKER_OPEN})
"""Reasons for which a wait leaves the elicitation way before it has entered it."""


@dataclass(slots=True)
class Draft:
    """What a door notes down while it serves a call."""

    door: Door
    opened_at: float = 0.0
    """When the call came, wall clock in seconds."""
    result: Result = Result.RELAYED
    status: int = 0
    agent_id: str = ""
    decision: Decision | None = None
    route: Route | None = None
    reason: Reason | None = None
    fell_back: Reason | None = None
    error: SidecarError | None = None
    items: int = 0
    delivery_seconds: tuple[float, ...] = ()
    elicitations: list[ElicitationOutcome] = field(default_factory=list)
    empty_wakes_saved: int = 0

    def delivered(self, created_at: Iterable[float | None], *, wall: float) -> None:
        """Note how long each item took, from its creation to now; an agent that was not waiting is not counted.

        A Bridge whose clock is ahead counts as no time at all.
        """
        known = (max(created, self.opened_at) for created in created_at if created is not None)
        self.delivery_seconds = tuple(max(0.0, wall - since) for since in known)

    def outcome(self, *, seconds: float, method: str, path: str) -> Outcome:
        """The record of what was noted down; `method` and `path` name the call."""
        return Outcome(
            door=self.door,
            result=self.result,
            seconds=seconds,
            status=self.status,
            agent_id=self.agent_id,
            route=self.route,
            reason=self.reason,
            cohort=self.decision.cohort if self.decision else None,
            fell_back=self.fell_back,
            error_code=self.error.code if self.error else "",
            fault=self.error.fault if self.error else None,
            items=self.items,
            delivery_seconds=self.delivery_seconds,
            elicitations=tuple(self.elicitations),
            empty_wakes_saved=self.empty_wakes_saved,
            method=method,
            path=path,
        )

    def decided(self, decision: Decision) -> None:
        """Note which way the wait goes."""
        self.decision = decision
        self.route, self.reason = decision.route, decision.reason
        if decision.reason in _LOST_WAYS:
            self.fell_back = decision.reason

    def failed(self, error: SidecarError) -> None:
        """Note the error that the caller gets."""
        self.error = error
        self.status = error.status
        self.result = Result.REFUSED if error.fault is Fault.AGENT else Result.FAILED


@contextmanager
def served(request: web.Request, door: Door, recorder: Recorder, clock: Clock) -> Iterator[Draft]:
    """Record exactly one outcome for the call, whatever ends it."""
    started_at = clock.now()
    draft = Draft(door, opened_at=clock.wall())
    try:
        yield draft
    except SidecarError as error:
        draft.failed(error)
        raise
    except (asyncio.CancelledError, ConnectionResetError):
        draft.result, draft.status = Result.GONE, 0
        raise
    except BaseException as error:
        draft.failed(OurFault(f"unforeseen {type(error).__name__}"))
        raise
    finally:
        recorder.record(_outcome(request, draft, seconds=clock.now() - started_at))


def _outcome(request: web.Request, draft: Draft, *, seconds: float) -> Outcome:
    relayed = request.get(RELAY_OUTCOME)
    return replace(
        draft.outcome(seconds=seconds, method=request.method, path=request.raw_path.partition("?")[0]),
        agent_kind=agent_kind(request.headers.get("User-Agent", "")).value,
        bytes_up=relayed.bytes_up if relayed else 0,
        bytes_down=relayed.bytes_down if relayed else 0,
    )
