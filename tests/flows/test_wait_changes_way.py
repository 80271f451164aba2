"""A wait that leaves the elicitation way loses nothing of what that way left out, and nobody can push others off it."""

import pytest

from proxy.core import questions
from proxy.core.errors import BadBridgeReply, BridgeTimeout
from proxy.core.flags import parse_patch
from proxy.core.routing import Reason, Route, Way
from proxy.core.secret import Secret
from tests.support.fake_bridge import refused
from tests.support.flow_stand import Item, flow_stand, ids, items, sequences
from tests.support.manual_clock import settle


def _kinds(found: list[Item]) -> list[object]:
    """What each item is: the Bridge's raw note, or nothing of the kind."""
    return [item["data"].get("elicitation_type") for item in found if isinstance(item["data"], dict)]


class TestNothingIsLeftBehind:
    @pytest.mark.requirement("fallback.nothing_lost")
    async def test_a_question_whose_poll_fails_reaches_the_falling_wait_as_the_bridges_note(self) -> None:
        async with flow_stand() as made:
            made.bridge.writes_notes = True
            made.bridge.store({})
            token = made.bridge.token("bob")
            await made.known({"bob": token})
            task = await made.wait("bob", token, since=1)
            made.bridge.fails("pending", lambda: BridgeTimeout("hangs"))
            made.bridge.ask("bob")
            made.bridge.store({"n": 1})
            await made.clock.advance(3)
            assert task.result().exchange.fell_back is Reason.FALLBACK
            # The note comes before the message, so the agent's cursor cannot pass it unread.
            assert sequences(items(task)) == [2, 3]
            assert _kinds(items(task)) == ["elicitation_requested", None]

    @pytest.mark.requirement("fallback.nothing_lost")
    async def test_a_rollback_in_the_middle_shows_the_notes_that_the_wait_had_left_out(self) -> None:
        async with flow_stand() as made:
            made.bridge.writes_notes = True
            made.bridge.store({})
            token = made.bridge.token("bob")
            task = await made.wait("bob", token, since=1)
            made.bridge.ask("carol")
            await made.clock.advance(3)
            assert not task.done()  # a question to somebody else is nothing to read on this way
            await made.board.change(parse_patch({"elicitation_enabled": False}), author="test", expected=None)
            await made.clock.advance(0.1)
            assert task.result().exchange.route is Route.LEGACY
            assert sequences(items(task)) == [2]

    @pytest.mark.requirement("fallback.nothing_lost")
    async def test_a_question_for_which_the_book_has_no_room_comes_as_the_bridges_note(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(questions, "MAX_IN_ALL", 1)
        async with flow_stand() as made:
            made.bridge.writes_notes = True
            made.bridge.store({})
            made.feeds.question_created(made.bridge.ask("carol"))
            token = made.bridge.token("bob")
            await made.known({"bob": token})
            task = await made.wait("bob", token, since=2)
            made.bridge.ask("bob")
            await made.clock.advance(3)
            assert task.result().exchange.fell_back is Reason.FALLBACK
            assert _kinds(items(task)) == ["elicitation_requested"]
            assert made.breaker.way(made.clock.now()) is Way.OPEN

    @pytest.mark.requirement("questions.redelivery")
    async def test_a_question_in_a_reply_that_was_never_read_comes_again_while_it_can_be_answered(self) -> None:
        async with flow_stand(redeliver_s=30) as made:
            token = made.bridge.token("bob")
            question = made.bridge.ask("bob", timeout_s=30)
            first = await made.wait("bob", token)
            assert ids(items(first)) == [question.elicitation_id]
            again = await made.wait("bob", token, timeout_s=60)
            await made.clock.advance(12.1)
            assert ids(items(again)) == [question.elicitation_id]


class TestNobodyPushesOthersOff:
    @pytest.mark.requirement("breaker.not_by_one")
    async def test_a_token_that_the_bridge_never_accepted_cannot_open_the_breaker(self) -> None:
        async with flow_stand(breaker_failures=1) as made:
            made.bridge.fails("pending", lambda: refused(500))
            made.bridge.fails("wait", lambda: refused(403))
            for number in range(5):
                await made.peek("bob", Secret(f"forged {number}"))
            assert made.breaker.way(made.clock.now()) is Way.OPEN

    @pytest.mark.requirement("breaker.not_by_one")
    @pytest.mark.parametrize("error", [lambda: refused(400), lambda: refused(422), lambda: BadBridgeReply("poison")])
    async def test_what_is_one_agents_own_trouble_is_not_everybodys(self, error: object) -> None:
        assert callable(error)
        async with flow_stand(breaker_failures=1) as made:
            token = made.bridge.token("bob")
            await made.known({"bob": token})
            made.bridge.fails("pending", error)
            task = await made.wait("bob", token, timeout_s=5)
            await made.clock.advance(3)
            assert made.breaker.way(made.clock.now()) is Way.OPEN
            await made.clock.advance(2)
            assert task.result().exchange.fell_back is Reason.FALLBACK
            await settle()
