"""Dual mode between real processes: two sidecars before one Bridge, one of them killed in the middle."""

import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import children
from tests.support.stand import EVERYBODY, Stand, call, open_session, store, wait

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Fleet:
    """The sidecars of sender and receiver."""

    sender: Stand
    receiver: Stand


@pytest.fixture(name="fleet")
def _fleet(tmp_path: Path) -> Iterator[Fleet]:
    with children() as started:
        folders = [tmp_path / name for name in ("sender", "receiver")]
        for folder in folders:
            folder.mkdir()
        sender, receiver = (Stand(started, folder, f"sqlite://{folder / 'state.db'}") for folder in folders)
        sender.start_bridge()
        receiver.bridge = sender.bridge
        for stand in (sender, receiver):
            stand.start_sidecar()
            stand.set_flags(EVERYBODY)
        yield Fleet(sender, receiver)


def _brought(base: str, agent_id: str, token: str, since: int) -> list[dict[str, object]]:
    """What one wait brings."""
    return [dict(item) for item in wait(base, agent_id, token, since=since, timeout_s=20).events]


@pytest.mark.requirement("dual.one_copy")
@pytest.mark.parametrize("is_killed", [False, True], ids=["alive", "killed"])
def test_a_send_is_asked_and_answered_through_two_sidecars(fleet: Fleet, *, is_killed: bool) -> None:
    alice, bob = (open_session(stand.data, name) for stand, name in ((fleet.sender, "alice"), (fleet.receiver, "bob")))
    text = f"Ship {secrets.token_hex(4)}?"
    asked = {"to_agent": "bob", "message": text, "expects_reply": True}
    number = store(fleet.sender.data, "alice", asked, token=alice)
    (first,) = _brought(fleet.receiver.data, "bob", bob, number - 1)
    if is_killed:  # the reply to bob's wait is lost, as far as bob knows
        assert fleet.receiver.sidecar_process is not None
        fleet.receiver.sidecar_process.end(signal.SIGKILL)
        fleet.receiver.start_sidecar()
    (item,) = _brought(fleet.receiver.data, "bob", bob, number - 1)
    assert item == first
    assert (item["sequence"], item["event_type"]) == (number, "elicitation_request")
    data = item["data"]
    assert isinstance(data, dict)
    body = {"event_type": "custom", "agent_id": "bob", "data": {"in_reply_to": number, "content": {"reply": "yes"}}}
    reply = call("POST", f"{fleet.receiver.data}/event/store", body, token=bob)
    assert reply.json["elicitation_id"] == data["elicitation_id"]
    brought = _brought(fleet.sender.data, "alice", alice, number)
    told = [
        found for found in brought if isinstance(found["data"], dict) and found["data"].get("in_reply_to") == number
    ]
    assert [found["event_type"] for found in told] == ["elicitation_response"]
