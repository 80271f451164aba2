from collections.abc import Mapping
from dataclasses import replace

import orjson
import pytest

from proxy.core.bus import answer_data, question_data, withdrawal_data
from proxy.core.errors import InvalidInput
from proxy.core.event_seal import ANSWER, EVENT_LIFE_S, QUESTION, WITHDRAWAL, EventSeal, nonce_of
from proxy.core.identity import Mode
from proxy.core.ids import AgentId
from proxy.core.key_ring import KeyRing
from proxy.core.legacy import Message
from proxy.core.suspicion import Breach, Suspicion
from tests.support.bus_log import WALL, answer, bus_id, message, question
from tests.support.signing import key_of, signer_of

pytestmark = pytest.mark.requirement("signatures.bus")
RING = KeyRing([key_of("alice"), key_of("bob")])
ALICE, BOB = AgentId("alice"), AgentId("bob")


class _Reader:
    def __init__(self, mode: Mode = "enforce", ring: KeyRing = RING) -> None:
        self.heard: list[Suspicion] = []
        self.seal = EventSeal(lambda: ring, mode=mode)
        self.seal.watch(self.heard.append)

    def counts(self, stored: Message, *, log: int = 0, wall: float = WALL) -> bool:
        return self.seal.counts(stored, log=log, wall=wall)

    @property
    def rules(self) -> list[str]:
        return [each.rule for each in self.heard]


def _sealed(
    data: Mapping[str, object], speaker: str, kind: str, *, beside: str = "", at: float = WALL
) -> dict[str, object]:
    seal = EventSeal(lambda: RING, signer=signer_of(RING, beside))
    return seal.sealed(data, AgentId(speaker), kind=kind, elicitation_id=bus_id(), wall=at)


PARTS = [
    (question_data(question()), "alice", QUESTION),
    (answer_data(answer(), question()), "bob", ANSWER),
    (withdrawal_data(question()), "alice", WITHDRAWAL),
]


@pytest.mark.parametrize(("data", "speaker", "kind"), PARTS)
def test_each_part_counts_when_its_speaker_has_signed_it(data: dict[str, object], speaker: str, kind: str) -> None:
    reader = _Reader()
    stored = message(_sealed(data, speaker, kind), source=speaker)
    assert reader.counts(stored)
    assert reader.counts(stored), "a log is read again"
    assert reader.counts(stored, wall=WALL + 80_000), "and long after: what counts is when it was stored"
    assert reader.heard == []


@pytest.mark.parametrize(("data", "speaker"), [(data, speaker) for data, speaker, _ in PARTS])
@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_what_is_not_signed_is_told_of_once_and_counts_only_where_it_is_observed(
    data: dict[str, object], speaker: str, mode: Mode
) -> None:
    reader = _Reader(mode)
    stored = message(data, source=speaker)
    assert [reader.counts(stored) for _ in range(3)] == [mode == "observe"] * 3
    assert reader.heard == [
        Suspicion(breach=Breach.SIGNATURE, rule="absent", agent_id=speaker, is_enforced=mode == "enforce")
    ]
    assert not reader.counts(stored, log=1) or mode == "observe"
    assert reader.rules == ["absent", "absent"], "of another log it is another event"


@pytest.mark.parametrize(
    ("stored", "rule"),
    [
        (message({**_sealed(PARTS[0][0], "alice", QUESTION), "message": "Another?"}), "bad_signature"),
        (message(_sealed({**PARTS[0][0], "from_agent": "bob"}, "alice", QUESTION), source="bob"), "agent_mismatch"),
        (message(_sealed(PARTS[0][0], "alice", QUESTION), at=WALL + EVENT_LIFE_S + 5), "expired"),
        (message(_sealed(PARTS[0][0], "alice", QUESTION, at=WALL + 6)), "not_yet"),
        (message(_sealed(PARTS[0][0], "alice", ANSWER)), "malformed"),
        (message({"in_reply_to": bus_id(), "colour": "red"}, source="bob"), "absent"),
    ],
)
def test_what_is_not_as_it_was_signed_does_not_count(stored: Message, rule: str) -> None:
    reader = _Reader()
    assert not reader.counts(stored)
    assert reader.rules == [rule]


def test_an_event_without_a_stamp_is_judged_by_the_time_it_is_read() -> None:
    stored = replace(message(_sealed(PARTS[0][0], "alice", QUESTION)), created_at=None)
    assert _Reader().counts(stored, wall=WALL + 10)
    assert not _Reader().counts(stored, wall=WALL + EVENT_LIFE_S + 5)


def test_a_revoked_key_takes_its_events_back_and_a_retiring_one_does_not() -> None:
    stored = message(_sealed(PARTS[0][0], "alice", QUESTION))
    key_id = key_of("alice").key_id
    assert _Reader(ring=RING.retired(key_id)).counts(stored)
    reader = _Reader(ring=RING.revoked(key_id))
    assert not reader.counts(stored)
    assert reader.rules == ["revoked_key"]


def test_other_messages_are_not_looked_at_and_nothing_is_where_signatures_are_off() -> None:
    assert _Reader().counts(message({"word": 1}))
    assert _Reader("off").counts(message(PARTS[0][0]))
    seal = EventSeal(KeyRing, mode="observe")
    assert seal.counts(message(PARTS[0][0]), log=0, wall=WALL), "nobody has to listen"


def test_only_for_the_agent_beside_and_only_with_a_key_is_signed() -> None:
    data = PARTS[0][0]
    assert "signature" in _sealed(data, "alice", QUESTION, beside="alice")
    assert _sealed(data, "alice", QUESTION, beside="bob") == data
    assert _sealed(data, "carol", QUESTION) == data
    assert EventSeal(KeyRing).sealed(data, ALICE, kind=QUESTION, elicitation_id=bus_id(), wall=WALL) == data


def test_the_nonce_of_an_event_is_that_of_its_question() -> None:
    signed = _sealed(PARTS[1][0], "bob", ANSWER)
    assert orjson.loads(orjson.dumps(signed["signature"]))["nonce"] == nonce_of(ANSWER, bus_id())


def test_a_question_that_has_no_canonical_form_is_refused() -> None:
    with pytest.raises(InvalidInput):
        _sealed({**PARTS[0][0], "schema": {"const": 2**53 + 1}}, "alice", QUESTION)
