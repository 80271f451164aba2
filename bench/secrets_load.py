"""Calls that carry planted secrets, good ones and bad ones of all kinds, against a sidecar that enforces everything.

What a caller hears of its own call may hold what it sent, so that replies are searched for credentials only; the log,
the documents of the admin port, the metrics and the state file are searched for everything.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from bench.planted_secrets import Search, made_up
from proxy.core.errors import PROBLEM_MEDIA_TYPE
from proxy.downstream.admin_api import OPERATIONS
from tests.support.fort import AGENTS, Fort, answer_of, question_of
from tests.support.house import OPERATOR, VIEWER, Heard
from tests.support.mcp_stand import PLAIN, RESPOND, WAIT, tool
from tests.support.raw_http import connect

CREATE, RESPOND_PATH, STORE = "/elicitation/create", "/elicitation/respond", "/event/store"
_KEPT: Final = frozenset({"question", "schema", "body"})
"""Contents that the state file holds on purpose: questions until they are answered, messages until they are read."""

_READ: Final = [each.document_path for each in OPERATIONS if each.method == "GET" and each.name != "shutdown"]
_CHANGED: Final = [each for each in OPERATIONS if each.method == "POST" and each.name != "shutdown"]


def contents_of(chance: random.Random) -> dict[str, str]:
    """What stands in calls and is no credential."""
    names = ("body", "answer", "question", "schema", "tool argument", "reason")
    return {name: made_up(chance, name.replace(" ", "-")) for name in names}


def credentials_of(chance: random.Random) -> dict[str, str]:
    """What callers show, besides the tokens that are the house's own."""
    names = ("wrong token", "cookie", "api key", "query token")
    made = {name: made_up(chance, name.replace(" ", "-")) for name in names}
    return {**made, "odd query token": made_up(chance, "odd", is_plain=False)}


