"""Every exchange of the corpus looks the same direct and through the relay, hop-by-hop fields aside."""

import asyncio
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.support.conversations import CONVERSATIONS
from tests.support.corpus import SIMPLE, Case
from tests.support.raw_http import Headers, Reply, connect
from tests.support.raw_upstream import RawUpstream, Received, raw_upstream
from tests.support.relay_stand import relay_stand

CORPUS = (*SIMPLE, *CONVERSATIONS)

# Written out here and not imported: the relay's own list must not judge itself.
PER_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What both ends saw of one exchange."""

    upstream: list[tuple[object, ...]]
    agent: list[tuple[object, ...]]


def _end_to_end(headers: Headers, *, host: bool) -> Counter[tuple[bytes, bytes]]:
    named = {
        option.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    left_out = PER_CONNECTION | named | (frozenset() if host else {b"host"})
    return Counter((name, value) for name, value in headers if name.lower() not in left_out)


def _request(received: Received) -> tuple[object, ...]:
    fields = _end_to_end(received.head.headers, host=False)
    return received.method, received.target, fields, received.body, received.complete


def _reply(reply: Reply) -> tuple[object, ...]:
    fields = _end_to_end(reply.headers, host=True)
    return reply.status, reply.reason, fields, reply.body, reply.complete


async def _observe(case: Case, upstream: RawUpstream, port: int) -> Seen:
    stage = upstream.play(case.upstream)
    async with asyncio.timeout(20), connect(port) as wire:
        replies = await case.play(wire, stage, b"127.0.0.1:%d" % port)
    return Seen([_request(one) for one in upstream.received], [_reply(one) for one in replies])


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
async def test_an_exchange_looks_the_same_direct_and_through_the_relay(case: Case) -> None:
    async with raw_upstream() as upstream, relay_stand(f"http://127.0.0.1:{upstream.port}") as stand:
        direct = await _observe(case, upstream, upstream.port)
        relayed = await _observe(case, upstream, stand.port)
    assert upstream.failures == []
    assert relayed.upstream == direct.upstream
    assert relayed.agent == direct.agent


def test_the_corpus_has_at_least_sixty_exchanges_with_names_of_their_own() -> None:
    names = [case.name for case in CORPUS]
    assert len(set(names)) == len(names) >= 60
