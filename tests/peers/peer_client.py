"""What all MCP client peers written in Python share: the plan they are given and the lines they print.

A client peer is a plain script, run by the Python of its own environment. With one argument, a plan in JSON, it is one
client. Without, it hosts many, which saves their start: each line of standard input is {"run": NAME, "plan": {...}} to
begin one, {"run": NAME, "do": ...} a step for it, {"run": NAME, "end": true} no more steps, or {"run": NAME, "drop":
true} to leave in the middle of everything. Clients run side by side; the end of standard input ends them all.

A plan has

    url         address of a server (streamable HTTP, or with `sse` HTTP+SSE where a client knows it), or
    stdio       a command line to launch as a server
    headers     HTTP headers to send along
    mode        auto, legacy or 2026-07-28; only for clients that speak both eras
    answer      accept, decline, cancel, never (asked, and silent), or null: no callback, so nothing is declared
    content     what `accept` carries; null fills each field of the schema by its type
    answer_after_s, timeout_s    seconds before answering; time-out of each call, null for the SDK's own
    calls       steps taken one after the other
    interactive then take more steps as they come, each begun at once: without a host from standard input

A step is {"do": "call", "tool", "arguments", "timeout_s", "progress", "tag"}, {"do": "list", "tag"}, {"do": "answer",
"answer", "content"} for later questions, or {"do": "cancel", "of"} with the tag of a call. Each thing that happens is
one line of JSON on standard output with its `kind` and, in a host, its `run`: connected, asked, heard, tools, result,
error, and with `over` at the end of a client closed, failed or dropped. `seconds` counts from the beginning of the
step, for `connected` and `closed` from that of the client. The clients for Node do the same.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Protocol

Json = Mapping[str, object]

TEXT_OF_FORMAT = {"email": "zed@example.org", "uri": "https://example.org/zed", "date": "2026-01-31"}
LAST_WORDS = 300
"""Longest shown text of a failure, characters."""

LONGEST_LINE = 2**24
"""Longest line of standard input, bytes."""


class Session(Protocol):
    """What a script makes of its SDK's session."""

    async def call(self, step: Json, timeout_s: float | None) -> Json:
        """Call a tool: is_error, text and structured of what came back."""

    async def tools(self) -> list[Json]:
        """The tools as they came."""


@dataclass(slots=True)
class Client:
    """One client at work on its plan."""

    plan: dict[str, object]
    name: str | None = None
    """Its name in a host."""
    started: float = field(default_factory=time.monotonic)
    running: dict[object, asyncio.Task[None]] = field(default_factory=dict)
    steps: asyncio.Queue[Json | None] = field(default_factory=asyncio.Queue)
    """Steps that come later; None ends them."""

    def say(self, kind: str, **fields: object) -> None:
        """Print one line."""
        named = {"kind": kind} if self.name is None else {"kind": kind, "run": self.name}
        sys.stdout.write(json.dumps(named | fields, default=str) + "\n")
        sys.stdout.flush()

    @property
    def answers(self) -> bool:
        """Whether an elicitation callback is to be given to the SDK."""
        return self.plan.get("answer") is not None

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers to send along."""
        return dict(self.plan.get("headers") or {})

    def connected(self, distribution: str, revision: object, server: object) -> None:
        """Tell that the handshake is over."""
        sdk = f"{distribution} {version(distribution)}"
        self.say("connected", sdk=sdk, revision=str(revision), server=server, seconds=self._seconds(self.started))

    async def asked(self, message: str, schema: Json | None, **more: object) -> tuple[str, Json | None]:
        """Answer one question as planned: an action and the content of an accept."""
        answer, content = str(self.plan["answer"]), self.plan.get("content")
        self.say("asked", message=message, schema=schema, answer=answer, **more)
        if answer == "never":
            await asyncio.Event().wait()
        await asyncio.sleep(float(self.plan.get("answer_after_s") or 0))
        if answer != "accept":
            return answer, None
        return answer, None if schema is None else filled(schema) if content is None else content

    def heard(self, method: str, params: object) -> None:
        """Tell of a notification."""
        self.say("heard", method=method, params=params)

    async def drive(self, session: Session) -> None:
        """Take all steps of the plan, then those that come."""
        for step in self.plan.get("calls") or []:
            await self._take(session, step)
        if not self.plan.get("interactive"):
            return
        async with asyncio.TaskGroup() as group:
            while (step := await self.steps.get()) is not None:
                self.running[step.get("tag")] = group.create_task(self._take(session, step))
            for task in self.running.values():
                task.cancel()

    async def _take(self, session: Session, step: Json) -> None:
        begun, tag, tool = time.monotonic(), step.get("tag"), step.get("tool")
        try:
            if step["do"] == "answer":
                self.plan |= {"answer": step["answer"], "content": step.get("content")}
            elif step["do"] == "cancel":
                self.running[step["of"]].cancel()
            elif step["do"] == "list":
                self.say("tools", tag=tag, tools=await session.tools(), seconds=self._seconds(begun))
            else:
                timeout_s = step.get("timeout_s") or self.plan.get("timeout_s")
                outcome = await session.call(step, None if timeout_s is None else float(timeout_s))
                self.say("result", tag=tag, tool=tool, **outcome, seconds=self._seconds(begun))
        except asyncio.CancelledError:
            self.say("error", tag=tag, tool=tool, error="Cancelled", seconds=self._seconds(begun))
            raise
        except Exception as error:  # noqa: BLE001  whatever an SDK raises is what the test wants to see
            self.say("error", tag=tag, tool=tool, **_told(error), seconds=self._seconds(begun))

    @staticmethod
    def _seconds(begun: float) -> float:
        return round(time.monotonic() - begun, 4)


def _told(error: BaseException) -> Json:
    """Type, code and message of a failure; the first one inside of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    inner = getattr(error, "error", error)
    code, data = getattr(inner, "code", None), getattr(inner, "data", None)
    message = getattr(inner, "message", None) or str(error)
    return {"error": type(error).__name__, "code": code, "message": str(message)[:LAST_WORDS], "data": data}


