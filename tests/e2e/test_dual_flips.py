"""Dual mode while flags flip, replies are lost, agents hang up and the Bridge's elicitation fails, at random."""

import random
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

import pytest

from proxy.devbridge.settings import Switches
from tests.support.dual import Dual, cohorts, dual
from tests.support.house import fields

STRICT = {
    "type": "object",
    "properties": {"reply": {"type": "string"}},
    "required": ["reply"],
    "additionalProperties": False,
}
SENDS: Mapping[str, Mapping[str, object]] = {
    "send": {},
    "short": {"timeout_seconds": 2},
    "strict": {"schema": STRICT},
    "plain": {"expects_reply": False},
}
PAUSES_S = (0.05, 0.05, 0.3, 1.0, 3.0)


class Storm:
    """What happens to two agents, as one seed has it."""

    def __init__(self, stand: Dual, chance: random.Random) -> None:
        self.stand = stand
        self.chance = chance
        self.inside = {"alice", "bob"}
        self.sent: list[int] = []
        self.history: list[str] = []

    async def blow(self, steps: int) -> None:
        happenings: list[Callable[[], Coroutine[object, object, None]]] = [
            *([self.send] * 4),
            self.flip,
            self.flip,
            self.roll_back,
            self.lose,
            self.mute,
            self.hang_up,
            self.fail,
            self.hang,
        ]
        for _ in range(steps):
            happening = self.chance.choice(happenings)
            self.history.append(f"{self.stand.clock.now() % 1000:.2f} {happening.__name__}")
            await happening()
            await self.stand.pass_s(self.chance.choice(PAUSES_S))
        self.stand.bob.answers = True
        await self.stand.pass_s(18)

    async def send(self) -> None:
        kind = self.chance.choice(sorted(SENDS))
        self.sent.append(await self.stand.send(message=f"{kind} {len(self.sent)}", **SENDS[kind]))

    async def flip(self) -> None:
        self.inside ^= {self.chance.choice(["alice", "bob"])}
        for house in self.stand.houses:  # not everywhere in one moment
            await house.flags(elicitation_whitelist=sorted(self.inside))
            if self.chance.random() < 0.3:
                await self.stand.pass_s(0.2)

    async def roll_back(self) -> None:
        await self.stand.flags(elicitation_enabled=False)
        await self.stand.pass_s(self.chance.choice([0.05, 1.0, 2.0]))
        await self.stand.flags(elicitation_enabled=True)

    async def lose(self) -> None:
        self.chance.choice([self.stand.alice, self.stand.bob]).lose = True

    async def mute(self) -> None:
        self.stand.bob.answers = not self.stand.bob.answers

    async def hang_up(self) -> None:
        place = self.chance.randrange(2)
        self.stand.tasks[place].cancel()
        await self.stand.pass_s(self.chance.choice([0.05, 0.5]))
        agent = (self.stand.alice, self.stand.bob)[place]
        self.stand.tasks[place] = self.stand.group.create_task(agent.run())

    async def fail(self) -> None:
        await self.stand.bridge.set(fail_next=self.chance.randrange(1, 4))

    async def hang(self) -> None:
        await self.stand.bridge.set(hang_elicitation=True)
        await self.stand.pass_s(self.chance.choice([0.3, 1.0]))
        await self.stand.bridge.set(hang_elicitation=False)

    def judge(self) -> list[str]:
        """What is wrong; nothing, if all is as promised."""
        alice, bob = self.stand.alice, self.stand.bob
        places = [int(str(item["sequence"])) for item in bob.items]
        wrong = [] if places == sorted(places) else [f"bob reads in the order {places}"]
        for number in self.sent:
            copies, replies = bob.copies_of(number), alice.replies_to(number)
            if len(copies) != 1:
                wrong.append(f"bob has {len(copies)} copies of {number}: {copies}")
            named = {number, *(fields(item["data"]).get("elicitation_id") for item in copies)}
            if len(replies) != (not named.isdisjoint(bob.said)):
                wrong.append(f"alice has {len(replies)} replies to {number}: {replies}")
        return wrong