@dataclass(slots=True)
class Load:
    """Plays calls at one house, and searches what comes back."""

    fort: Fort
    chance: random.Random
    credentials: Mapping[str, str]
    contents: Mapping[str, str]
    replies: Search
    """For credentials."""
    public: Search
    """For everything."""
    calls: int = 0
    asked: list[str] = field(default_factory=list)

    async def play(self) -> None:
        """One call of a kind that chance picks, and the time that it takes."""
        await self.chance.choice(self._kinds())()
        self.calls += 1
        self.fort.stand.clock.advance(self.chance.choice((0.0, 0.1, 1.0)))

    def _kinds(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return (
            *(self._store, self._ask, self._answer, self._refused, self._refused, self._replayed, self._changed),
            *(self._query, self._broken, self._mcp, self._look, self._change, self._garbage, self._hostile_schema),
        )

    def _agent(self) -> str:
        return self.chance.choice(AGENTS)

    def _heard(self, place: str, heard: Heard) -> None:
        is_rpc = b'"jsonrpc"' in heard.body and b'"error"' in heard.body
        if is_rpc or heard.headers.get("Content-Type") == PROBLEM_MEDIA_TYPE:  # else it is the Bridge's own
            self.replies.look(
                f"{place} {heard.status}", f"{dict(heard.headers)}{heard.body.decode('utf-8', 'replace')}"
            )

    def _odd_headers(self) -> dict[str, str]:
        known = self.credentials
        return {
            "Cookie": f"session={known['cookie']}",
            "X-Api-Key": known["api key"],
            "Proxy-Authorization": f"Basic {known['api key']}",
        }

    async def _post(self, place: str, agent: str, target: str, body: object) -> Heard:
        call = self.fort.sign(agent, "POST", target, body)
        headers = {**call.headers, **self._odd_headers()}
        heard = await self.fort.house.call("POST", target, raw=call.body, headers=headers)
        self._heard(place, heard)
        return heard

    async def _store(self) -> None:
        agent = self._agent()
        body = {"event_type": "CUSTOM", "agent_id": agent, "data": {"password": self.contents["body"]}}
        await self._post("store", agent, STORE, body)

    async def _ask(self) -> None:
        schema = {"type": "object", "properties": {"ok": {"type": "string", "title": self.contents["schema"]}}}
        body = question_of("alice", message=self.contents["question"], schema=schema, timeout_seconds=5)
        heard = await self._post("ask", "alice", CREATE, body)
        if heard.status == 200:
            self.asked.append(str(heard.json["elicitation_id"]))

    async def _answer(self) -> None:
        asked = self.chance.choice(self.asked) if self.asked else "elicit_0"
        content = self.chance.choice(({"ok": self.contents["answer"]}, {"ok": 5, "x": self.contents["answer"]}))
        kind = self.chance.choice(("accept", "accept", "decline", "perhaps"))
        await self._post("answer", "bob", RESPOND_PATH, answer_of("bob", asked, data=content, response_type=kind))

    async def _refused(self) -> None:
        """By somebody else, unsigned, or with a token that is none."""
        agent, token = self._agent(), self.chance.choice((*self.fort.tokens.values(), self.credentials["wrong token"]))
        body = orjson.dumps({"event_type": "CUSTOM", "agent_id": "alice", "data": {"x": self.contents["body"]}})
        call = self.fort.sign(agent, "POST", STORE, body, token=token)
        headers = call.headers if self.chance.getrandbits(1) else {"Authorization": f"Bearer {token}"}
        self._heard("refused", await self.fort.house.call("POST", STORE, raw=body, headers=headers))

    async def _replayed(self) -> None:
        call = self.fort.sign(self._agent(), "GET", f"/status?token={self.credentials['query token']}")
        for _ in range(2):
            self._heard("replayed", await self.fort.send(call))

    async def _changed(self) -> None:
        call = self.fort.sign("alice", "POST", STORE, {"agent_id": "alice", "data": {"x": self.contents["body"]}})
        name = self.chance.choice(("Signature", "Signature-Input", "X-Agent-Id", "Content-Digest"))
        value = f"{call.headers[name]}{self.chance.choice(('x', ';', self.credentials['wrong token']))}"
        headers = {**call.headers, name: value}
        self._heard("changed", await self.fort.house.call("POST", STORE, raw=call.body, headers=headers))

    async def _query(self) -> None:
        known = self.credentials
        secret = self.chance.choice((known["query token"], known["odd query token"])).replace("#", "")
        escaped = "".join(f"%{byte:02X}" if byte < 48 or byte > 122 else chr(byte) for byte in secret.encode())
        query = f"agent_id=bob&timeout_seconds={self.chance.choice(('0', 'x', escaped))}&access_token={escaped}"
        target = self.chance.choice((f"/event/wait?{query}", f"/event/query?{query}", f"/nowhere?{query}#{escaped}"))
        call = self.fort.sign("bob", "GET", target.partition("#")[0])
        self._heard("query", await self.fort.house.call("GET", target, headers=call.headers))

    async def _broken(self) -> None:
        raw = f'{{"from_agent":"alice","password":"{self.contents["body"]}",'.encode()
        await self._post("broken", "alice", self.chance.choice((CREATE, RESPOND_PATH, STORE)), raw)
        if not self.chance.getrandbits(2):
            await self.fort.bridge.set(fail_next=2)

    async def _mcp(self) -> None:
        secret = self.contents["tool argument"]
        body = self.chance.choice(
            (
                tool(WAIT, {"agent_id": "bob", "timeout_seconds": 0, "session_token": self.fort.tokens["bob"]}),
                tool(RESPOND, {"elicitation_id": secret, "response_type": "accept", "data": {"ok": secret}}),
                tool("echo", {"password": secret}),
                b"[" + tool(WAIT, {"agent_id": "bob", "x": secret}) + b"]",
                b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"' + secret.encode(),
            )
        )
        call = self.fort.sign(self._agent(), "POST", "/mcp", body)
        self._heard("mcp", await self.fort.house.call("POST", "/mcp", raw=body, headers={**call.headers, **PLAIN}))

    async def _look(self) -> None:
        token = self.chance.choice(("", self.credentials["wrong token"], VIEWER, OPERATOR))
        target = self.chance.choice(_READ).replace("{agent_id}", "bob")
        heard = await self.fort.house.admin("GET", target, token=token)
        self.public.look(
            f"GET {target} {heard.status}", f"{dict(heard.headers)}{heard.body.decode('utf-8', 'replace')}"
        )

    async def _change(self) -> None:
        token = self.chance.choice(("", self.credentials["wrong token"], VIEWER, OPERATOR))
        operation = self.chance.choice(_CHANGED)
        body = self.chance.choice(
            ({"elicitation_percentage": self.contents["reason"]}, {self.contents["reason"]: 1}, {})
        )
        heard = await self.fort.house.admin("POST", operation.document_path, body=body, token=token)
        self._heard(f"POST {operation.document_path}", heard)

    async def _hostile_schema(self) -> None:
        schema = {
            "type": "object",
            "properties": {self.contents["schema"]: {"$ref": f"http://{self.contents['schema']}"}},
        }
        await self._post("hostile schema", "alice", CREATE, question_of("alice", schema=schema))

    async def _garbage(self) -> None:
        head = (
            f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPERATOR}\r\nX: {self.fort.tokens['bob']}\0\r\n\r\n"
        )
        port = self.chance.choice((self.fort.house.port, self.fort.house.bound.admin.port))
        async with asyncio.timeout(10), connect(port) as wire:
            await wire.send(head.encode())
            self.replies.look("no HTTP", repr(await wire.reply()))


def look_into_files(public: Search, folder: Path) -> None:
    """Search the state file and what stands beside it."""
    search = Search({name: secret for name, secret in public.secrets.items() if name not in _KEPT})
    for path in sorted(folder.glob("state.db*")):
        search.look(path.name, path.read_bytes().decode("latin-1"))
    public.add(search)
