"""A complete sidecar on free loopback ports, in front of a development Bridge that keeps the same time."""

import asyncio
import io
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import aiohttp
import orjson
from yarl import URL

from proxy.config.load import load_config
from proxy.devbridge.settings import Settings, Switches
from proxy.ports import Alarm, Clock
from proxy.wiring.keep import Bound, keep_house
from tests.support.manual_bridge import Json, ManualBridge, ManualPace, start_bridge

OPERATOR = "operator-token-of-the-test"
VIEWER = "viewer-token-of-the-test"

ON: Final[Mapping[str, str]] = MappingProxyType(
    {"flags.elicitation_enabled": "true", "flags.elicitation_percentage": "100"}
)
"""Everybody is in the elicitation cohort."""

OFF: Final[Mapping[str, str]] = MappingProxyType({"flags.elicitation_enabled": "false"})
"""Everybody is in the legacy cohort, as by default."""

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(slots=True)
class _Ring:
    at: float
    ring: Callable[[], None]
    is_off: bool = False

    def cancel(self) -> None:
        self.is_off = True

    def sound(self) -> None:
        if not self.is_off:
            self.ring()


class SharedClock:
    """The Clock port on the manual time of a development Bridge, so that both sides agree what time it is."""

    def __init__(self, pace: ManualPace) -> None:
        self.machine_ahead_s = 0.0
        """How far the clock of the sidecar's machine is ahead of the Bridge's."""
        self._pace = pace
        self._rings: list[_Ring] = []

    def now(self) -> float:
        return self._pace.monotonic_s()

    def wall(self) -> float:
        return self._pace.wall_s() + self.machine_ahead_s

    def alarm(self, at: float, ring: Callable[[], None]) -> Alarm:
        made = _Ring(at, ring)
        if at <= self.now():
            asyncio.get_running_loop().call_soon(made.sound)
        else:
            self._rings.append(made)
        return made

    def advance(self, seconds: float) -> None:
        """Move the time of both; whoever is due on either side is woken, the sidecar first."""
        self._pace.advance(0)
        due_at = self.now() + seconds
        due = sorted((ring for ring in self._rings if ring.at <= due_at and not ring.is_off), key=lambda r: r.at)
        self._rings = [ring for ring in self._rings if ring.at > due_at and not ring.is_off]
        self._pace.advance(seconds)
        for ring in due:
            ring.sound()


@dataclass(frozen=True, slots=True)
class Heard:
    """One reply: its body as it came, without framing."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        """The body, which must be a JSON object."""
        return fields(orjson.loads(self.body))

    @property
    def items(self) -> list[Json]:
        """What a wait brought."""
        items = objects(self.json["events"])
        assert self.json["count"] == len(items)
        return items

    @property
    def problem(self) -> Json:
        """The body, which must be a problem document."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        assert self.json["status"] == self.status
        return self.json


@dataclass(slots=True, kw_only=True)
class House:
    """One running sidecar and the ways to it."""

    session: aiohttp.ClientSession
    bound: Bound
    lines: list[Json] = field(default_factory=list)
    """Every outcome line so far, calls of the admin port left out."""

    @property
    def port(self) -> int:
        """The data port."""
        return self.bound.data.port

    async def call(  # one keyword per part of a request
        self,
        method: str,
        target: str,
        *,
        token: str = "",
        body: object = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> Heard:
        """One call on the data port (or on `port`); the target goes over the wire as it is written."""
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {token}"
        payload = raw if raw is not None or body is None else orjson.dumps(body)
        url = URL(f"http://127.0.0.1:{port or self.port}{target}", encoded=True)
        async with (
            asyncio.timeout(10),
            # A file, because aiohttp warns of large bodies that are bytes.
            self.session.request(
                method, url, headers=sent, data=payload and io.BytesIO(payload), allow_redirects=False
            ) as reply,
        ):
            return Heard(reply.status, reply.headers, await reply.read())

    async def admin(self, method: str, target: str, *, body: object = None, token: str = OPERATOR) -> Heard:
        """One call on the admin port."""
        return await self.call(method, target, token=token, body=body, port=self.bound.admin.port)

    async def flags(self, **changes: object) -> Json:
        """Change flags through the admin port."""
        heard = await self.admin("POST", "/feature_flags", body=changes)
        assert heard.status == 200, heard
        return heard.json

    async def health(self) -> Json:
        """The health document."""
        return (await self.admin("GET", "/health")).json

    async def metrics(self) -> dict[str, float]:
        """Every sample of the exposition by its name and labels."""
        text = (await self.admin("GET", "/metrics")).body.decode()
        samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    async def until_parked(self, count: int) -> None:
        """Wait until so many waits are parked."""

        async def are_parked() -> bool:
            return (await self.health())["parked_waits"] == count

        await until_told(are_parked)


@dataclass(slots=True, kw_only=True)
class Stand:
    """A house, the Bridge behind it, and the time of both."""

    house: House
    bridge: ManualBridge
    clock: SharedClock

    def arrived(self, call: str) -> int:
        """How many requests of this method and path pattern reached the Bridge so far."""
        return self.bridge.state.arrived[call]

    def wait(self, agent_id: str, token: str, **query: object) -> "asyncio.Task[Heard]":
        """Begin one legacy wait through the house."""
        text = "".join(f"&{name}={value}" for name, value in query.items())
        call = self.house.call("GET", f"/event/wait?agent_id={agent_id}{text}", token=token)
        return asyncio.get_running_loop().create_task(call)

    async def parked(self, agent_id: str, token: str, **query: object) -> "asyncio.Task[Heard]":
        """Begin one wait that will be parked on the elicitation way, and return when it is and the token is known."""
        before = int(str((await self.house.health())["parked_waits"]))
        polls = self.bridge.state.parked_waits
        task = self.wait(agent_id, token, since_sequence=len(self.bridge.state.log), **query)
        await self.house.until_parked(before + 1)
        await until(lambda: self.bridge.state.parked_waits > 0 and self.bridge.state.parked_waits >= polls)
        await until(lambda: self.arrived("GET /elicitation/pending") > 0)
        return task

    async def ask(self, token: str, **changes: object) -> Json:
        """A question from alice to bob through the house."""
        body = {
            "from_agent": "alice",
            "to_agent": "bob",
            "message": "Which colour?",
            "schema": {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]},
            "timeout_seconds": 60,
        }
        heard = await self.house.call("POST", "/elicitation/create", token=token, body={**body, **changes})
        assert heard.status == 200, heard
        return heard.json

    async def store(self, token: str, data: Mapping[str, object], *, agent_id: str = "bob") -> Heard:
        """An event of an agent through the house."""
        body = {"event_type": "CUSTOM", "agent_id": agent_id, "data": data}
        return await self.house.call("POST", "/event/store", token=token, body=body)

    async def respond(self, token: str, elicitation_id: object, **changes: object) -> Heard:
        """Bob's answer by the Bridge's own call, through the house."""
        body: dict[str, object] = {
            "elicitation_id": elicitation_id,
            "responding_agent": "bob",
            "response_type": "accept",
            "data": {"colour": "red"},
        }
        return await self.house.call("POST", "/elicitation/respond", token=token, body={**body, **changes})

    async def status(self, token: str, elicitation_id: object) -> object:
        """How a question stands at the Bridge itself."""
        return (await self.bridge.call("GET", f"/elicitation/status/{elicitation_id}", token=token))[1]["status"]