@pytest.mark.requirement("dual.flips")
@pytest.mark.requirement("dual.one_copy")
@pytest.mark.parametrize("sidecars", [1, 2])
@pytest.mark.parametrize("source", ["rest", "bus"])
@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_every_send_is_received_once_and_every_reply_once(
    tmp_path: Path, seed: int, source: str, sidecars: int
) -> None:
    chance = random.Random(seed * 2 + sidecars)  # noqa: S311  # a storm that can be had again
    generous = {"limits.questions": "1000/s", "limits.answers": "1000/s", "bridge.source": source}
    switches = Switches(elicitation=source == "rest")
    async with dual(
        tmp_path, cohorts("alice", "bob"), sidecars=sidecars, overrides=generous, switches=switches
    ) as stand:
        await stand.bridge.set(rate_limits=False, abuse_rule=False)
        stand.start(stand.alice, stand.bob)
        storm = Storm(stand, chance)
        await storm.blow(14)
        assert storm.sent
        assert storm.judge() == [], storm.history


@pytest.mark.requirement("dual.flips")
@pytest.mark.parametrize("sidecars", [1, 2])
async def test_a_receiver_that_turns_legacy_before_it_was_asked_reads_the_event_and_its_reply_counts(
    tmp_path: Path, sidecars: int
) -> None:
    async with dual(tmp_path, cohorts("alice", "bob"), sidecars=sidecars) as stand:
        stand.start(stand.alice)
        number = await stand.send()
        await stand.until(lambda: bool(stand.questions()))
        await stand.flags(elicitation_whitelist=["alice"])
        stand.start(stand.bob)
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        await stand.pass_s(3)
        assert [item["event_type"] for item in stand.bob.copies_of(number)] == ["custom"]
        (reply,) = stand.alice.replies_to(number)
        assert fields(reply["data"])["elicitation_id"] == stand.questions()[0], "it answered the question"


@pytest.mark.requirement("dual.flips")
@pytest.mark.parametrize("form", ["elicitation_id", "in_reply_to"])
async def test_a_receiver_that_turns_legacy_after_it_was_asked_may_answer_either_way(tmp_path: Path, form: str) -> None:
    async with dual(tmp_path, cohorts("alice", "bob")) as stand:
        stand.bob.answers = False
        stand.start(stand.alice, stand.bob)
        number = await stand.send()
        await stand.until(lambda: bool(stand.bob.items))
        (asked,) = stand.bob.items
        await stand.flags(elicitation_whitelist=["alice"])
        await stand.pass_s(3)
        named = {"elicitation_id": fields(asked["data"])["elicitation_id"], "in_reply_to": number}[form]
        heard = await stand.bob.store({form: named, "content": {"reply": "yes"}})
        assert heard.json["response_type"] == "accept"
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        await stand.pass_s(3)
        assert len(stand.bob.copies_of(number)) == len(stand.alice.replies_to(number)) == 1


@pytest.mark.requirement("dual.flips")
async def test_a_receiver_that_joins_after_the_send_has_a_message_and_its_reply_is_one(tmp_path: Path) -> None:
    async with dual(tmp_path, cohorts("alice")) as stand:
        stand.start(stand.alice)
        number = await stand.send()
        await stand.flags(elicitation_whitelist=["alice", "bob"])
        stand.start(stand.bob)
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        await stand.pass_s(3)
        assert [item["event_type"] for item in stand.bob.copies_of(number)] == ["custom"]
        assert [item["event_type"] for item in stand.alice.replies_to(number)] == ["custom"]
        assert stand.questions() == []


@pytest.mark.requirement("dual.flips")
@pytest.mark.parametrize("before", ["legacy", "elicitation"])
async def test_a_sender_that_changes_cohort_while_its_answer_is_on_the_way_reads_it_once(
    tmp_path: Path, before: str
) -> None:
    inside = {"legacy": ["bob"], "elicitation": ["alice", "bob"]}
    async with dual(tmp_path, cohorts(*inside[before])) as stand:
        stand.start(stand.bob)
        number = await stand.send()
        await stand.until(lambda: bool(stand.bob.answered))
        await stand.alice.wait(timeout_s=1)
        after = next(each for way, each in inside.items() if way != before)
        await stand.flags(elicitation_whitelist=after)
        stand.start(stand.alice)
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        await stand.pass_s(3)
        assert len(stand.alice.replies_to(number)) == 1


@pytest.mark.requirement("dual.expired")
async def test_a_question_that_expired_before_anybody_was_asked_is_the_event_again(tmp_path: Path) -> None:
    async with dual(tmp_path, cohorts("alice", "bob")) as stand:
        number = await stand.send(timeout_seconds=2)
        await stand.until(lambda: bool(stand.questions()))
        await stand.pass_s(20)
        stand.start(stand.alice, stand.bob)
        await stand.until(lambda: bool(stand.alice.replies_to(number)))
        await stand.pass_s(3)
        assert [item["event_type"] for item in stand.bob.copies_of(number)] == ["custom"]
        assert len(stand.alice.replies_to(number)) == 1
