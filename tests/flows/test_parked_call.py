"""One request that stays open at a handshake server: who can be asked in it, who hears of it, and how it ends."""

import asyncio
import json

import pytest

from proxy.core.errors import BridgeTimeout, InvalidState, OurFault
from proxy.flows.parked_call import CLOSING_S, MAX_ASKS
from proxy.mcp.ask import FormQuestion, UrlQuestion
from proxy.mcp.calling import OnAsk, OnNote, Outgoing, ServerAsk
from proxy.mcp.jsonrpc import Response, notification_message
from proxy.mcp.revisions import Mode
from proxy.stores.memory import MemoryExchangeStore
from tests.support.down_stand import FORM, PARK_S, answered, ask, asks, asks_at_once, at_once, done, until
from tests.support.manual_clock import ManualClock, settle
from tests.support.parked_stand import ParkedStand, accept, parked_stand, then, tools

pytestmark = pytest.mark.requirement("eras.down.call")


class TestModes:
    @pytest.mark.parametrize(
        ("modes", "question"),
        [
            (frozenset[Mode](), FormQuestion("a?", FORM)),
            (frozenset({Mode.URL}), FormQuestion("a?", FORM)),
            (frozenset({Mode.FORM}), UrlQuestion("a?", "https://example.org", "e")),
        ],
    )
    async def test_a_client_is_never_asked_in_a_way_that_it_did_not_declare(
        self, modes: frozenset[Mode], question: FormQuestion | UrlQuestion
    ) -> None:
        async with parked_stand() as made:
            made.server.script = asks(ServerAsk(key="1", question=question))
            assert await made.told(modes=modes) == "CannotBeAsked"

    async def test_a_link_is_shown_without_the_id_that_the_era_has_not(self) -> None:
        async with parked_stand() as made:
            made.server.script = asks(ServerAsk(key="1", question=UrlQuestion("Open.", "https://example.org", "e")))
            asking = await made.asked()
            params = {"mode": "url", "message": "Open.", "url": "https://example.org"}
            assert asking.requests == {"1": {"method": "elicitation/create", "params": params}}
            assert await made.told(asking.state, answers={"1": b'{"action":"accept"}'}) == "accept:"

    async def test_a_client_that_comes_back_without_the_mode_is_not_asked_again(self) -> None:
        async with parked_stand() as made:
            made.server.script = asks_at_once(
                FormQuestion("a?", FORM), UrlQuestion("b?", "https://example.org", "e"), FormQuestion("c?", FORM)
            )
            asking = await made.asked()
            again = await made.asked(asking.state, answers={"0": accept("a")}, modes=frozenset({Mode.FORM}))
            assert list(again.requests) == ["2"]
            told = await made.told(again.state, answers={"2": accept("c")})
            assert told == "accept:a,CannotBeAsked,accept:c"

    async def test_a_schema_beyond_all_bounds_is_not_shown(self) -> None:
        huge = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(9_000)}}
        async with parked_stand() as made:
            made.server.script = asks(ServerAsk(key="1", question=FormQuestion("a?", huge)))
            assert await made.told() == "CannotBeAsked"

    async def test_no_more_questions_are_open_than_anybody_answers(self) -> None:
        async with parked_stand() as made:
            made.server.script = asks_at_once(*[FormQuestion("a?", FORM)] * (MAX_ASKS + 1))
            asking = await made.asked()
            shown = len(asking.requests)
            answers = dict.fromkeys(asking.requests, b'{"action":"decline"}')
            assert shown == MAX_ASKS
            assert (await made.told(asking.state, answers=answers)).endswith("decline:,CannotBeAsked")

    @pytest.mark.parametrize("method", ["tools/list", "completion/complete"])
    async def test_nobody_is_asked_in_a_request_that_cannot_be_answered_by_a_question(self, method: str) -> None:
        async with parked_stand() as made:
            made.server.script = asks(ask())
            assert await made.told(method=method) == "CannotBeAsked"


class TestExpiry:
    async def test_a_question_that_nobody_answers_is_cancelled_at_the_server(self) -> None:
        async with parked_stand() as made:
            heard: list[str] = []

            async def script(_call: Outgoing, on_ask: OnAsk, _note: OnNote) -> Response:
                heard.extend([answered(await on_ask(ask("1"))), answered(await on_ask(ask("2")))])
                return done()

            made.server.script = script
            asking = await made.asked()
            await made.clock.advance(PARK_S - 0.1)
            assert made.server.ends == ["open"]
            await made.clock.advance(0.1)
            # The second question comes when nobody is there any more.
            assert (heard, made.server.ends, len(made.calls)) == (["cancel:", "cancel:"], ["done"], 0)
            with pytest.raises(InvalidState):
                await made.serve(asking.state, answers={"1": accept()})

    async def test_a_server_that_does_not_end_by_itself_is_cancelled_a_little_later(self) -> None:
        async with parked_stand() as made:
            made.server.script = then(asyncio.Event(), asks(ask()))
            await made.asked()
            await made.clock.advance(PARK_S)
            assert made.server.ends == ["open"]
            await made.clock.advance(CLOSING_S)
            assert made.server.ends == ["cancelled"]

    async def test_a_retry_on_its_way_when_the_time_is_up_is_refused(self) -> None:
        clock = ManualClock()

        class Slow(MemoryExchangeStore):
            async def resume(self, handle: bytes, digest: bytes, *, now: float) -> bytes | None:
                found = await super().resume(handle, digest, now=now)
                await clock.advance(2)
                return found

        async with parked_stand(Slow(clock, bytes), clock=clock) as made:
            made.server.script = asks(ask())
            asking = await made.asked()
            await clock.advance(PARK_S - 1)
            with pytest.raises(InvalidState):
                await made.serve(asking.state, answers={"1": accept()})