def objects(value: object) -> list[Json]:
    """A JSON array of objects."""
    assert isinstance(value, list), value
    return [fields(item) for item in value]


def fields(value: object) -> Json:
    """A JSON object."""
    assert isinstance(value, dict), value
    return value


async def until(holds: Callable[[], bool]) -> None:
    """Let others run until the condition holds, five seconds at most."""

    async def held() -> bool:
        return holds()

    await until_told(held)


async def until_told(holds: Callable[[], Awaitable[bool]]) -> None:
    """The same for a condition that has to be asked for."""
    async with asyncio.timeout(5):
        while not await holds():  # noqa: ASYNC110  # what is looked at belongs to others and has no event
            await asyncio.sleep(0)


class _Lines(logging.Handler):
    """Keeps the fields of outcome lines."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.kept: list[Json] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.msg
        if isinstance(line, dict) and line.get("door", "http_admin") != "http_admin":
            self.kept.append(line)


@contextmanager
def _listening() -> Iterator[list[Json]]:
    """Keep the outcome lines of all levels while the block runs."""
    logger, lines = logging.getLogger("proxy.observe.recorder"), _Lines()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(lines)
    try:
        yield lines.kept
    finally:
        logger.removeHandler(lines)
        logger.setLevel(level)


def write_tokens(folder: Path) -> Path:
    """A token file with one operator and one viewer."""
    path = folder / "tokens"
    path.write_text(f"operator {OPERATOR}\nviewer {VIEWER}\n", "utf-8")
    path.chmod(0o600)
    return path


@asynccontextmanager
async def house(
    bridge_url: str, overrides: Mapping[str, str] = NOTHING, *, clock: Clock | None = None
) -> AsyncIterator[House]:
    """A running sidecar; `overrides` are configuration keys and their texts."""
    given = {
        "listen.data": "127.0.0.1:0",
        "listen.admin": "127.0.0.1:0",
        "bridge.url": bridge_url,
        "state.url": "memory:",
        **overrides,
    }
    loaded = load_config(None, env={}, overrides=given)
    stop = asyncio.Event()
    bound: asyncio.Future[Bound] = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.TaskGroup() as group, _client() as session:
            kept = group.create_task(keep_house(loaded, ready=bound.set_result, stop=stop, clock=clock))
            with _listening() as lines:
                async with asyncio.timeout(5):
                    where = await bound
                try:
                    yield House(session=session, bound=where, lines=lines)
                finally:
                    stop.set()
                    async with asyncio.timeout(10):
                        # Its error, if any, comes out of the group, once.
                        await asyncio.wait([kept])
    except ExceptionGroup as found:
        if len(found.exceptions) == 1:
            raise found.exceptions[0] from None
        raise


def _client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
    )


@asynccontextmanager
async def stand(
    folder: Path,
    overrides: Mapping[str, str] = NOTHING,
    *,
    flags: Mapping[str, str] = ON,
    switches: Switches | None = None,
    ahead_s: float = 0.0,
) -> AsyncIterator[Stand]:
    """A house with an operator, before a Bridge; everybody is in the elicitation cohort unless `flags` say else.

    `ahead_s` is how far the clock of its machine is ahead.
    """
    bridge = await start_bridge(Settings(switches=switches or Switches()))
    clock = SharedClock(bridge.pace)
    clock.machine_ahead_s = ahead_s
    url = str(bridge.client.make_url("/")).rstrip("/")
    token_file = await asyncio.to_thread(write_tokens, folder)
    given = {**flags, **overrides, "admin.token_file": os.fspath(token_file)}
    try:
        async with house(url, given, clock=clock) as made:
            yield Stand(house=made, bridge=bridge, clock=clock)
    finally:
        await bridge.client.close()
