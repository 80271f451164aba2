"""The REST half of a Bridge's MCP server: what its tools do, whatever SDK offers them.

It behaves as the real one was seen to: it has one Bridge session of its own, as the agent `mcp_server`, opened at the
first need; errors of the Bridge come back as text, not as tool errors; a wait leaves a refused session as it is, every
other refused call gives it up, and then it stays without one until the process ends. Source: BRIDGE.md 3.

With `asks` it is a Bridge of a later kind: a question to the waiting agent goes to the MCP client itself, during the
wait, and the answer is sent to the Bridge in the agent's name, over a session opened for that.
"""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

try:
    import httpx2 as httpx
except ModuleNotFoundError:  # SDKs before 2.0 bring the older one
    import httpx

Json = Mapping[str, object]

SPARE_S = 10.0
"""How much longer than its own time-out a wait may take, seconds. Source: BRIDGE.md 3."""

CALL_S = 30.0
"""Longest of the other calls, seconds. Source: BRIDGE.md 3."""

LOOK_S = 0.05
"""Pause between two looks for questions, seconds. Source: ours; the tests should not wait for it."""


class NoSessionError(Exception):
    """There is no Bridge session, and there will be none."""


def _untold(**_fields: object) -> None:
    pass


@dataclass(slots=True)
class Bridge:
    """The REST Bridge, as an agent of its own sees it."""

    base: str
    agent: str
    tokens: dict[str, str] = field(default_factory=dict)
    spoilt: bool = False
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=CALL_S, trust_env=False))
    tell: Callable[..., None] = _untold
    """Hears of each answer of a client before the Bridge does."""

    async def wait(self, agent_id: str, timeout_seconds: int, since_sequence: int | None) -> Json:
        """The legacy wait; a refusal leaves the session as it is."""
        query = {"agent_id": agent_id, "timeout_seconds": timeout_seconds}
        if since_sequence is not None:
            query["since_sequence"] = since_sequence
        reply = await self._send("GET", "/event/wait", params=query, timeout=timeout_seconds + SPARE_S)
        return reply.json() if reply.status_code == 200 else {"error": f"Bridge returned status {reply.status_code}"}

    async def call(self, method: str, path: str, **how: object) -> Json:
        """Any other call; a refusal gives the session up."""
        reply = await self._send(method, path, **how)
        if reply.status_code == 403:
            self.tokens.clear()
            self.spoilt = True
        return reply.json() if reply.status_code == 200 else _told(reply)

    async def answer(self, question: Json, agent_id: str, action: str, content: Json | None) -> Json:
        """Answer a question in the name of the agent that was asked; the Bridge lets only the asker cancel."""
        self.tell(kind="answered", id=question["id"], action=action)
        kind = "decline" if action == "cancel" else action
        body = {"elicitation_id": question["id"], "responding_agent": agent_id, "response_type": kind}
        if content is not None:
            body["data"] = content
        reply = await self._send("POST", "/elicitation/respond", json=body, agent=agent_id)
        return reply.json() if reply.status_code == 200 else _told(reply)

    async def pending(self, agent_id: str) -> list[Json]:
        """The open questions to an agent; none where the Bridge knows no questions."""
        reply = await self._send("GET", "/elicitation/pending", params={"agent_id": agent_id})
        return reply.json()["elicitations"] if reply.status_code == 200 else []

    async def wait_or_question(self, agent_id: str, deadline: float, since: int | None) -> Json | list[Json]:
        """The reply of a wait, or questions to the agent, whichever comes first; the other is given up."""
        found: list[Json | list[Json]] = []
        remaining = max(1, math.ceil(deadline - time.time()))

        async def waiting() -> None:
            found.append(await self.wait(agent_id, remaining, since))
            looking_task.cancel()

        async def looking() -> None:
            questions = await self.pending(agent_id)
            while not questions:
                await asyncio.sleep(LOOK_S)
                questions = await self.pending(agent_id)
            found.append(questions)
            waiting_task.cancel()

        async with asyncio.TaskGroup() as group:
            looking_task = group.create_task(looking())
            waiting_task = group.create_task(waiting())
        return found[0]

    async def _send(self, method: str, path: str, *, agent: str | None = None, **how: object) -> httpx.Response:
        token = await self._token(agent or self.agent)
        return await self.http.request(method, self.base + path, headers={"Authorization": f"Bearer {token}"}, **how)

    async def _token(self, agent: str) -> str:
        if self.spoilt:
            raise NoSessionError("Could not establish session with Bridge")
        if agent not in self.tokens:
            body = {"agent_id": agent, "ip_address": "127.0.0.1", "user_agent": "mcp-server-peer"}
            reply = await self.http.post(self.base + "/session/create", json=body)
            self.tokens[agent] = reply.raise_for_status().json()["session_token"]
        return self.tokens[agent]


