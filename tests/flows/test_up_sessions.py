"""Sessions of our own: whose they are, how many there are and how long they last."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import TooManyWaits
from proxy.flows.pause import Pause
from proxy.flows.up_sessions import IDLE_S, UpCall, UpSession, UpSessions
from proxy.mcp.correlation import Seat
from proxy.mcp.jsonrpc import Request
from proxy.mcp.revisions import R2025_11_25
from tests.support.manual_clock import ManualClock


def _session(name: str, *, used_at: float = 0.0, is_busy: bool = False) -> UpSession:
    session = UpSession(
        id=name, principal="alice", revision=R2025_11_25, modes=frozenset(), client_name="t", used_at=used_at
    )
    if is_busy:
        session.calls[1] = _call(session)
    return session


def _call(session: UpSession, arrives: Iterator[bool] | None = None) -> UpCall:
    async def write(_: bytes) -> bool:
        return arrives is None or next(arrives)

    request = Request(id=1, method="tools/call", params=None, raw=b"")
    return UpCall(session=session, request=request, modes=frozenset(), write=write, pause=Pause(ManualClock()))


@pytest.mark.requirement("eras.up.sessions")
def test_a_session_is_found_by_its_name_and_whose_it_is() -> None:
    sessions, session = UpSessions(), _session("a")
    assert sessions.add(session) is None
    assert sessions.get("a", "alice", now=5.0) is session
    assert session.used_at == 5.0
    assert sessions.get("a", "mallory", now=6.0) is None
    assert sessions.get("b", "alice", now=6.0) is None
    assert ("a" in sessions, "b" in sessions) == (True, False)
    assert session.seat == Seat("alice", "a")


@pytest.mark.requirement("eras.up.sessions")
def test_the_one_used_longest_ago_gives_way_unless_it_is_busy() -> None:
    sessions = UpSessions(max_sessions=2)
    busy, first, second = _session("busy", is_busy=True), _session("first"), _session("second")
    for session in (busy, first):
        assert sessions.add(session) is None
    assert sessions.add(second) is first
    second.calls[1] = busy.calls[1]
    with pytest.raises(TooManyWaits):
        sessions.add(_session("third"))
    assert len(sessions) == 2


@pytest.mark.requirement("eras.up.sessions")
def test_only_idle_sessions_end() -> None:
    sessions = UpSessions()
    for session in (_session("busy", is_busy=True), _session("idle"), _session("used", used_at=1.0)):
        sessions.add(session)
    assert [session.id for session in sessions.idle(now=IDLE_S)] == ["idle"]
    assert len(sessions) == 2
    assert [session.id for session in sessions.idle(now=IDLE_S + 1)] == ["used"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=30))
def test_there_are_never_more_sessions_than_may_be(steps: list[tuple[str, bool]]) -> None:
    sessions = UpSessions(max_sessions=3)
    for number, (name, is_end) in enumerate(steps):
        known = sessions.get(name, "alice", now=float(number))
        if known is None:
            sessions.add(_session(name, used_at=float(number)))
        elif is_end:
            sessions.remove(known)
        assert len(sessions) <= 3


async def test_a_call_that_could_not_write_once_writes_no_more() -> None:
    call = _call(_session("a"), iter([True, False]))
    assert await call.put(b"1")
    assert not await call.put(b"2")
    assert not await call.put(b"3")
    assert call.is_left
    call.give_up()  # it has not begun
    assert call.is_over
