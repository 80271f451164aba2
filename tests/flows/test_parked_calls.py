"""Calls of envelope clients that stay open at a handshake server: rounds, questions and the states between them."""

import asyncio
import json
from collections.abc import Callable

import pytest

from proxy.core.errors import BridgeTimeout, InvalidInput, InvalidState
from proxy.flows import parked_calls
from proxy.flows.parked_call import CLOSING_S
from proxy.flows.parked_calls import REPLAY_S
from proxy.mcp.ask import FormQuestion
from proxy.mcp.calling import OnAsk, OnNote, Outgoing, ServerAsk
from proxy.mcp.jsonrpc import Response
from proxy.mcp.mrtr import is_ours
from proxy.stores.memory import MemoryExchangeStore
from tests.support.down_stand import FORM, PARK_S, ask, asks, asks_at_once, done, until
from tests.support.manual_clock import ManualClock, settle
from tests.support.parked_stand import ParkedStand, accept, parked_stand, then, tools

pytestmark = pytest.mark.requirement("eras.down.parked")


class TestRounds:
    async def test_a_call_without_questions_ends_in_its_first_round(self) -> None:
        async with parked_stand() as made:
            assert await made.told() == "done"
            assert len(made.calls) == 0

    async def test_a_question_is_shown_and_its_answer_brings_the_call_to_its_end(self) -> None:
        async with parked_stand() as made:
            made.server.script = asks(ask())
            asking = await made.asked()
            assert asking.requests == {
                "1": {
                    "method": "elicitation/create",
                    "params": {"mode": "form", "message": "Your name?", "requestedSchema": FORM},
                }
            }
            assert is_ours(asking.state)
            assert (len(made.calls), made.server.ends) == (1, ["open"])
            assert await made.told(asking.state, answers={"1": accept()}) == "accept:ann"
            assert (len(made.calls), made.server.ends) == (0, ["done"])

    @pytest.mark.parametrize("action", ["decline", "cancel"])
    async def test_the_server_hears_that_nobody_would_answer(self, action: str) -> None:
        async with parked_stand() as made:
            made.server.script = asks(ask())
            asking = await made.asked()
            answer = json.dumps({"action": action}).encode()
            assert await made.told(asking.state, answers={"1": answer}) == f"{action}:"

    async def test_one_question_after_the_other_makes_one_round_after_the_other(self) -> None:
        async with parked_stand() as made:
            made.server.script = asks(ask("1"), ask("2"), ask("3"))
            state: str | None = None
            answers: dict[str, bytes] = {}
            for key in ("1", "2", "3"):
                asking = await made.asked(state, answers=answers)
                assert list(asking.requests) == [key]
                state, answers = asking.state, {key: accept(key)}
            assert await made.told(state, answers=answers) == "accept:1,accept:2,accept:3"

    async def test_questions_that_are_open_together_come_in_one_round(self) -> None:
        async with parked_stand() as made:
            made.server.script = asks_at_once(FormQuestion("a?", FORM), FormQuestion("b?", FORM))
            asking = await made.asked()
            assert list(asking.requests) == ["0", "1"]
            answers = {"0": accept("a"), "1": b'{"action":"decline"}', "2": b"{}"}
            assert await made.told(asking.state, answers=answers) == "accept:a,decline:"

    async def test_what_was_not_answered_is_asked_again(self) -> None:
        async with parked_stand() as made:
            made.server.script = asks_at_once(FormQuestion("a?", FORM), FormQuestion("b?", FORM))
            first = await made.asked()
            second = await made.asked(first.state, answers={"1": accept("b")})
            assert list(second.requests) == ["0"]
            assert await made.told(second.state, answers={"0": accept("a")}) == "accept:a,accept:b"

    async def test_asking_again_gives_nobody_more_time(self) -> None:
        async with parked_stand() as made:
            made.server.script = asks(ask())
            first = await made.asked()
            await made.clock.advance(PARK_S - 1)
            second = await made.asked(first.state)
            await made.clock.advance(1 + CLOSING_S)
            with pytest.raises(InvalidState):
                await made.serve(second.state, answers={"1": accept()})
            assert made.server.ends == ["done"]

    @pytest.mark.parametrize("answer", [b'{"action":"perhaps"}', b"[]", b'{"action":"accept","content":[]}'])
    async def test_an_answer_that_cannot_be_read_may_be_sent_again(self, answer: bytes) -> None:
        async with parked_stand() as made:
            made.server.script = asks(ask())
            asking = await made.asked()
            with pytest.raises(InvalidInput, match=r"inputResponses\.1"):
                await made.serve(asking.state, answers={"1": answer})
            assert await made.told(asking.state, answers={"1": accept()}) == "accept:ann"

    async def test_a_question_that_the_server_takes_back_is_nobodys_any_more(self) -> None:
        async with parked_stand() as made:

            async def script(_call: Outgoing, on_ask: OnAsk, _note: OnNote) -> Response:
                try:
                    async with asyncio.timeout(0.05):
                        await on_ask(ask())
                except TimeoutError:
                    return done("gave up")
                return done("answered")

            made.server.script = script
            asking = await made.asked()
            await until(lambda: made.server.ends == ["done"])
            assert await made.told(asking.state, answers={"1": accept()}) == "gave up"

    async def test_a_question_taken_back_before_it_was_shown_is_never_shown(self) -> None:
        gate = asyncio.Event()

        class Slow(MemoryExchangeStore):
            async def suspend(self, handle: bytes, record: bytes, *, owner: bytes, expires_at: float) -> None:
                await super().suspend(handle, record, owner=owner, expires_at=expires_at)
                gate.set()
                await settle()

        clock = ManualClock()
        async with parked_stand(Slow(clock, _counting())) as made:

            async def script(_call: Outgoing, on_ask: OnAsk, _note: OnNote) -> Response:
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(_put(on_ask, ask()))
                    await gate.wait()
                    task.cancel()
                return done("no question")

            made.server.script = script
            assert await made.told() == "no question"
            assert len(made.calls) == 0

    async def test_the_end_of_the_server_is_kept_for_the_client_that_comes_back(self) -> None:
        async with parked_stand() as made:

            async def script(_call: Outgoing, on_ask: OnAsk, _note: OnNote) -> Response:
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(_put(on_ask, ask()))
                    await settle()
                    task.cancel()
                raise BridgeTimeout("too late")

            made.server.script = script
            asking = await made.asked()
            await settle()
            with pytest.raises(BridgeTimeout, match="too late"):
                await made.serve(asking.state, answers={"1": accept()})


