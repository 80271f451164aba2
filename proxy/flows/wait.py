"""Serve one wait in the elicitation cohort by driving its exchange."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from proxy.core.elicitation import Elicitation, question_item
from proxy.core.errors import SidecarError
from proxy.core.exchange import (
    Action,
    BridgeAway,
    BridgeSaid,
    DeadlinePassed,
    Event,
    Exchange,
    Fail,
    Found,
    Look,
    Opened,
    Park,
    PassOn,
    Reply,
    ReplyTimeout,
    Stirred,
)
from proxy.core.legacy import ITEMS_PER_REPLY, WaitAsk, write_reply, write_timeout_reply
from proxy.core.outcome import Result
from proxy.core.questions import MAX_PER_AGENT
from proxy.core.routing import Decision, Route
from proxy.core.secret import Secret
from proxy.flows.feed import Feed
from proxy.flows.feeds import Feeds
from proxy.flows.showing import as_told
from proxy.flows.waiter import Parcel, Waiter

NOTHING: Final = Found()

MESSAGES_FIRST_S: Final = 0.25
"""How long a wait whose questions are all repeated, or too many, looks for messages first.

Source: ours; a Bridge with messages answers in some milliseconds.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitServed:
    """How a wait ended: what to write, and what the outcome needs to know."""

    exchange: Exchange
    result: Result
    status: int
    body: bytes
    content_type: str = "application/json"
    found: Found = NOTHING
    empty_wakes: int = 0
    error: SidecarError | None = None


async def serve_wait(
    feeds: Feeds, ask: WaitAsk, decision: Decision, credential: Secret, *, may_fall_back: bool
) -> WaitServed:
    """Hold the wait until there is something for the agent, its time is over, or the Bridge refuses it.

    Raises:
        TooManyWaits: as many waits are parked as may be.
    """
    clock = feeds.parts.clock
    opened_at = clock.now()
    exchange = Exchange(
        route=decision.route,
        reason=decision.reason,
        deadline=opened_at + ask.hold_s,
        may_fall_back=may_fall_back,
        is_in_place=decision.route is Route.LEGACY,
    )
    waiter = Waiter(ask, on_elicitation=decision.route is Route.ELICITATION)
    if feeds.draining:  # a poll begun now would only hold up the end
        return _served(exchange, ReplyTimeout(), waiter, waited_s=0.0)
    with feeds.joined(waiter, credential) as feed, _ending_with_bridge(exchange, feed, waiter):
        event: Event = Opened()
        while True:
            action = exchange.step(event)
            if waiter.on_elicitation and exchange.route is not Route.ELICITATION:
                feed.turn_legacy(waiter)
            match action:
                case Look() if isinstance(event, Opened) and waiter.on_elicitation and _may_wait(feeds, feed):
                    event = await _messages_first(feeds, feed, waiter, exchange)
                case Look():
                    event = _look(feeds, feed, waiter)
                case Park(until):
                    event = await waiter.next_event(until, clock)
                    if isinstance(event, DeadlinePassed) and exchange.is_in_place and feed.access.is_disturbed():
                        event = BridgeAway()  # the next try would have been too late
                case Reply() | ReplyTimeout() | PassOn() | Fail():
                    await _put_on_record(feeds, action)
                    if _knows_place(feed):
                        feeds.parts.places.stands(feed.agent_id, ask.since)
                    return _served(exchange, action, waiter, waited_s=clock.now() - opened_at)


@contextmanager
def _ending_with_bridge(exchange: Exchange, feed: Feed, waiter: Waiter) -> Iterator[None]:
    """Tell a wait that stands for a relayed call when contact with the Bridge breaks, as that call would break."""
    if not exchange.is_in_place:
        yield
        return
    with feed.access.watched(lambda: waiter.post(BridgeAway())):
        yield


def _knows_place(feed: Feed) -> bool:
    """Whether the cursor of a wait on this feed is its agent's own word."""
    return feed.access.is_agents_own and feed.access.is_known()


async def _put_on_record(feeds: Feeds, action: Action) -> None:
    """Let nobody be told of a question in a way that a crash would make us forget."""
    if isinstance(action, Reply) and action.found.tells:
        await feeds.parts.synced()


async def serve_peek(feeds: Feeds, ask: WaitAsk, decision: Decision, credential: Secret) -> WaitServed | None:
    """Serve a wait of zero seconds: hand out open questions; None when there are none and the Bridge shall answer."""
    waiter = Waiter(ask, on_elicitation=True)
    with feeds.visited(ask.agent_id, credential) as feed:
        try:
            served = await feed.peek()
        except TimeoutError:
            served = False
        found = _look(feeds, feed, waiter) if served else NOTHING
    if not found.items:
        return None
    exchange = Exchange(
        route=decision.route, reason=decision.reason, deadline=feeds.parts.clock.now(), may_fall_back=True
    )
    action = Reply(found)
    await _put_on_record(feeds, action)
    return _served(exchange, action, waiter, waited_s=0.0)


