"""Calls that are parked at a scripted handshake server, round by round on a manual clock."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from proxy.flows.parked_call import DownCall
from proxy.flows.parked_calls import Asking, Finished, ParkedCalls, Turn
from proxy.mcp.calling import OnAsk, OnNote, Outgoing
from proxy.mcp.enveloped import Enveloped
from proxy.mcp.jsonrpc import Response
from proxy.mcp.revisions import Mode
from proxy.ports import ExchangeStore
from tests.support.down_stand import OldServer, Script, answered, ask, parked_calls, response
from tests.support.fake_recorder import FakeRecorder
from tests.support.manual_clock import ManualClock

BOTH: Final = frozenset(Mode)


def accept(name: str = "ann") -> bytes:
    """The answer of somebody who accepts."""
    return json.dumps({"action": "accept", "content": {"name": name}}).encode()


@dataclass(slots=True, kw_only=True)
class ParkedStand:
    """The flow before a scripted server."""

    calls: ParkedCalls
    server: OldServer
    clock: ManualClock
    recorder: FakeRecorder
    notes: list[bytes] = field(default_factory=list)

    def call(self, state: str | None = None, /, **changes: object) -> DownCall:
        """One round; `changes` are fields of the request, and `principal`."""
        principal = str(changes.pop("principal", ""))
        asked: dict[str, object] = {
            "id": 1,
            "method": "tools/call",
            "name": "t",
            "params": b'{"name":"t"}',
            "modes": BOTH,
            "client_name": "c",
            "log_level": "",
            "progress_token": None,
            "answers": {},
            "digest": b"d",
            **changes,
        }
        read = Enveloped(state=state, **asked)  # type: ignore[arg-type]  # a test says what it likes

        async def note(message: bytes) -> None:
            self.notes.append(message)

        outgoing = Outgoing(method=read.method, params=read.params, principal=principal, modes=read.modes)
        return DownCall(asked=read, outgoing=outgoing, on_note=note)

    async def serve(self, state: str | None = None, /, **changes: object) -> Turn:
        """One round to its end."""
        async with asyncio.timeout(5):
            return await self.calls.serve(self.call(state, **changes))

    async def asked(self, state: str | None = None, /, **changes: object) -> Asking:
        """One round that ends with questions."""
        turn = await self.serve(state, **changes)
        assert isinstance(turn, Asking), turn
        return turn

    async def told(self, state: str | None = None, /, **changes: object) -> str:
        """One round that ends with the text of a tool."""
        turn = await self.serve(state, **changes)
        assert isinstance(turn, Finished), turn
        return str(json.loads(turn.response.result or b"")["content"][0]["text"])


@asynccontextmanager
async def parked_stand(
    store: ExchangeStore | None = None, *, clock: ManualClock | None = None, max_parked: int = 2
) -> AsyncIterator[ParkedStand]:
    """The flow alone, before a scripted server."""
    time, recorder, server = clock or ManualClock(), FakeRecorder(), OldServer()
    async with parked_calls(server, time, recorder=recorder, store=store, max_parked=max_parked) as calls:
        yield ParkedStand(calls=calls, server=server, clock=time, recorder=recorder)


def then(gate: asyncio.Event, script: Script) -> Script:
    """The same, but its response waits."""

    async def gated(call: Outgoing, on_ask: OnAsk, on_note: OnNote) -> Response:
        found = await script(call, on_ask, on_note)
        await gate.wait()
        return found

    return gated


def tools(*listed: Mapping[str, object], after: Script | None = None) -> Script:
    """A server that lists these tools, one on each page."""

    async def script(call: Outgoing, on_ask: OnAsk, on_note: OnNote) -> Response:
        if call.method != "tools/list":
            assert after is not None
            return await after(call, on_ask, on_note)
        assert answered(await on_ask(ask())) == "CannotBeAsked"
        await on_note(b"{}")
        page = int(json.loads(call.params).get("cursor", "0"))
        more = {"nextCursor": str(page + 1)} if page + 1 < len(listed) else {}
        return response({"tools": listed[page : page + 1], **more})

    return script
