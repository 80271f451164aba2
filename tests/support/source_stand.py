"""The Bridge port over an asking MCP server, on a manual clock, and who is told of its questions."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import BridgeFault
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message
from proxy.core.secret import Secret
from proxy.mcp.ask import Reply
from proxy.upstream.bridge_mcp import McpBridge
from proxy.upstream.parked_questions import Watch
from tests.support.asking_server import AskingServer, ServerCall
from tests.support.manual_clock import ManualClock, settle

BOB, CAROL = AgentId("bob"), AgentId("carol")
BOBS, OTHER = Secret("Bearer bobs"), Secret("Bearer other")

PARK_S = 600.0
REQUEST_TIMEOUT_S = 5.0

Wait = asyncio.Task[tuple[Message, ...]]


@dataclass(slots=True)
class SourceStand:
    """A bridge to a server, and who is told of questions."""

    clock: ManualClock
    server: AskingServer
    bridge: McpBridge
    announced: list[Elicitation] = field(default_factory=list)
    withdrawn: list[ElicitationId] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    defects: list[tuple[str, BaseException]] = field(default_factory=list)

    async def wait(self, since: int = 0, hold_s: float = 20, *, secret: Secret = BOBS) -> Wait:
        """Begin a wait of bob's and let everything run that can."""
        # Not in a group, which an error of the wait would end.
        work = self.bridge.wait(BOB, secret, since=since, hold_s=hold_s)
        self.waits.append(asyncio.get_running_loop().create_task(work))
        await settle()
        return self.waits[-1]

    async def asked(self, since: int = 0) -> tuple[Wait, ServerCall, "asyncio.Task[Reply]", ElicitationId]:
        """A wait in whose call the server has asked something."""
        waiting = await self.wait(since)
        call = self.server.calls[-1]
        asking = call.ask()
        await settle()
        return waiting, call, asking, self.announced[-1].elicitation_id

    async def give(self, elicitation_id: ElicitationId, kind: AnswerKind = AnswerKind.ACCEPT) -> None:
        """Bob's answer."""
        content = {"colour": "red"} if kind is AnswerKind.ACCEPT else None
        answer = Answer(elicitation_id=elicitation_id, kind=kind, content=content)
        await self.bridge.respond(answer, BOB, BOBS)
        await settle()

    def defect(self, where: str, error: BaseException) -> None:
        """A mistake of our own in a call."""
        self.defects.append((where, error))

    async def status(self, elicitation_id: ElicitationId) -> BridgeStatus | None:
        """How a question stands."""
        return await self.bridge.status(elicitation_id, BOBS)


@asynccontextmanager
async def source_stand(
    server: AskingServer | None = None, *, max_parked_calls: int = 100, tells: bool = True
) -> AsyncIterator[SourceStand]:
    """Everything of it has ended with the block."""
    clock, server, numbers = ManualClock(), server or AskingServer(), itertools.count(1)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:

        def spawn(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
            return group.create_task(work, name=name)

        bridge = McpBridge(
            server,
            tool="wait_tool",
            clock=clock,
            spawn=spawn,
            chance=lambda size: next(numbers).to_bytes(size),
            park_s=PARK_S,
            max_parked_calls=max_parked_calls,
            request_timeout_s=REQUEST_TIMEOUT_S,
        )
        stand = SourceStand(clock, server, bridge)
        if tells:
            bridge.tell(Watch(announced=stand.announced.append, withdrawn=stand.withdrawn.append, defect=stand.defect))
        yield stand
        await bridge.close()
        await settle()
        for waiting in stand.waits:
            waiting.cancel()
            await asyncio.wait({waiting})
            assert waiting.cancelled() or isinstance(waiting.exception(), BridgeFault | None)
        assert all(call.is_over for call in server.calls)
    assert clock.waiting() == []


def sequences(task: Wait) -> list[int]:
    """What a wait that has ended brought."""
    return [message.sequence for message in task.result()]
