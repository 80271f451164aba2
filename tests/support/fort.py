"""A sidecar that holds every caller to identity, signature and limits, before a Bridge that believes everybody.

Each agent has a key, and a session token that the Bridge itself gave out. An attack is tried inside of `is_refused`,
which sees to it that the Bridge has heard nothing of it, and that it was counted and written down.
"""

import asyncio
import hashlib
import itertools
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.core.content_digest import write_digest
from proxy.core.ids import AgentId
from proxy.core.key_file import write_keys
from proxy.core.key_ring import ENTROPY_BYTES, Key, KeyRing, new_key
from proxy.core.signature_fields import Terms, parse_origin
from proxy.core.signing import sign_call
from tests.support.house import NOTHING, Heard, House, Stand, fields, stand
from tests.support.manual_bridge import START_S, Json, ManualBridge
from tests.support.mcp_stand import PLAIN, McpUpstream, message

AGENTS: Final = ("alice", "bob", "mallory")
METRICS: Final = "elicit_sidecar_"
JSON: Final = "application/json"

ENFORCED: Final[Mapping[str, str]] = MappingProxyType(
    {"identity.mode": "enforce", "signatures.mode": "enforce", "limits.questions": "10/min+3"}
)


def key_of(agent_id: str, *, number: int = 0) -> Key:
    """A key of this agent, always the same."""
    entropy = hashlib.sha512(f"{agent_id} {number}".encode()).digest()[:ENTROPY_BYTES]
    return new_key(AgentId(agent_id), entropy=entropy, created_at=int(START_S) - 1_000)


