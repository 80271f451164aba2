"""The up bridge's flow where its door would need a client that misbehaves; the rest is tested through the door."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Coroutine

import pytest

from proxy.core.errors import OurFault
from proxy.flows.client_questions import ClientQuestions
from proxy.flows.era_up import EraUp
from proxy.flows.mcp_clients import McpClients
from proxy.flows.up_sessions import Caller, UpCall, UpSession
from proxy.mcp.ask import FormQuestion
from proxy.mcp.calling import OnAsk, OnNote, Outgoing, ServerAsk
from proxy.mcp.inbound import Opening
from proxy.mcp.jsonrpc import Request, Response
from proxy.mcp.revisions import Mode
from tests.support.fake_recorder import FakeRecorder
from tests.support.house import until
from tests.support.manual_clock import ManualClock
from tests.support.up_stand import ScriptedServer, done

ALICE = Caller(principal="alice", headers={})


@pytest.fixture(name="group")
async def _group() -> AsyncIterator[asyncio.TaskGroup]:
    async with asyncio.TaskGroup() as group:
        yield group


def _flow(group: asyncio.TaskGroup, server: ScriptedServer) -> EraUp:
    clock, numbers = ManualClock(), itertools.count()

    def begin(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
        return group.create_task(work, name=name)

    def chance(size: int) -> bytes:
        return next(numbers).to_bytes(size)

    questions = ClientQuestions(clock=clock, chance=chance, late=lambda *_: None)
    return EraUp(
        upstream=server,
        questions=questions,
        clients=McpClients(),
        clock=clock,
        begin=begin,
        defect=FakeRecorder().defect,
        edit=lambda _, result: result,
        park_s=60,
        max_parked=1,
    )


async def _open(flow: EraUp) -> UpSession:
    opening = Opening(id=0, revision="2025-11-25", modes=frozenset({Mode.FORM}), client_name="t")
    session, _ = await flow.open(opening, ALICE)
    return session


async def _asks(_call: Outgoing, ask: OnAsk, _note: OnNote) -> Response:
    await ask(ServerAsk(key="k", question=FormQuestion("m", {"type": "object", "properties": {}})))
    return done()


class _Stuck:
    """A stream that takes one message and then no more, without breaking."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    async def write(self, message: bytes) -> bool:
        if self.taken:
            await asyncio.Event().wait()
        self.taken.append(message)
        return True


def _begin(flow: EraUp, session: UpSession, stream: _Stuck) -> UpCall:
    return flow.call(session, Request(id=7, method="tools/call", params=None, raw=b""), ALICE, stream.write)


@pytest.mark.requirement("eras.up.cancel")
async def test_a_client_that_reads_nothing_holds_no_cancelled_call_up(
    group: asyncio.TaskGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.flows.era_up.TAKE_BACK_S", 0.0)
    server, stream = ScriptedServer(_asks), _Stuck()
    flow = _flow(group, server)
    session = await _open(flow)
    call = _begin(flow, session, stream)
    await until(lambda: bool(stream.taken))
    flow.cancel(session, 7)
    await until(lambda: not session.calls)
    assert (call.reply, call.error, call.is_cancelled) == (None, None, True)
    assert (call.is_over, server.ends) == (True, ["cancelled"])


async def test_leaving_a_call_that_is_over_changes_nothing(group: asyncio.TaskGroup) -> None:
    flow = _flow(group, ScriptedServer())
    session = await _open(flow)
    call = _begin(flow, session, _Stuck())
    await until(lambda: call.is_over)
    flow.left(call)
    assert call.reply is not None
    assert not flow._parked


async def test_a_session_has_a_name_of_chance(group: asyncio.TaskGroup) -> None:
    flow = _flow(group, ScriptedServer())
    assert [(await _open(flow)).id for _ in range(2)] == [f"{number:032x}" for number in range(2)]


async def _breaks(*_: object) -> Response:
    raise ZeroDivisionError("planted")


async def test_a_defect_ends_its_call_and_is_reported(group: asyncio.TaskGroup) -> None:
    recorder, server = FakeRecorder(), ScriptedServer()
    flow = _flow(group, server)
    flow.defect = recorder.defect
    session = await _open(flow)
    server.script = _breaks
    call = flow.call(session, Request(id=1, method="tools/call", params=b"{}", raw=b""), ALICE, _Stuck().write)
    await until(lambda: call.is_over)
    assert isinstance(call.error, OurFault)
    assert [where for where, _ in recorder.defects] == ["era bridge"]
