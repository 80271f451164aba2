"""Sends become questions: for whom, in whose name, how often, and what happens where it fails."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
import pytest

from proxy.core.elicitation import Elicitation
from proxy.core.errors import BridgeTimeout
from proxy.core.flags import FlagSet
from proxy.core.ids import AgentId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.secret import Secret
from proxy.core.sends import DualSends, Send, ask_of
from tests.support.fake_bridge import refused
from tests.support.flow_stand import EVERYBODY, FlowStand, World, flow_stand, ids, items, sequences
from tests.support.manual_clock import settle

pytestmark = pytest.mark.requirement("dual.question")

ALICE, BOB = AgentId("alice"), AgentId("bob")
ASKS: Mapping[str, object] = {"to_agent": "bob", "message": "Ship it?", "expects_reply": True}


@dataclass(frozen=True)
class Dual:
    """Alice sends to bob."""

    stand: FlowStand
    alice: Secret
    bob: Secret

    async def send(
        self, data: Mapping[str, object] = ASKS, *, token: Secret | None = None, is_stored: bool = True
    ) -> int:
        """One call of alice as the door makes it; the number of the event."""
        stand = self.stand
        body = orjson.dumps({"agent_id": "alice", "event_type": "custom", "data": data})
        arriving = await stand.sends.arrived(body, token or self.alice, None)
        number = stand.bridge.store(dict(data)) if is_stored else 0
        if arriving is not None:
            if is_stored:
                stand.sends.stored(arriving, orjson.dumps({"sequence": number}))
            stand.sends.gone(arriving)
        stand.feeds.message_stored("bob")
        return number

    def ask_elsewhere(self, number: int, *, message: str = "Ship it?") -> Elicitation:
        """What the sidecar of a sender makes of an event with this number."""
        ask = ask_of(Send(from_agent=ALICE, to_agent=BOB, event_type="", data={"message": message}), number, life_s=60)
        assert ask is not None
        return self.stand.bridge.put(ask)

    @property
    def made(self) -> int:
        """How many questions were created."""
        return self.stand.bridge.count("create")


@asynccontextmanager
async def _dual(
    flags: FlagSet = EVERYBODY, *, world: World | None = None, dual_sends: DualSends = DualSends.ASKING
) -> AsyncIterator[Dual]:
    async with flow_stand(flags=flags, world=world or World(writes_notes=True), dual_sends=dual_sends) as stand:
        dual = Dual(stand, stand.bridge.token("alice"), stand.bridge.token("bob"))
        stand.bridge.tokens.update(token.reveal() for token in (dual.alice, dual.bob))
        await stand.known({"bob": dual.bob})
        yield dual


@pytest.mark.requirement("dual.one_copy")
async def test_a_waiting_agent_is_asked_in_the_events_stead() -> None:
    async with _dual() as dual:
        waiting = await dual.stand.wait("bob", dual.bob)
        number = await dual.send()
        await settle()
        (item,) = items(waiting)
        assert (item["sequence"], item["event_type"]) == (number, "elicitation_request")
        (question,) = dual.stand.bridge.questions.values()
        assert (question.from_agent, question.to_agent, question.message) == ("alice", "bob", "Ship it?")
        assert (question.made_from, question.expires_at - question.created_at) == (number, 300.0)
        assert waiting.result().found.elicitation_ids == (question.elicitation_id,)
        assert dual.stand.book.listing(wall=0.0, limit=1)[0].is_offered


@pytest.mark.requirement("dual.one_copy")
async def test_a_question_that_is_left_unanswered_does_not_come_again() -> None:
    async with _dual() as dual:
        waiting = await dual.stand.wait("bob", dual.bob)
        number = await dual.send()
        await settle()
        assert ids(items(waiting))
        later = await dual.stand.wait("bob", dual.bob, since=number, timeout_s=60)
        await dual.stand.clock.advance(61)
        assert later.result().body == b'{"events":[],"count":0,"waited_seconds":60,"status":"timeout"}'


@pytest.mark.requirement("dual.one_copy")
async def test_a_reply_that_was_lost_is_brought_again_under_the_same_id() -> None:
    async with _dual() as dual:
        waiting = await dual.stand.wait("bob", dual.bob)
        await dual.send()
        await settle()
        first = waiting.result()
        dual.stand.feeds.take_back(first.found.elicitation_ids)
        again = await dual.stand.wait("bob", dual.bob)
        assert items(again) == items(waiting)


@pytest.mark.requirement("dual.one_copy")
async def test_messages_and_questions_come_in_the_order_of_the_log() -> None:
    async with _dual() as dual:
        first = dual.stand.bridge.store({"word": "first"})
        number = await dual.send()
        last = dual.stand.bridge.store({"word": "last"})
        await settle()
        seen: list[object] = []
        for _ in range(2):
            since = int(str(seen[-1])) if seen else 0
            seen += sequences(items(await dual.stand.wait("bob", dual.bob, since=since)))
        assert seen == [first, number, last]


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        ({"to_agent": "bob", "message": "done"}, DualSends.ASKING),
        ({**ASKS, "to_agent": "alice"}, DualSends.ASKING),
        ({**ASKS, "in_reply_to": 3}, DualSends.ALL),
        (ASKS, DualSends.OFF),
        ({**ASKS, "message": "x" * 20_000}, DualSends.ASKING),
    ],
    ids=["tells", "to itself", "answers", "off", "too long"],
)
async def test_every_other_send_stays_a_message(data: Mapping[str, object], mode: DualSends) -> None:
    async with _dual(dual_sends=mode) as dual:
        waiting = await dual.stand.wait("bob", dual.bob)
        number = await dual.send(data)
        await settle()
        assert (dual.made, sequences(items(waiting))) == (0, [number])


@pytest.mark.requirement("dual.flips")
async def test_who_is_in_the_legacy_cohort_is_asked_nothing() -> None:
    flags = FlagSet(elicitation_enabled=True, elicitation_whitelist=("alice",))
    async with _dual(flags) as dual:
        await dual.send()
        await settle()
        assert dual.made == 0


async def test_nobody_is_asked_in_anothers_name() -> None:
    async with _dual() as dual:
        await dual.send(token=dual.stand.bridge.token("mallory"))
        await settle()
        assert dual.made == 0


@pytest.mark.requirement("dual.limit")
async def test_a_sender_asks_no_more_often_than_the_bridge_allows() -> None:
    async with _dual() as dual:
        for _ in range(20):
            await dual.send()
        await settle()
        assert dual.made == 13
        await dual.stand.clock.advance(6.5)
        await dual.send()
        await settle()
        assert dual.made == 14


@pytest.mark.parametrize("reply", [b"{", b"[]", b"{}", b'{"sequence":"x"}'])
async def test_an_event_that_was_stored_nobody_knows_where_stays_a_message(reply: bytes) -> None:
    async with _dual() as dual:
        arriving = await dual.stand.sends.arrived(
            orjson.dumps({"agent_id": "alice", "event_type": "custom", "data": ASKS}), dual.alice, None
        )
        assert arriving is not None
        dual.stand.sends.stored(arriving, reply)
        dual.stand.sends.gone(arriving)
        await settle()
        assert dual.made == 0
        number = dual.stand.bridge.store(dict(ASKS))
        assert sequences(items(await dual.stand.wait("bob", dual.bob))) == [number]


async def test_a_send_that_the_bridge_does_not_take_holds_nothing_up() -> None:
    async with _dual() as dual:
        waiting = await dual.stand.wait("bob", dual.bob)
        await dual.send(is_stored=False)
        number = dual.stand.bridge.store(dict(ASKS))
        await settle()
        assert sequences(items(waiting)) == [number]
        assert dual.made == 0


@pytest.mark.requirement("dual.fails")
@pytest.mark.parametrize("after", [False, True], ids=["not made", "made"])
async def test_where_no_question_is_made_the_event_is_delivered(*, after: bool) -> None:
    async with _dual() as dual:
        dual.stand.bridge.fails("create", lambda: refused(500) if not after else BridgeTimeout("slow"), after=after)
        waiting = await dual.stand.wait("bob", dual.bob)
        number = await dual.send()
        await settle()
        (item,) = items(waiting)
        # One that was made although its maker does not know is found where it is asked for.
        assert item["event_type"] == ("elicitation_request" if after else "custom")
        assert item["sequence"] == number
        assert (ElicitationOutcome.UNDELIVERED, "alice") in dual.stand.recorder.elicitations


@pytest.mark.requirement("dual.fails")
async def test_a_defect_of_ours_leaves_the_event_a_message() -> None:
    async with _dual() as dual:
        dual.stand.bridge.fails("create", lambda: RuntimeError("a defect"))
        number = await dual.send()
        await settle()
        assert [where for where, _ in dual.stand.recorder.defects] == ["send"]
        assert sequences(items(await dual.stand.wait("bob", dual.bob))) == [number]


@pytest.mark.requirement("dual.one_copy")
async def test_a_message_is_held_back_for_its_question_but_not_for_long() -> None:
    async with _dual() as dual:
        gate = dual.stand.bridge.gate("create")
        waiting = await dual.stand.wait("bob", dual.bob)
        number = await dual.send()
        await dual.stand.clock.advance(0.9)
        assert not waiting.done()
        await dual.stand.clock.advance(0.2)
        (item,) = items(waiting)
        assert (item["sequence"], item["event_type"]) == (number, "custom")
        gate.open()
        await settle()
        later = await dual.stand.wait("bob", dual.bob, since=number, timeout_s=5)
        await dual.stand.clock.advance(6)
        assert later.result().found.items == (), "who has read the event is not asked"


@pytest.mark.requirement("dual.mark")
async def test_a_question_whose_mark_is_not_true_is_asked_like_any_other() -> None:
    async with _dual() as dual:
        told = dual.stand.bridge.store({"to_agent": "bob", "message": "Lunch?"}, source="carol")
        waiting = await dual.stand.wait("bob", dual.bob, since=told)
        question = dual.ask_elsewhere(told)
        await dual.stand.clock.advance(3)
        assert ids(items(waiting)) == [question.elicitation_id]


@pytest.mark.requirement("dual.one_copy")
async def test_a_question_of_another_sidecar_is_found_when_its_event_is_read() -> None:
    async with _dual() as dual:
        number = dual.stand.bridge.store(dict(ASKS))
        elsewhere = dual.ask_elsewhere(number)
        (item,) = items(await dual.stand.wait("bob", dual.bob))
        assert (item["sequence"], ids([item])) == (number, [elsewhere.elicitation_id])


@pytest.mark.requirement("dual.one_copy")
async def test_one_that_is_heard_of_first_comes_at_the_place_of_its_event() -> None:
    world = World(writes_notes=False)
    world.bridge.tick_s = 1.0
    async with _dual(world=world) as dual:
        waiting = await dual.stand.wait("bob", dual.bob)
        number = dual.stand.bridge.store(dict(ASKS))
        dual.ask_elsewhere(number)
        await dual.stand.clock.advance(0.5)
        (item,) = items(waiting)
        assert (item["sequence"], item["event_type"]) == (number, "elicitation_request")


@pytest.mark.requirement("dual.fails")
async def test_an_event_that_cannot_be_read_now_is_read_after_the_next_poll() -> None:
    async with _dual() as dual:
        number = dual.stand.bridge.store(dict(ASKS))
        waiting = await dual.stand.wait("bob", dual.bob, since=number)
        dual.stand.bridge.fails("wait", lambda: BridgeTimeout("slow"), times=1)
        question = dual.ask_elsewhere(number)
        await dual.stand.clock.advance(3)
        assert dual.stand.feeds.parts.sent.is_true(question.elicitation_id)
        assert not waiting.done(), "the event was had before"