def forged(agent_id: str) -> Key:
    """A key that goes by the id of this agent's, with the secret of mallory's."""
    return replace(key_of(agent_id), secret=key_of("mallory").secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """One call with its signature, as it could be recorded on the way."""

    method: str
    target: str
    body: bytes
    headers: Mapping[str, str]

    def with_headers(self, **changes: str) -> "Signed":
        """The same call with other header fields; an underscore stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        return replace(self, headers={**self.headers, **named})


@dataclass(slots=True, kw_only=True)
class Fort:
    """The sidecar, the Bridge behind it, and what the agents have."""

    stand: Stand
    keys: dict[str, Key]
    tokens: dict[str, str]
    warnings: list[Json]
    """Every warning so far that the sidecar has written."""
    origin: str
    """By which address agents call the sidecar; empty: the one that it listens on."""
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def house(self) -> House:
        """The sidecar."""
        return self.stand.house

    @property
    def bridge(self) -> ManualBridge:
        """The Bridge, without the sidecar."""
        return self.stand.bridge

    def sign(
        self,
        agent: str,
        method: str,
        target: str,
        body: object = None,
        *,
        key: Key | None = None,
        nonce: str = "",
        token: str | None = None,
    ) -> Signed:
        """A call that this agent signs, with its own token unless another one is given."""
        raw = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        nonce = nonce or f"nonce-of-a-test-{next(self._numbers):08d}"
        fields = sign_call(
            key or self.keys[agent],
            method=method.encode(),
            target=target.encode(),
            origin=parse_origin(self.origin or f"http://127.0.0.1:{self.house.port}"),
            terms=Terms.at(self.stand.clock.wall(), nonce, life_s=300),
            digest=write_digest(raw) if raw else None,
        )
        headers = {name.decode(): value.decode() for name, value in fields}
        bearer = self.tokens[agent] if token is None else token
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        if raw:
            headers["Content-Type"] = JSON
        return Signed(method=method, target=target, body=raw, headers=headers)

    async def send(self, call: Signed) -> Heard:
        """Send a call as it stands."""
        return await self.house.call(call.method, call.target, raw=call.body or None, headers=call.headers)

    async def call(self, agent: str, method: str, target: str, body: object = None) -> Heard:
        """An honest call of this agent, as far as its signature and its token go."""
        return await self.send(self.sign(agent, method, target, body))

    async def asked(self, **changes: object) -> str:
        """The id of a question from alice to bob."""
        heard = await self.call("alice", "POST", "/elicitation/create", question_of("alice", **changes))
        assert heard.status == 200, heard
        return str(heard.json["elicitation_id"])

    async def count(self, metric: str) -> float:
        """A counter by its name and labels; 0 before it was first used."""
        return (await self.house.metrics()).get(METRICS + metric, 0.0)

    @asynccontextmanager
    async def is_refused(self, metric: str, *, times: int = 1, **line: str) -> AsyncIterator[None]:
        """What happens inside never arrives at the Bridge, is counted by `metric`, and written down each time."""
        before, seen = await self.count(metric), len(self.warnings)
        arrived, logged = self.bridge.state.arrived.copy(), len(self.bridge.state.log)
        yield
        assert self.bridge.state.arrived == arrived, "a call has arrived at the Bridge"
        assert len(self.bridge.state.log) == logged, "something has happened at the Bridge"
        assert await self.count(metric) == before + times, f"{metric} has not counted it"
        told = [each for each in self.warnings[seen:] if line.items() <= each.items()]
        assert (len(told), [each["event"] for each in told]) == (times, ["refused"] * times), self.warnings[seen:]


def question_of(agent: str, **changes: object) -> Json:
    """A question to bob in this agent's name."""
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    body = {"from_agent": agent, "to_agent": "bob", "message": "May the release go out?", "schema": schema}
    return {**body, "timeout_seconds": 60, **changes}


def answer_of(agent: str, elicitation_id: str, **changes: object) -> Json:
    """An answer in this agent's name."""
    body = {
        "elicitation_id": elicitation_id,
        "responding_agent": agent,
        "response_type": "accept",
        "data": {"ok": True},
    }
    return {**body, **changes}


def is_problem(heard: Heard, status: int, code: str) -> bool:
    """Whether this is the refusal of this kind; asserts it, so that a test shows what came instead."""
    assert (heard.status, heard.problem["code"]) == (status, code), heard
    return True


class _Warnings(logging.Handler):
    """Keeps the fields of warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[Json] = []

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, dict):
            self.kept.append(record.msg)


@contextmanager
def _warnings() -> Iterator[list[Json]]:
    logger, lines = logging.getLogger("proxy.observe.recorder"), _Warnings()
    logger.addHandler(lines)
    try:
        yield lines.kept
    finally:
        logger.removeHandler(lines)


def write_key_file(folder: Path, ring: KeyRing) -> Path:
    """A key file that the sidecar takes."""
    path = folder / "keys"
    path.touch(mode=0o600)
    path.write_text(write_keys(ring), "utf-8")
    return path


@asynccontextmanager
async def fort(folder: Path, overrides: Mapping[str, str] = NOTHING) -> AsyncIterator[Fort]:
    """A sidecar in which everything is enforced."""
    keys = {agent: key_of(agent) for agent in AGENTS}
    path = await asyncio.to_thread(write_key_file, folder, KeyRing(list(keys.values())))
    given = {**ENFORCED, "signatures.keys_file": str(path), **overrides}
    with _warnings() as warnings:
        async with stand(folder, given) as made:
            tokens = {agent: await made.bridge.token(agent) for agent in AGENTS}
            origin = given.get("signatures.origins", "")
            yield Fort(stand=made, keys=keys, tokens=tokens, warnings=warnings, origin=origin)


@dataclass(slots=True, kw_only=True)
class McpFort:
    """A fort whose agents speak MCP to a server behind it."""

    fort: Fort
    server: McpUpstream

    async def post(self, agent: str, body: bytes, session_id: str = "") -> Heard:
        """One message that this agent signs."""
        signed = self.fort.sign(agent, "POST", "/mcp", body)
        session = {"Mcp-Session-Id": session_id} if session_id else {}
        return await self.fort.house.call("POST", "/mcp", raw=body, headers={**signed.headers, **PLAIN, **session})

    async def open(self, agent: str) -> str:
        """A session of this agent."""
        params = {"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "t"}}
        heard = await self.post(agent, message("initialize", params, id=0))
        assert heard.status == 200, heard
        return heard.headers["Mcp-Session-Id"]

    @asynccontextmanager
    async def is_refused(self, metric: str, *, times: int = 1, **line: str) -> AsyncIterator[None]:
        """As `Fort.is_refused`, and neither has the MCP server heard of it."""
        heard = len(self.server.received)
        async with self.fort.is_refused(metric, times=times, **line):
            yield
        assert len(self.server.received) == heard, self.server.received[heard:]


@asynccontextmanager
async def mcp_fort(folder: Path, overrides: Mapping[str, str] = NOTHING) -> AsyncIterator[McpFort]:
    """A fort before a scripted MCP server."""
    upstream = McpUpstream()
    app = web.Application()
    app.router.add_route("*", "/mcp", upstream.serve)
    async with TestServer(app, host="127.0.0.1") as server:
        url = str(server.make_url("/")).rstrip("/")
        async with fort(folder, {"bridge.mcp_url": url, **overrides}) as made:
            yield McpFort(fort=made, server=upstream)


def error_code_of(heard: Heard) -> object:
    """The code in the JSON-RPC error of a reply."""
    error = fields(heard.json["error"])
    return fields(error["data"])["code"]