def _told(reply: httpx.Response) -> Json:
    return {"error": f"Bridge returned status {reply.status_code}: {reply.text}"}


async def as_text(work: Awaitable[Json]) -> str:
    """What a tool returns: the Bridge's JSON, or the error, as indented text."""
    try:
        return json.dumps(await work, indent=2)
    except (NoSessionError, httpx.HTTPError) as error:
        return json.dumps({"error": str(error) or type(error).__name__}, indent=2)


Ask = Callable[[Json], Awaitable[tuple[str, Json | None]]]
"""Puts one question to the MCP client; the action and the content of an accept."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools that need nothing of an SDK."""

    bridge: Bridge

    async def lighthouse_wait_for_messages(
        self, agent_id: str, timeout_seconds: int = 60, since_sequence: int | None = None
    ) -> str:
        """Wait for new messages from other agents."""
        return await as_text(self.bridge.wait(agent_id, timeout_seconds, since_sequence))

    async def lighthouse_store_event(
        self, event_type: str, event_data: dict, agent_id: str, metadata: dict | None = None
    ) -> str:
        """Store an event."""
        body = {"event_type": event_type, "data": event_data, "agent_id": agent_id, "metadata": metadata or {}}
        return await as_text(self.bridge.call("POST", "/event/store", json=body))

    async def lighthouse_elicit_information(
        self, *, to_agent: str, message: str, schema: dict, timeout_seconds: int = 30, metadata: dict | None = None
    ) -> str:
        """Ask another agent."""
        body = {"from_agent": self.bridge.agent, "to_agent": to_agent, "message": message, "schema": schema}
        body |= {"timeout_seconds": timeout_seconds, "metadata": metadata}
        return await as_text(self.bridge.call("POST", "/elicitation/create", json=body))

    async def lighthouse_check_elicitations(self, agent_id: str | None = None) -> str:
        """List open questions."""
        query = {"agent_id": agent_id or self.bridge.agent}
        return await as_text(self.bridge.call("GET", "/elicitation/pending", params=query))

    async def lighthouse_respond_to_elicitation(
        self, elicitation_id: str, response_type: str, data: dict | None = None, metadata: dict | None = None
    ) -> str:
        """Answer a question."""
        body = {"elicitation_id": elicitation_id, "responding_agent": self.bridge.agent}
        body |= {"response_type": response_type, "data": data, "metadata": metadata}
        return await as_text(self.bridge.call("POST", "/elicitation/respond", json=body))

    async def lighthouse_health_check(self) -> str:
        """Tell whether the Bridge is there."""
        return await as_text(self.bridge.call("GET", "/health"))

    async def wait_and_ask(self, agent_id: str, timeout_seconds: int, *, since: int | None, ask: Ask) -> Json:
        """Wait, and put each question that comes up to the client; then go on waiting."""
        deadline, asked = time.time() + timeout_seconds, []
        while isinstance(found := await self.bridge.wait_or_question(agent_id, deadline, since), list):
            for question in found:
                action, content = await ask(question)
                told = await self.bridge.answer(question, agent_id, action, content)
                asked.append({"id": question["id"], "action": action, "told": told})
        return {**found, "asked": asked}
