"""What goes up of a call that is signed on its way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.core.key_ring import KeyRing
from proxy.core.signature_fields import OUR_FIELDS, parse_origin
from proxy.core.signing import Refusal, Verdict
from proxy.downstream.outgoing_head import MAX_SIGNED_BYTES, OutgoingHead
from tests.support.corpus import OK, chunked, get, post
from tests.support.raw_http import Reply, connect
from tests.support.raw_upstream import Peer, RawUpstream, Received, answers, raw_upstream
from tests.support.relay_stand import Stand, relay_stand
from tests.support.signing import judged, key_of, signer_of

pytestmark = pytest.mark.requirement("signatures.outgoing")
RING = KeyRing([key_of("alice"), key_of("bob")])
FORGED = (
    b"X-Agent-Id: bob",
    b'Signature-Input: sig1=("@method");created=1',
    b"signature: sig1=:AAAA:",
    b"CONTENT-DIGEST: sha-256=:AAAA:",
)


@asynccontextmanager
async def _signing(agent_id: str = "alice", *, signs: bool = True) -> AsyncIterator[tuple[RawUpstream, Stand]]:
    async with raw_upstream() as upstream:
        origin = f"http://127.0.0.1:{upstream.port}"
        head = OutgoingHead(signer_of(RING, agent_id) if signs else None, parse_origin(origin))
        async with relay_stand(origin, head=head) as stand:
            yield upstream, stand


async def _ask(stand: Stand, request: bytes) -> Reply:
    async with asyncio.timeout(5), connect(stand.port) as wire:
        await wire.send(request)
        return await wire.reply(method=request.split(b" ", 1)[0])


def _judge(upstream: RawUpstream, received: Received) -> Verdict | Refusal:
    return judged(RING, f"http://127.0.0.1:{upstream.port}", received.head, received.body)


@pytest.mark.parametrize(
    "request_bytes",
    [
        get(b"/a/%2e%2E//b?c=%20;"),
        get(b"/", b"Content-Length: 0", method=b"POST"),
        get(b"/ws/a", b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: k"),
        get(b"/x", b"Transfer-Encoding: chunked", method=b"PUT") + chunked(b"one", b"two"),
        get(b"/x", b"Transfer-Encoding: chunked", method=b"PUT") + chunked(),
        get(b"/x", b"Content-Length: 3", method=b"POST") + b"abc",
    ],
)
@pytest.mark.parametrize("forged", [(), FORGED])
async def test_a_call_goes_up_signed_for_the_agent_whatever_it_brought(
    request_bytes: bytes, forged: tuple[bytes, ...]
) -> None:
    start, _, rest = request_bytes.partition(b"\r\n")
    async with _signing() as (upstream, stand):
        upstream.play(answers(OK))
        await _ask(stand, b"\r\n".join([start, *forged, rest]))
        (received,) = upstream.received
        verdict = _judge(upstream, received)
    assert isinstance(verdict, Verdict)
    assert verdict.agent_id == "alice"


async def test_without_an_agent_the_token_says_for_whom() -> None:
    async with _signing("") as (upstream, stand):
        upstream.play(answers(OK, OK))
        await _ask(stand, get(b"/", b"Authorization: Bearer s:bob:1:2"))
        await _ask(stand, get(b"/", *FORGED))
        verdicts = [_judge(upstream, each) for each in upstream.received]
    assert isinstance(verdicts[0], Verdict)
    assert verdicts[0].agent_id == "bob"
    assert verdicts[1] is Refusal.ABSENT


async def test_each_call_has_a_nonce_of_its_own_also_one_that_is_sent_again() -> None:
    async def dies(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()  # on the pooled connection, which then ends without a reply
        peer.abort()

    async with _signing() as (upstream, stand):
        upstream.play(dies)
        assert (await _ask(stand, get(b"/first"))).status == 200
        upstream.play(answers(OK))
        assert (await _ask(stand, get(b"/second"))).status == 200
        verdicts = [_judge(upstream, each) for each in upstream.received]
        targets = [each.target for each in upstream.received]
    assert targets == [b"/second", b"/second"]
    assert len({verdict.nonce for verdict in verdicts if isinstance(verdict, Verdict)}) == 2


@pytest.mark.parametrize(
    "head",
    [
        get(b"/x", b"Content-Length: %d" % (MAX_SIGNED_BYTES + 1), method=b"POST"),
        get(b"/x", b"Transfer-Encoding: chunked", method=b"POST")
        + b"%x\r\n" % (MAX_SIGNED_BYTES + 1)
        + bytes(MAX_SIGNED_BYTES + 1),
    ],
    ids=["of known length", "in chunks"],
)
async def test_a_body_too_long_to_be_signed_is_refused_and_nothing_of_it_goes_up(head: bytes) -> None:
    async with _signing() as (upstream, stand):
        reply = await _ask(stand, head)
        assert reply.status == 413
        assert b'"code":"body_too_large"' in reply.body
        assert upstream.connections == 0


async def test_the_longest_body_that_can_be_signed_is() -> None:
    body = bytes(range(256)) * (MAX_SIGNED_BYTES // 256)
    async with _signing() as (upstream, stand):
        upstream.play(answers(OK))
        await _ask(stand, post(body))
        verdict = _judge(upstream, upstream.received[0])
    assert isinstance(verdict, Verdict)


@pytest.mark.requirement("ingress.relays")
async def test_who_does_not_sign_lets_no_field_of_a_signature_through() -> None:
    async with _signing(signs=False) as (upstream, stand):
        upstream.play(answers(OK))
        await _ask(stand, get(b"/", b"X-Other: 1", *FORGED))
        (received,) = upstream.received
    names = {name.lower() for name, _ in received.head.headers}
    assert not names & OUR_FIELDS
    assert b"x-other" in names
