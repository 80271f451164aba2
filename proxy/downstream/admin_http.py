"""The operators' doors: health, metrics, flags, forced agents, caches, shutdown.

Each door parses, calls one thing and writes. The way in is the same for all: error boundary, outcome record, names
(Host, Origin), token and role. The table in `admin_api.py` says which doors there are and what they need.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy.config.tokens import Token
from proxy.core.cohort import Cohort
from proxy.core.deeds import AgentForced, Deed, OperatorActed, Refusal, Word
from proxy.core.errors import Forbidden, HostRefused, InvalidInput, Unauthenticated
from proxy.core.flags import parse_patch
from proxy.core.ids import AgentId, parse_agent_id
from proxy.core.outcome import Door, Result
from proxy.core.routing import Way
from proxy.downstream.admin_api import MAX_AGENTS_SHOWN, MAX_HISTORY, MAX_TTL_S, OPERATIONS, openapi_document
from proxy.downstream.admin_auth import Caller, Gate, Need
from proxy.downstream.admin_body import MAX_BODY_BYTES, read_if_match, read_limit, read_object
from proxy.downstream.admin_reply import json_reply
from proxy.downstream.audit_http import AuditDoors
from proxy.downstream.exchanges_http import ExchangeDoors, Exchanges
from proxy.downstream.guard_fields import guard_reply
from proxy.downstream.ofrep_http import OfrepDoors
from proxy.downstream.problem import as_sidecar_error, error_boundary, http_problem
from proxy.downstream.reports_http import ReportDoors, SecurityFactsNow
from proxy.downstream.served import served
from proxy.flows.audit_keeper import AuditKeeper
from proxy.flows.flags import FlagBoard
from proxy.ports import Clock, Recorder

_REFUSALS: Final = {Unauthenticated: Refusal.OPERATOR_TOKEN, Forbidden: Refusal.ROLE, HostRefused: Refusal.HOST}
"""As what a call that may not come in stands in the audit trail."""

_CALLER: Final = web.RequestKey("caller", Caller)
_FORCE_KEYS: Final = frozenset({"agent_id", "cohort", "ttl_s"})
_UNFORCE_KEYS: Final = frozenset({"agent_id"})


class MetricsPage(Protocol):
    """The metrics as text."""

    def refresh(self) -> None:
        """Read live state; on the event loop."""
        ...

    def render(self, accept: str) -> tuple[bytes, str]:
        """Text and content type; in any thread."""
        ...


class SeenAgents(Protocol):
    """The agents that called lately."""

    def __len__(self) -> int: ...

    def latest(self, limit: int) -> Sequence[Mapping[str, object]]:
        """The latest first."""
        ...

    def one(self, agent_id: str) -> Mapping[str, object] | None:
        """One of them, if it called lately."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminParts:
    """What the doors need of the rest of the house."""

    board: FlagBoard
    recorder: Recorder
    clock: Clock
    audit: AuditKeeper
    security_facts: SecurityFactsNow
    tokens: tuple[Token, ...]
    """Empty: loopback may look and nobody may change anything."""
    allowed_hosts: frozenset[str]
    """Names besides those of loopback, as in `proxy.core.hosts`."""
    version: str
    health: Callable[[], Mapping[str, object]]
    """With `status`: healthy, degraded or unhealthy."""
    ready: Callable[[], Mapping[str, object]]
    """With `ready`: true or false."""
    metrics: MetricsPage
    elicitation_metrics: Callable[[], Mapping[str, object]]
    agents: SeenAgents
    exchanges: Exchanges
    way: Callable[[], Way]
    """Whether the elicitation way can serve now."""
    clear_caches: Callable[[], Mapping[str, int]]
    """Drops caches and tells how many entries of which."""
    request_shutdown: Callable[[], None]
    config_dump: Callable[[], Mapping[str, object]]
    """The effective configuration without secrets."""


def build_admin_app(parts: AdminParts) -> web.Application:
    """The application of the admin port."""
    gate = Gate(tokens=parts.tokens, allowed_hosts=parts.allowed_hosts)
    app = web.Application(
        middlewares=(error_boundary(parts.recorder.defect), _one_outcome(parts), _admission(gate, parts.audit)),
        client_max_size=MAX_BODY_BYTES,
    )
    app.on_response_prepare.append(guard_reply)
    doors = _doors(parts)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, doors[operation.name])
        if operation.method == "GET":
            app.router.add_route("HEAD", operation.path, doors[operation.name])
    return app


