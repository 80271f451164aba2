"""Make questions of legacy sends, in the name and with the token of their senders.

The send is stored first, as ever: what goes wrong from then on leaves it a message. So its question is put once and
never again, and only as often as the Bridge allows, because a sender who is refused would use up its allowance of
calls as well. The reply to the sender does not wait for it.

Source: ARCHITECTURE.md 2.4; BRIDGE.md 2.1 (session abuse rule), 2.5 (limit, no idempotency).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson

from proxy.core.bridge_token import issued_to
from proxy.core.bus import Ask
from proxy.core.elicitation import Elicitation
from proxy.core.errors import InvalidInput, SidecarError, StateUnavailable
from proxy.core.identity import Identity, Witness
from proxy.core.ids import parse_sequence
from proxy.core.outcome import ElicitationOutcome
from proxy.core.routing import Route
from proxy.core.secret import Secret
from proxy.core.sends import DualSends, Send, ask_of, becomes_question, read_send
from proxy.flows.feeds import Feeds
from proxy.flows.flags import FlagBoard
from proxy.ports import QuestionBus, SendBridge

Grants = Callable[[Identity], Awaitable[bool]]
"""Take one question from what an agent is granted; False where nothing is left.

Raises:
    StateUnavailable: that cannot be told.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRule:
    """Which sends become questions, and how long such a question lives."""

    mode: DualSends
    life_s: float


@dataclass(slots=True, kw_only=True)
class ArrivingSend:
    """A send that is to become a question, on its way to the Bridge."""

    send: Send
    credential: Secret
    bridge: SendBridge
    is_stored: bool = False


class Sends:
    """The senders' side of dual mode."""

    __slots__ = ("_board", "_bridge", "_bus", "_feeds", "_grants", "_rule")

    def __init__(
        self,
        feeds: Feeds,
        board: FlagBoard,
        rule: SendRule,
        *,
        bridge: SendBridge | None,
        bus: QuestionBus | None,
        grants: Grants,
    ) -> None:
        """`bridge` is None where nobody can be asked in an agent's name."""
        self._feeds = feeds
        self._board = board
        self._rule = rule
        self._bridge = bridge
        self._bus = bus
        self._grants = grants

    async def arrived(self, body: bytes, credential: Secret, caller: Identity | None) -> ArrivingSend | None:
        """A call of `POST /event/store`, before it is relayed; None where it stays a message.

        `caller` is whoever is vouched for. Whatever becomes of the call, `gone` has to be told.
        """
        if self._bridge is None or self._rule.mode is DualSends.OFF:
            return None
        send = read_send(body)
        if send is None or not becomes_question(send, self._rule.mode) or not self._may_be_asked(send, credential):
            return None
        if not await self._is_granted(send, caller):
            return None
        self._feeds.parts.under_way.begin(send)
        return ArrivingSend(send=send, credential=credential, bridge=self._bridge)

    def _may_be_asked(self, send: Send, credential: Secret) -> bool:
        """Whether the addressee is on the elicitation way now, and the sender itself speaks."""
        parts = self._feeds.parts
        now = parts.clock.now()
        if issued_to(credential) not in {None, send.from_agent}:
            return False
        return self._board.decide(send.to_agent, parts.breaker.way(now)).route is Route.ELICITATION

    async def _is_granted(self, send: Send, caller: Identity | None) -> bool:
        """Whether the sender may put one more question, by the same allowance as for questions of its own."""
        spender = caller or Identity(send.from_agent, Witness.CLAIM, b"-")
        try:
            return await self._grants(spender)
        except StateUnavailable:  # it stays a message
            return False

    def stored(self, arriving: ArrivingSend, reply: bytes) -> None:
        """The Bridge has stored it, and this is what it replied: the question is made, whoever still waits for it."""
        try:
            sequence = parse_sequence(orjson.loads(reply)["sequence"])
        except (orjson.JSONDecodeError, KeyError, TypeError, InvalidInput):
            return
        ask = ask_of(arriving.send, sequence, life_s=self._rule.life_s)
        if ask is None:
            return
        arriving.is_stored = True
        _ = self._feeds.parts.errands.begin(self._make(ask, arriving), f"question of {arriving.send.from_agent}")

    def gone(self, arriving: ArrivingSend) -> None:
        """The call is over."""
        if not arriving.is_stored:
            self._feeds.parts.under_way.end(arriving.send)

    async def _make(self, ask: Ask, arriving: ArrivingSend) -> None:
        parts = self._feeds.parts
        try:
            question = await self._asked(ask, arriving)
            self._feeds.question_created(question)
            parts.sent.believe(question.elicitation_id)
        except SidecarError:  # the addressee reads the send, as if there were no elicitation
            parts.recorder.elicitation(ElicitationOutcome.UNDELIVERED, arriving.send.from_agent)
        except Exception as error:  # noqa: BLE001  # boundary, see docs/decisions/0003-boundaries.md
            parts.recorder.defect("send", error)
        finally:
            parts.under_way.end(arriving.send)

    async def _asked(self, ask: Ask, arriving: ArrivingSend) -> Elicitation:
        if self._bus is not None and await self._bus.carries(arriving.credential):
            return await self._bus.ask(ask, arriving.credential)
        return await arriving.bridge.create(ask, arriving.credential)
