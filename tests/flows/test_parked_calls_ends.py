"""Calls of envelope clients that stay open at a handshake server: bounds, restarts, links, and how they end."""

import asyncio
import itertools
import json
from collections.abc import Callable

import pytest

from proxy.core.errors import AgentFault, BadBridgeReply, InvalidState, StateUnavailable, TooManyWaits
from proxy.flows.parked_calls import MAX_TOOL_PAGES, RETRY_S, Asking
from proxy.mcp.calling import OnAsk, OnNote, Outgoing
from proxy.mcp.jsonrpc import Response
from proxy.mcp.revisions import Mode
from proxy.stores.exchange_rules import Bounds
from proxy.stores.memory import MemoryExchangeStore
from tests.support.down_stand import PARK_S, Script, ask, asks, at_once, done, failed, until
from tests.support.manual_clock import ManualClock, settle
from tests.support.parked_stand import accept, parked_stand, then, tools

pytestmark = pytest.mark.requirement("eras.down.ends")

LINK = {"mode": "url", "url": "https://example.org/a", "message": "Open it.", "elicitationId": "e1"}
OPENED = b'{"action":"accept"}'


def _counting() -> MemoryExchangeStore:
    """A store whose keys are the same in every life of the sidecar."""
    return MemoryExchangeStore(ManualClock(), lambda size: b"k" * size)


def _chance() -> Callable[[int], bytes]:
    numbers = itertools.count()
    return lambda size: next(numbers).to_bytes(size)


class TestBounds:
    async def test_only_so_many_calls_of_one_principal_wait(self) -> None:
        async with parked_stand(max_parked=2) as made:
            made.server.script = asks(ask())
            first = await made.asked(principal="ann")
            await made.asked(principal="ann")
            await made.asked(principal="ben")
            with pytest.raises(TooManyWaits) as caught:
                await made.serve(principal="ann")
            assert caught.value.retry_after_s == RETRY_S
            await until(lambda: made.server.ends == ["open", "open", "open", "cancelled"])
            await made.told(first.state, answers={"1": accept()}, principal="ann")
            await made.asked(principal="ann")
            assert len(made.calls) == 3

    async def test_nobody_takes_the_places_of_others_in_the_store(self) -> None:
        clock = ManualClock()
        store = MemoryExchangeStore(clock, _chance(), bounds=Bounds(owner_calls=1))
        async with parked_stand(store) as made:
            made.server.script = asks(ask())
            await made.asked(principal="ann")
            with pytest.raises(StateUnavailable) as caught:
                await made.serve(principal="ann")
            assert caught.value.retry_after_s == RETRY_S
            await made.asked(principal="ben")

    async def test_a_store_that_fails_ends_the_call_at_the_server(self) -> None:
        class Full(MemoryExchangeStore):
            async def suspend(self, handle: bytes, record: bytes, *, owner: bytes, expires_at: float) -> None:
                del handle, record, owner, expires_at
                raise StateUnavailable("full")

        async with parked_stand(Full(ManualClock(), bytes)) as made:
            made.server.script = asks(ask())
            with pytest.raises(StateUnavailable):
                await made.serve()
            await until(lambda: made.server.ends == ["cancelled"])
            assert len(made.calls) == 0