def _doors(parts: AdminParts) -> dict[str, Handler]:
    """The doors under the names of the table; each is a method of one of the rooms."""
    rooms = (
        AdminDoors(parts),
        OfrepDoors(parts.board),
        ExchangeDoors(parts.exchanges, parts.clock),
        AuditDoors(parts.audit),
        ReportDoors(parts.security_facts),
    )
    names = [operation.name for operation in OPERATIONS]
    return {name: getattr(room, name) for room in rooms for name in names if hasattr(room, name)}


def _one_outcome(parts: AdminParts) -> Middleware:
    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        with served(request, Door.ADMIN, parts.recorder, parts.clock) as draft:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                ours = as_sidecar_error(request, error)
                if ours is not None:
                    raise ours from error
                response = http_problem(request, error)
            draft.status = response.status
            draft.result = Result.REFUSED if 400 <= response.status < 500 else Result.SERVED
            return response

    return record


def _admission(gate: Gate, audit: AuditKeeper) -> Middleware:
    needs = {(operation.method, operation.document_path): operation.need for operation in OPERATIONS}

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        method = "GET" if request.method == "HEAD" else request.method
        # What is not in the table ends in 404 or 405; who may not look does not learn which.
        need = needs.get((method, _pattern(resource)), Need.LOOK)
        try:
            gate.check_names(request)
            gate.check_site(request)
            request[_CALLER] = gate.admit(request, need)
        except tuple(_REFUSALS) as error:
            # Who asks without any token how we are has tried none; commands do so before they send theirs.
            if need is not Need.PROBE or "Authorization" in request.headers or not isinstance(error, Unauthenticated):
                audit.refused(_REFUSALS[type(error)], subject=request.remote or "unknown")
            raise
        return await handler(request)

    return admit


def _pattern(resource: web.AbstractResource | None) -> str:
    return "" if resource is None else resource.canonical