def _may_wait(feeds: Feeds, feed: Feed) -> bool:
    """Whether what the agent could be asked now it was asked before, or is more than a reply holds."""
    clock, book = feeds.parts.clock, feeds.parts.book
    asked = book.listing(feed.agent_id, wall=clock.wall(), limit=MAX_PER_AGENT)
    return len(asked) > ITEMS_PER_REPLY or (bool(asked) and all(each.is_offered for each in asked))


async def _messages_first(feeds: Feeds, feed: Feed, waiter: Waiter, exchange: Exchange) -> Event:
    """Give messages the time of one look before questions that were ignored, or are too many, are asked.

    A wait that ended at once with them, each time, would never bring a message.
    """
    clock = feeds.parts.clock
    until = clock.now() + MESSAGES_FIRST_S
    while not waiter.parcels and _may_wait(feeds, feed) and clock.now() < until < exchange.deadline:
        event = await waiter.next_event(until, clock)
        if not isinstance(event, Stirred | DeadlinePassed):  # the questions are stirred up, too
            return event
    return Stirred()


def _look(feeds: Feeds, feed: Feed, waiter: Waiter) -> Found:
    """What can be handed to this wait now: questions first, then messages, ten at most."""
    clock, book = feeds.parts.clock, feeds.parts.book
    told = feeds.parts.told
    questions = []
    if feed.access.is_trusted():
        # Half of the places are the messages', or questions that nobody answers would keep them back for good.
        room = ITEMS_PER_REPLY - min(len(waiter.parcels), ITEMS_PER_REPLY // 2)
        # On the legacy way what was told as an elicitation stays one, until it is answered.
        among = _every if waiter.on_elicitation else told.was_asked
        questions = book.offer(feed.agent_id, now=clock.now(), wall=clock.wall(), limit=room, among=among)
    by_themselves = {question.elicitation_id for question in questions}
    parcels = [
        parcel
        for parcel in _parcels(feeds, feed, waiter, room=ITEMS_PER_REPLY - len(questions))
        if parcel.elicitation_id not in by_themselves
    ]
    placed = [parcel.elicitation_id for parcel in parcels if parcel.elicitation_id is not None]
    book.hand_out(placed, now=clock.now(), wall=clock.wall())
    for parcel in parcels:
        if parcel.note_key is not None and feed.access.is_agents_own:
            told.as_note(feed.agent_id, parcel.note_key, parcel.sequence)
    asked = [question_item(question, sequence=waiter.ask.since) for question in questions]
    created = [question.created_at for question in questions]
    return Found(
        items=(*asked, *(parcel.body for parcel in parcels)),
        elicitation_ids=(*(question.elicitation_id for question in questions), *placed),
        upto=max([waiter.ask.since, *(parcel.sequence for parcel in parcels)]) if _knows_place(feed) else 0,
        tells=bool(questions) or any(parcel.note_key or parcel.elicitation_id for parcel in parcels),
        created_at=(*created, *(parcel.created_at for parcel in parcels if parcel.created_at is not None)),
    )


def _every(_question: Elicitation) -> bool:
    return True


def _parcels(feeds: Feeds, feed: Feed, waiter: Waiter, *, room: int) -> list[Parcel]:
    """The first messages for this wait; none behind the note of a question that it has not been asked yet.

    Its cursor would pass the note, which is all that the legacy way has of that question.
    """
    parts = feeds.parts
    found = waiter.first_parcels(room)
    if waiter.on_elicitation:
        wall, untold = parts.clock.wall(), parts.told.untold(feed.agent_id)
        ahead = [number for number, named in untold if parts.book.still_asks(named, wall=wall)]
        return [parcel for parcel in found if not ahead or parcel.sequence < min(ahead)]
    return [shown for parcel in found if (shown := as_told(parts, feed.agent_id, parcel)) is not None]


def _served(
    exchange: Exchange, action: Reply | ReplyTimeout | PassOn | Fail, waiter: Waiter, *, waited_s: float
) -> WaitServed:
    match action:
        case Reply(found):
            body = write_reply(found.items, waited_s=waited_s)
            return WaitServed(
                exchange=exchange,
                result=Result.DELIVERED,
                status=200,
                body=body,
                found=found,
                empty_wakes=waiter.empty_wakes,
            )
        case ReplyTimeout():
            body = write_timeout_reply(waiter.ask.timeout_s)
            return WaitServed(
                exchange=exchange, result=Result.TIMED_OUT, status=200, body=body, empty_wakes=waiter.empty_wakes
            )
        case PassOn(BridgeSaid(status=status, body=body, content_type=content_type)):
            return WaitServed(
                exchange=exchange, result=Result.RELAYED, status=status, body=body, content_type=content_type
            )
        case Fail(error):
            return WaitServed(exchange=exchange, result=Result.FAILED, status=error.status, body=b"", error=error)