def filled(schema: Json) -> dict[str, object]:
    """An answer that fits a flat schema."""
    return {name: _value(name, sub) for name, sub in (schema.get("properties") or {}).items()}


def _value(name: str, schema: Json) -> object:
    if "default" in schema:
        return schema["default"]
    if options := schema.get("enum") or [option["const"] for option in schema.get("oneOf", ())]:
        return options[0]
    match schema.get("type"):
        case "boolean":
            return True
        case "integer" | "number":
            return schema.get("minimum", 7)
        case "array":
            items = schema["items"]
            return [(items.get("enum") or [option["const"] for option in items["anyOf"]])[0]]
        case _:
            return TEXT_OF_FORMAT.get(schema.get("format"), f"zed-{name}")


def outcome(result: object) -> Json:
    """A tool's result; names are snake case in newer SDKs and camel case in older ones."""
    dumped = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    texts = [item["text"] for item in dumped.get("content", ()) if item.get("type") == "text"]
    structured = dumped.get("structuredContent")
    return {"is_error": bool(dumped.get("isError")), "text": texts, "structured": structured}


async def unheard(_done: float, _total: float | None, _message: str | None) -> None:
    """A progress callback, so that the SDK sends a token; the notifications are heard as all others are."""


Work = Callable[[Client], Awaitable[None]]


async def _one(client: Client, work: Work) -> bool:
    """Run one client to its end; whether it could connect."""
    try:
        await work(client)
    except asyncio.CancelledError:
        client.say("dropped", over=True)
        raise
    except Exception as error:  # noqa: BLE001  a connection that fails is an outcome, too
        client.say("failed", **_told(error), over=True)
        return False
    client.say("closed", seconds=round(time.monotonic() - client.started, 4), over=True)
    return True


async def _lines() -> AsyncIterator[dict[str, object]]:
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


async def _alone(client: Client, work: Work) -> bool:
    async def feed() -> None:
        async for step in _lines():
            client.steps.put_nowait(step)
        client.steps.put_nowait(None)

    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(feed()) if client.plan.get("interactive") else None
        is_connected = await _one(client, work)
        if feeding is not None:
            feeding.cancel()
    return is_connected


async def _host(work: Work) -> None:
    clients: dict[str, tuple[Client, asyncio.Task[bool]]] = {}
    async with asyncio.TaskGroup() as group:
        async for line in _lines():
            name = str(line.pop("run"))
            if "plan" in line:
                client = Client(line["plan"], name)
                clients[name] = client, group.create_task(_one(client, work))
            elif line.get("drop"):
                clients[name][1].cancel()
            else:
                clients[name][0].steps.put_nowait(None if line.get("end") else line)
        for _, task in clients.values():
            task.cancel()


def run(work: Work) -> None:
    """Be one client by the plan on the command line, or host those of standard input."""
    if len(sys.argv) > 1:
        sys.exit(0 if asyncio.run(_alone(Client(json.loads(sys.argv[1])), work)) else 1)
    asyncio.run(_host(work))