class AdminDoors:
    """One method per operation of the table, but for those of `ofrep_http.py` and `exchanges_http.py`."""

    __slots__ = ("_parts",)

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts

    async def health(self, _: web.Request) -> web.Response:
        """Health with reasons."""
        health = self._parts.health()
        return json_reply(health, status=503 if health["status"] == "unhealthy" else 200)

    async def livez(self, _: web.Request) -> web.Response:
        """Alive: the event loop runs."""
        return json_reply({"alive": True})

    async def readyz(self, _: web.Request) -> web.Response:
        """Ready or not, with reasons."""
        ready = self._parts.ready()
        return json_reply(ready, status=200 if ready["ready"] is True else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """The metrics; the text is made in a thread, as it takes milliseconds."""
        page = self._parts.metrics
        page.refresh()
        text, content_type = await asyncio.to_thread(page.render, ",".join(request.headers.getall("Accept", [])))
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def read_flags(self, _: web.Request) -> web.Response:
        """The flags and their version."""
        flags = self._parts.board.flags
        return json_reply(flags.as_json(), headers={"ETag": f'"{flags.version}"'})

    async def change_flags(self, request: web.Request) -> web.Response:
        """Apply a patch of flags."""
        author = request[_CALLER].author(request.headers.get("X-Author"))
        patch = parse_patch(await read_object(request))
        flags = await self._parts.board.change(patch, author=author, expected=read_if_match(request))
        return json_reply(flags.as_json(), headers={"ETag": f'"{flags.version}"'})

    async def flag_history(self, request: web.Request) -> web.Response:
        """The latest changes."""
        changes = await self._parts.board.history(read_limit(request, default=50, most=MAX_HISTORY))
        return json_reply({"history": [change.as_json() for change in changes]})

    async def clear_caches(self, request: web.Request) -> web.Response:
        """Drop caches."""
        with self._acting(request, OperatorActed(action=Word("cache_cleared"))):
            return json_reply({"cleared": dict(self._parts.clear_caches())})

    async def elicitation_metrics(self, _: web.Request) -> web.Response:
        """Quantiles, rates and counters."""
        return json_reply(self._parts.elicitation_metrics())

    async def force(self, request: web.Request) -> web.Response:
        """Force an agent to a cohort."""
        body = await read_object(request)
        _check_keys(body, _FORCE_KEYS)
        agent_id = parse_agent_id(body.get("agent_id"))
        cohort = _parse_cohort(body.get("cohort", Cohort.ELICITATION))
        ttl_s = _parse_ttl(body.get("ttl_s"))
        until = None if ttl_s is None else self._parts.clock.wall() + ttl_s
        with self._acting(request, AgentForced(cohort=cohort, until=until), agent_id):
            await self._parts.board.force(agent_id, cohort, ttl_s=ttl_s)
        return json_reply(self._where(agent_id))

    async def unforce(self, request: web.Request) -> web.Response:
        """Undo a forced cohort; an agent named in the query counts, but what else came must be in order, too."""
        named = request.query.getall("agent_id", [])
        if len(named) > 1:
            raise InvalidInput(f"agent_id: expected it once in the query, got it {len(named)} times")
        given = [parse_agent_id(name) for name in named]
        if request.can_read_body or not named:
            body = await read_object(request)
            _check_keys(body, _UNFORCE_KEYS)
            given.append(parse_agent_id(body.get("agent_id")))
        agent_id = given[0]
        with self._acting(request, AgentForced(cohort=None, until=None), agent_id):
            await self._parts.board.force(agent_id, None)
        return json_reply(self._where(agent_id))

    async def agents(self, request: web.Request) -> web.Response:
        """Who called lately, and who is forced."""
        parts = self._parts
        latest = parts.agents.latest(read_limit(request, default=1_000, most=MAX_AGENTS_SHOWN))
        forced = [{"agent_id": agent_id, **_forced(kept)} for agent_id, kept in parts.board.forced().items()]
        return json_reply({"count": len(parts.agents), "agents": list(latest), "forced": forced})

    async def agent(self, request: web.Request) -> web.Response:
        """One agent."""
        return json_reply(self._where(parse_agent_id(request.match_info["agent_id"])))

    async def config_dump(self, _: web.Request) -> web.Response:
        """The effective configuration."""
        return json_reply(self._parts.config_dump())

    async def shutdown(self, request: web.Request) -> web.Response:
        """Begin to drain."""
        with self._acting(request, OperatorActed(action=Word("shutdown"))):
            self._parts.request_shutdown()
        return json_reply({"status": "draining"}, status=202)

    async def openapi(self, _: web.Request) -> web.Response:
        """The description of this port."""
        return json_reply(openapi_document(self._parts.version))

    def _acting(self, request: web.Request, deed: Deed, subject: str = "") -> AbstractContextManager[None]:
        author = request[_CALLER].author(request.headers.get("X-Author"))
        return self._parts.audit.acting(deed, who=author, subject=subject)

    def _where(self, agent_id: AgentId) -> dict[str, object]:
        """Where an agent is and why; also of one that never called."""
        board = self._parts.board
        member = board.member(agent_id)
        decision = board.decide(agent_id, self._parts.way())
        kept = board.forced().get(agent_id)
        seen = self._parts.agents.one(agent_id)
        return {
            "agent_id": agent_id,
            "bucket": member.bucket,
            "groups": sorted(member.groups),
            "cohort": decision.cohort,
            "route": decision.route,
            "reason": decision.reason,
            "forced": None if kept is None else _forced(kept),
            "seen": None if seen is None else dict(seen),
        }


def _forced(kept: tuple[Cohort, float | None]) -> dict[str, object]:
    cohort, until = kept
    return {"cohort": cohort, "until": until}


def _check_keys(body: Mapping[str, object], known: frozenset[str]) -> None:
    unknown = sorted(set(body) - known)
    if unknown:
        raise InvalidInput(f"unknown key {unknown[0][:80]!r}; known are {', '.join(sorted(known))}")


def _parse_cohort(value: object) -> Cohort:
    if value not in tuple(Cohort):
        raise InvalidInput(f"cohort: expected {' or '.join(Cohort)}, got {repr(value)[:80]}")
    return Cohort(str(value))


def _parse_ttl(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInput(f"ttl_s: expected a number of seconds, got {repr(value)[:80]}")
    if not 0 < value <= MAX_TTL_S:
        raise InvalidInput(f"ttl_s: expected more than 0 and at most {MAX_TTL_S:.0f} seconds, got {value}")
    return float(value)