async def _put(on_ask: OnAsk, question: ServerAsk) -> None:
    await on_ask(question)


def _counting() -> Callable[[int], bytes]:
    numbers = iter(range(1, 1 << 16))
    return lambda size: next(numbers).to_bytes(size, "big")


class TestStates:
    async def _asked(self, made: ParkedStand, **changes: object) -> str:
        made.server.script = asks(ask())
        return (await made.asked(**changes)).state

    @pytest.mark.parametrize(
        "changes", [{"principal": "eve"}, {"digest": b"other"}, {"principal": "eve", "digest": b"other"}]
    )
    async def test_a_state_belongs_to_whom_and_what_it_was_given_for(self, changes: dict[str, object]) -> None:
        async with parked_stand() as made:
            state = await self._asked(made, principal="ann")
            with pytest.raises(InvalidState):
                await made.serve(state, **{"answers": {"1": accept("eve")}, "principal": "ann", **changes})
            assert not await made.calls.knows(made.call(state, **{"principal": "ann", **changes}))
            assert await made.calls.knows(made.call(state, principal="ann"))
            assert await made.told(state, answers={"1": accept()}, principal="ann") == "accept:ann"

    @pytest.mark.parametrize("state", ["", "x", "esc1.", "esc1.a.9999999999.AAAAAAAAAAAAAAAAAAAAAA." + "A" * 43])
    async def test_a_state_of_somebody_else_opens_nothing(self, state: str) -> None:
        async with parked_stand() as made:
            with pytest.raises(InvalidState):
                await made.serve(state)
            assert made.server.calls == []

    async def test_the_same_retry_again_ends_as_the_first_one_did(self) -> None:
        async with parked_stand() as made:
            state = await self._asked(made)
            first = await made.serve(state, answers={"1": accept()})
            assert await made.serve(state, answers={"1": accept()}) is first
            assert made.server.ends == ["done"]

    async def test_the_same_retry_again_shows_the_same_questions(self) -> None:
        async with parked_stand() as made:
            made.server.script = asks(ask("1"), ask("2"))
            first = await made.asked()
            second = await made.asked(first.state, answers={"1": accept()})
            assert await made.asked(first.state, answers={"1": accept()}) is second
            assert await made.told(second.state, answers={"2": accept()}) == "accept:ann,accept:ann"
            assert await made.asked(first.state, answers={"1": accept()}) is second

    async def test_two_same_retries_at_once_are_one(self) -> None:
        async with parked_stand() as made:
            gate = asyncio.Event()
            made.server.script = then(gate, asks(ask()))
            state = (await made.asked()).state
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(made.told(state, answers={"1": accept()})) for _ in range(2)]
                await settle()
                tasks[0].cancel()
                await settle()
                gate.set()
            assert (tasks[0].cancelled(), tasks[1].result()) == (True, "accept:ann")
            assert made.server.ends == ["done"]

    async def test_other_answers_come_too_late(self) -> None:
        async with parked_stand() as made:
            state = await self._asked(made)
            await made.told(state, answers={"1": accept()})
            with pytest.raises(InvalidState):
                await made.serve(state, answers={"1": accept("eve")})

    async def test_a_retry_long_after_its_end_is_refused(self) -> None:
        async with parked_stand() as made:
            state = await self._asked(made)
            await made.told(state, answers={"1": accept()})
            await made.clock.advance(REPLAY_S)
            made.server.script = tools({"name": "t"})
            with pytest.raises(InvalidState):
                await made.serve(state, answers={"1": accept()})

    async def test_only_so_many_ends_are_kept_and_nobody_pushes_out_those_of_others(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(parked_calls, "MAX_REPLAYS", 3)
        async with parked_stand() as made:
            states = []
            for principal in ("ben", "ann", "ann", "ann"):
                states.append(await self._asked(made, principal=principal))
                await made.told(states[-1], answers={"1": accept()}, principal=principal)
            assert await made.told(states[0], answers={"1": accept()}, principal="ben") == "accept:ann"
            assert await made.told(states[2], answers={"1": accept()}, principal="ann") == "accept:ann"
            made.server.script = tools({"name": "t"})
            with pytest.raises(InvalidState):
                await made.serve(states[1], answers={"1": accept()}, principal="ann")

    async def test_ends_that_were_kept_long_enough_make_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parked_calls, "MAX_REPLAYS", 1)
        async with parked_stand() as made:
            for principal in ("ben", "ann"):
                state = await self._asked(made, principal=principal)
                await made.told(state, answers={"1": accept()}, principal=principal)
                await made.clock.advance(REPLAY_S)
            state = await self._asked(made, principal="eve")
            for _ in range(2):
                assert await made.told(state, answers={"1": accept()}, principal="eve") == "accept:ann"