class TestRestart:
    async def _state_of_before(self, **changes: object) -> tuple[MemoryExchangeStore, str]:
        store = _counting()
        async with parked_stand(store) as made:
            made.server.script = asks(ask())
            return store, (await made.asked(**changes)).state

    async def test_a_tool_is_not_called_again_unless_it_says_that_this_is_safe(self) -> None:
        store, state = await self._state_of_before()
        async with parked_stand(store) as made:
            made.server.script = tools({"name": "u", "annotations": {"readOnlyHint": True}}, {"name": "t"})
            with pytest.raises(InvalidState):
                await made.serve(state, answers={"1": accept()})
            assert [call.method for call in made.server.calls] == ["tools/list", "tools/list"]
            assert all(call.modes == frozenset() for call in made.server.calls)

    @pytest.mark.parametrize("hint", ["readOnlyHint", "idempotentHint"])
    async def test_a_tool_that_is_safe_to_repeat_is_called_from_the_start(self, hint: str) -> None:
        store, state = await self._state_of_before()
        async with parked_stand(store) as made:
            listed = tools({"name": "u"}, {"name": "t", "annotations": {hint: True}}, after=asks(ask()))
            made.server.script = listed
            asking = await made.asked(state, answers={"1": accept()})
            assert await made.told(asking.state, answers={"1": accept()}) == "accept:ann"

    @pytest.mark.parametrize("method", ["prompts/get", "resources/read"])
    async def test_what_only_reads_is_asked_for_again(self, method: str) -> None:
        store, state = await self._state_of_before(method=method)
        async with parked_stand(store) as made:
            assert await made.told(state, answers={"1": accept()}, method=method) == "done"
            assert await made.told(state, answers={"1": accept()}, method=method) == "done"
            assert [call.method for call in made.server.calls] == [method]

    async def test_two_same_retries_after_a_restart_are_one_call(self) -> None:
        store, state = await self._state_of_before()
        async with parked_stand(store) as made, asyncio.TaskGroup() as group:
            gate = asyncio.Event()
            made.server.script = then(gate, tools({"name": "t", "annotations": {"readOnlyHint": True}}, after=at_once))
            twice = [group.create_task(made.told(state, answers={"1": accept()})) for _ in range(2)]
            await settle()
            gate.set()
            assert [await task for task in twice] == ["done", "done"]
            assert [call.method for call in made.server.calls] == ["tools/list", "tools/list", "tools/call"]

    async def test_a_state_belongs_to_its_principal_even_then(self) -> None:
        store, state = await self._state_of_before(principal="ann", method="prompts/get")
        async with parked_stand(store) as made:
            with pytest.raises(InvalidState):
                await made.serve(state, principal="eve", method="prompts/get")
            assert await made.told(state, principal="ann", method="prompts/get") == "done"

    async def test_other_answers_than_those_given_before_are_refused(self) -> None:
        store, state = await self._state_of_before(method="prompts/get")
        async with parked_stand(store) as made:
            await made.told(state, answers={"1": accept()}, method="prompts/get")
            with pytest.raises(InvalidState):
                await made.serve(state, answers={"1": accept("eve")}, method="prompts/get")

    async def test_a_list_without_end_is_not_read_to_its_end(self) -> None:
        store, state = await self._state_of_before()
        async with parked_stand(store) as made:
            made.server.script = tools(*[{"name": "u"}] * (MAX_TOOL_PAGES + 5))
            with pytest.raises(InvalidState):
                await made.serve(state)
            assert len(made.server.calls) == MAX_TOOL_PAGES

    async def test_a_server_that_cannot_list_its_tools_is_at_fault(self) -> None:
        store, state = await self._state_of_before()
        async with parked_stand(store) as made:
            made.server.script = _fails(-32601)
            with pytest.raises(BadBridgeReply):
                await made.serve(state)


def _fails(code: int, data: object = None, *, times: int = 1) -> Script:
    """A server that fails at first."""
    left = [times]

    async def script(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
        left[0] -= 1
        return failed(code, data=data) if left[0] >= 0 else done()

    return script


class TestLinks:
    async def test_a_link_that_has_to_be_opened_first_is_a_question_and_then_the_call_is_made_again(self) -> None:
        async with parked_stand() as made:
            made.server.script = _fails(-32042, {"elicitations": [LINK, {**LINK, "message": "And this."}]})
            asking = await made.asked()
            assert asking.requests == {
                f"link-{number}": {
                    "method": "elicitation/create",
                    "params": {"mode": "url", "message": text, "url": "https://example.org/a"},
                }
                for number, text in enumerate(["Open it.", "And this."])
            }
            answers = {"link-0": OPENED, "link-1": OPENED}
            assert await made.told(asking.state, answers=answers) == "done"
            assert await made.told(asking.state, answers=answers) == "done"
            assert len(made.server.calls) == 2

    async def test_a_server_that_still_waits_for_the_link_asks_again(self) -> None:
        async with parked_stand() as made:
            made.server.script = _fails(-32042, {"elicitations": [LINK]}, times=2)
            first = await made.asked()
            second = await made.asked(first.state, answers={"link-0": OPENED})
            assert await made.told(second.state, answers={}) == "done"

    @pytest.mark.parametrize("action", ["decline", "cancel"])
    async def test_a_link_that_nobody_would_open_ends_the_call(self, action: str) -> None:
        async with parked_stand() as made:
            made.server.script = _fails(-32042, {"elicitations": [LINK]})
            asking = await made.asked()
            answers = {"link-0": json.dumps({"action": action}).encode()}
            for _ in range(2):
                with pytest.raises(AgentFault, match="link"):
                    await made.serve(asking.state, answers=answers)
            assert (len(made.server.calls), len(made.calls)) == (1, 0)

    async def test_a_link_is_not_shown_to_a_client_that_opens_none(self) -> None:
        async with parked_stand() as made:
            made.server.script = _fails(-32042, {"elicitations": [LINK]})
            turn = await made.serve(modes=frozenset({Mode.FORM}))
            assert not isinstance(turn, Asking)
            assert b"-32042" in (turn.response.error or b"")

    async def test_a_link_that_nobody_comes_back_for_is_forgotten(self) -> None:
        async with parked_stand() as made:
            made.server.script = _fails(-32042, {"elicitations": [LINK]})
            await made.asked()
            await made.clock.advance(PARK_S)
            assert len(made.calls) == 0