class TestLeaving:
    async def test_a_client_that_leaves_while_the_server_works_cancels_its_call(self) -> None:
        async with parked_stand() as made, asyncio.TaskGroup() as group:
            made.server.script = then(asyncio.Event(), at_once)
            task = group.create_task(made.serve())
            await settle()
            task.cancel()
            await until(lambda: made.server.ends == ["cancelled"])

    async def test_the_retry_of_a_client_that_left_is_refused(self) -> None:
        async with parked_stand() as made:
            made.server.script = then(asyncio.Event(), asks(ask()))
            asking = await made.asked()
            async with asyncio.TaskGroup() as group:
                task = group.create_task(made.serve(asking.state, answers={"1": accept()}))
                await settle()
                task.cancel()
            await until(lambda: made.server.ends == ["cancelled"])
            made.server.script = tools({"name": "t"})
            with pytest.raises(InvalidState):
                await made.serve(asking.state, answers={"1": accept()})

    async def test_what_is_safe_to_repeat_begins_anew_when_its_client_comes_back(self) -> None:
        async with parked_stand() as made:
            made.server.script = then(asyncio.Event(), asks(ask()))
            asking = await made.asked(method="prompts/get")
            async with asyncio.TaskGroup() as group:
                task = group.create_task(made.serve(asking.state, answers={"1": accept()}, method="prompts/get"))
                await settle()
                task.cancel()
            made.server.script = asks(ask())
            again = await made.asked(asking.state, answers={"1": accept()}, method="prompts/get")
            assert await made.told(again.state, answers={"1": accept()}, method="prompts/get") == "accept:ann"

    async def test_a_failure_of_the_server_is_the_end_of_the_call(self) -> None:
        async with parked_stand() as made:

            async def script(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
                raise BridgeTimeout("too slow")

            made.server.script = script
            with pytest.raises(BridgeTimeout):
                await made.serve()

    async def test_a_defect_of_ours_ends_one_call_and_is_reported(self) -> None:
        async with parked_stand() as made:

            async def script(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
                raise ZeroDivisionError

            made.server.script = script
            with pytest.raises(OurFault):
                await made.serve()
            ((where, error),) = made.recorder.defects
            assert (where, type(error)) == ("parked call", ZeroDivisionError)

    async def test_the_end_of_the_house_gives_all_calls_up(self) -> None:
        async with parked_stand() as made, asyncio.TaskGroup() as group:
            made.server.script = asks(ask())
            await made.asked()
            made.server.script = then(asyncio.Event(), at_once)
            task = group.create_task(_failure(made))
            await settle()
            made.calls.close()
            await until(lambda: made.server.ends == ["cancelled", "cancelled"])
            assert (await task, len(made.calls)) == (OurFault, 0)


async def _failure(made: ParkedStand) -> type[Exception]:
    try:
        await made.serve()
    except OurFault as error:
        return type(error)
    raise AssertionError("the call ended well")


class TestNotes:
    async def test_notifications_come_to_the_round_that_is_served_under_its_token(self) -> None:
        gate = asyncio.Event()

        async def script(_call: Outgoing, on_ask: OnAsk, on_note: OnNote) -> Response:
            await on_note(notification_message("notifications/progress", {"progressToken": 1, "progress": 1}))
            await on_ask(ask())
            await gate.wait()
            await on_note(notification_message("notifications/progress", {"progressToken": 1, "progress": 2}))
            await on_note(notification_message("notifications/message", {"level": "info", "data": "x"}))
            return done()

        async with parked_stand() as made:
            made.server.script = script
            asking = await made.asked(progress_token=b"1")
            gate.set()
            await made.told(asking.state, answers={"1": accept()}, progress_token=b'"b"', log_level="info")
            told = [json.loads(note)["params"] for note in made.notes]
            assert told == [
                {"progressToken": 1, "progress": 1},
                {"progressToken": "b", "progress": 2},
                {"level": "info", "data": "x"},
            ]

    async def test_what_comes_while_the_client_is_away_is_heard_by_nobody(self) -> None:
        async def script(_call: Outgoing, on_ask: OnAsk, on_note: OnNote) -> Response:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(_asked(on_ask))
                await settle()
                await on_note(notification_message("notifications/progress", {"progressToken": 1, "progress": 1}))
            return done(task.result())

        async with parked_stand() as made:
            made.server.script = script
            asking = await made.asked(progress_token=b"1")
            await settle()
            told = await made.told(asking.state, answers={"1": accept()}, progress_token=b"1")
            assert (told, made.notes) == ("accept:ann", [])


async def _asked(on_ask: OnAsk) -> str:
    return answered(await on_ask(ask()))
