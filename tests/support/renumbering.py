"""A Bridge that begins to number anew, before a whole house that notices it."""

from proxy.devbridge.events import Draft, EventLog
from tests.support.house import Heard, Stand, until


async def renumbered(made: Stand, bob: str) -> None:
    """Bob has read six messages; then the Bridge begins anew, with two, and it is noticed."""
    for number in range(5):
        await made.store(bob, {"n": number})
    heard = await made.wait("bob", bob, since_sequence=0, timeout_seconds=30)
    assert numbers(heard) == [1, 2, 3, 4, 5, 6]
    await until(lambda: made.bridge.state.parked_waits == 1)
    made.clock.advance(30)
    await until(lambda: made.bridge.state.parked_waits == 0)
    for _ in range(3):  # round trips on the same loop: by now the end of the long poll has been seen here too
        await made.house.health()
    made.clock.advance(10)
    made.bridge.state.log = EventLog()
    for number in range(2):
        draft = Draft(
            event_type="custom",
            data={"again": number},
            source_agent="alice",
            source_component="http_server",
            aggregate_id="x",
            aggregate_type="x",
        )
        made.bridge.state.log.append(draft, made.clock.wall())
    assert numbers(await made.wait("bob", bob, since_sequence=6, timeout_seconds=30)) == [7, 8]


def numbers(heard: Heard) -> list[object]:
    """The numbers that a wait brought, in order."""
    return [item["sequence"] for item in heard.items]
