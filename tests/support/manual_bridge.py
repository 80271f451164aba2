"""A development Bridge under test: its HTTP side, its inside, and a clock that only the test moves."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
import orjson
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from proxy.devbridge.app import build_app
from proxy.devbridge.door import BRIDGE
from proxy.devbridge.pace import Pace
from proxy.devbridge.settings import Settings
from proxy.devbridge.state import BridgeState

START_S = 1_800_000_000.0
"""Where the manual clock begins, seconds since the epoch."""

Json = dict[str, object]


class ManualPace(Pace):
    """Time stands still until the test moves it; whoever sleeps is woken when its time has come."""

    __slots__ = ("_fell_asleep", "_now", "_sleepers", "step_s")

    def __init__(self) -> None:
        self.step_s = 0.0
        """How far the Bridge's wall clock was set forward."""
        self._now = START_S
        self._sleepers: list[tuple[float, asyncio.Event]] = []
        self._fell_asleep = asyncio.Event()

    def wall_s(self) -> float:
        return self._now + self.step_s

    def monotonic_s(self) -> float:
        return self._now

    def monotonic_ns(self) -> int:
        return int(self._now * 1e9)

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self._now + seconds, woken))
        self._fell_asleep.set()
        await woken.wait()

    def advance(self, seconds: float) -> None:
        """Move the clock, and wake whoever is due."""
        self._now += seconds
        for due, woken in self._sleepers:
            if due <= self._now:
                woken.set()
        self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper[1].is_set()]

    async def until_sleeping(self, count: int = 1) -> None:
        """Let others run until so many sleep."""
        async with asyncio.timeout(5):
            while len(self._sleepers) < count:
                self._fell_asleep.clear()
                await self._fell_asleep.wait()


@dataclass(frozen=True, slots=True)
class ManualBridge:
    """One Bridge, listening on a free port of the loopback."""

    client: TestClient[web.Request, web.Application]
    state: BridgeState
    pace: ManualPace

    async def call(
        self, method: str, path: str, *, token: str = "", body: object = None, raw: bytes | None = None
    ) -> tuple[int, Json]:
        """One request; the status and the JSON of the answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        sent = raw if raw is not None or body is None else orjson.dumps(body)
        async with asyncio.timeout(5):
            reply = await self.client.request(method, path, headers=headers, data=sent)
            answer: Json = orjson.loads(await reply.read())
        return reply.status, answer

    async def token(self, agent_id: str) -> str:
        """A fresh token of an agent."""
        body = {"agent_id": agent_id, "ip_address": "127.0.0.1", "user_agent": "test"}
        status, answer = await self.call("POST", "/session/create", body=body)
        assert status == 200
        return str(answer["session_token"])

    async def set(self, **switches: object) -> None:
        """Change switches by the door for it."""
        status, _ = await self.call("POST", "/dev/switches", body=switches)
        assert status == 200

    async def ask(self, token: str, **changes: object) -> tuple[int, Json]:
        """A question from alice to bob."""
        body: Mapping[str, object] = {
            "from_agent": "alice",
            "to_agent": "bob",
            "message": "Which colour?",
            "schema": {"type": "object", "required": ["colour"]},
        }
        return await self.call("POST", "/elicitation/create", token=token, body={**body, **changes})

    async def answer(self, token: str, elicitation_id: object, **changes: object) -> tuple[int, Json]:
        """Bob's answer."""
        body: Mapping[str, object] = {
            "elicitation_id": elicitation_id,
            "responding_agent": "bob",
            "response_type": "accept",
            "data": {"colour": "red"},
        }
        return await self.call("POST", "/elicitation/respond", token=token, body={**body, **changes})


async def start_bridge(settings: Settings) -> ManualBridge:
    """Start a Bridge; the caller closes its client."""
    pace = ManualPace()
    app = build_app(settings, pace=pace)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(access_log=None, shutdown_timeout=0.01)
    client = TestClient(server, cookie_jar=aiohttp.DummyCookieJar())
    return ManualBridge(client, app[BRIDGE], pace)
