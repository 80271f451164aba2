"""A signed body on its way: nobody has the whole of one that is not what was signed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.content_digest import parse_digest, write_digest
from proxy.core.errors import BodyNotSigned
from proxy.core.signature_fields import Terms, parse_origin
from proxy.core.signing import sign_call
from proxy.downstream.signed_body import SignedBody
from tests.support.fort import Fort, Signed, fort
from tests.support.raw_http import Wire, connect
from tests.support.raw_upstream import Peer, RawUpstream, raw_upstream

LARGE = b"x" * (3 * 1024 * 1024)
OBSERVED = {"identity.mode": "off", "signatures.mode": "observe"}


def body_for(content: bytes) -> SignedBody:
    digest = parse_digest(write_digest(content))
    assert digest is not None

    def refuse() -> None:
        raise BodyNotSigned("another one", reason="digest_mismatch")

    return SignedBody(digest.checker(), refuse)


@pytest.mark.requirement("admission.bodies")
class TestPieces:
    @given(st.lists(st.binary(min_size=1, max_size=9), max_size=9))
    def test_however_it_is_cut_the_same_bytes_go_on(self, pieces: list[bytes]) -> None:
        body = body_for(b"".join(pieces))
        gone = b"".join(body.put(piece) for piece in pieces)
        assert gone == b"".join(pieces[:-1])
        assert gone + body.rest() == b"".join(pieces)
        assert body.rest() == b""

    @given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=9), st.binary(max_size=9))
    def test_the_last_piece_of_another_body_never_goes_on(self, pieces: list[bytes], signed: bytes) -> None:
        whole = b"".join(pieces)
        body = body_for(signed if signed != whole else whole + b"!")
        assert len(b"".join(body.put(piece) for piece in pieces)) < len(whole)
        with pytest.raises(BodyNotSigned):
            body.rest()

    def test_what_is_only_observed_goes_on_whole(self) -> None:
        told: list[str] = []
        digest = parse_digest(write_digest(b"signed"))
        assert digest is not None
        body = SignedBody(digest.checker(), lambda: told.append("counted"))
        assert body.put(b"another") + body.rest() + body.rest() == b"another"
        assert told == ["counted"]


async def _swallow(peer: Peer) -> None:
    """Take what comes, as far as it comes; reply to what is whole."""
    if (await peer.request()).complete:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def _send(wire: Wire, call: Signed, body: bytes, *, is_chunked: bool, first: bytes = b"") -> None:
    fields = "".join(f"{name}: {value}\r\n" for name, value in call.headers.items())
    framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(body)}"
    head = f"{call.method} {call.target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}{framing}\r\n".encode()
    await wire.send(head + first + b"\r\n")
    if not is_chunked:
        await wire.send(body)
        return
    for start in range(0, len(body), 65_536):
        piece = body[start : start + 65_536]
        await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    await wire.send(b"0\r\n\r\n")


async def _sent(made: Fort, upstream: RawUpstream, call: Signed, body: bytes, *, is_chunked: bool) -> int:
    upstream.play(_swallow)
    async with connect(made.house.port) as wire:
        await _send(wire, call, body, is_chunked=is_chunked)
        return (await wire.reply()).status


@pytest.mark.requirement("admission.bodies")
class TestOnTheWay:
    @pytest.mark.parametrize("is_chunked", [False, True])
    @pytest.mark.parametrize("size", [0, 1, 100_000, len(LARGE)])
    async def test_a_body_as_it_was_signed_arrives_whole(self, tmp_path: Path, size: int, *, is_chunked: bool) -> None:
        body = LARGE[:size]
        async with raw_upstream() as upstream, fort(tmp_path, _before(upstream)) as made:
            call = made.sign("alice", "POST", "/task/dispatch", body or None)
            if is_chunked and not body:
                call = _with_digest_of_nothing(made)
            assert await _sent(made, upstream, call, body, is_chunked=is_chunked) == 200
            (received,) = upstream.received
            assert (received.body, received.complete) == (body, True)

    @pytest.mark.parametrize("is_chunked", [False, True])
    @pytest.mark.parametrize("size", [1, 100_000, len(LARGE)])
    async def test_of_another_body_the_upstream_never_has_the_whole(
        self, tmp_path: Path, size: int, *, is_chunked: bool
    ) -> None:
        body = LARGE[: size - 1] + b"y"
        async with raw_upstream() as upstream, fort(tmp_path, _before(upstream)) as made:
            call = made.sign("alice", "POST", "/task/dispatch", LARGE[:size])
            assert await _sent(made, upstream, call, body, is_chunked=is_chunked) == 401
            assert all(not received.complete for received in upstream.received)
            assert await made.count('signature_failures_total{reason="digest_mismatch"}') == 1
            assert [line["error_code"] for line in made.house.lines] == ["body_not_signed"]

    @pytest.mark.parametrize("is_chunked", [False, True])
    @pytest.mark.parametrize("size", [1, 100_000, len(LARGE)])
    async def test_observing_lets_another_body_through_and_counts_it(
        self, tmp_path: Path, size: int, *, is_chunked: bool
    ) -> None:
        body = LARGE[: size - 1] + b"y"
        async with raw_upstream() as upstream, fort(tmp_path, {**_before(upstream), **OBSERVED}) as made:
            call = made.sign("alice", "POST", "/task/dispatch", LARGE[:size])
            assert await _sent(made, upstream, call, body, is_chunked=is_chunked) == 200
            assert upstream.received[0].body == body
            assert await made.count('signature_failures_total{reason="digest_mismatch"}') == 1

    async def test_a_body_where_none_was_signed_is_refused_by_the_head(self, tmp_path: Path) -> None:
        async with raw_upstream() as upstream, fort(tmp_path, _before(upstream)) as made:
            for method in ("GET", "POST", "DELETE"):
                call = made.sign("alice", method, "/task/dispatch")
                for is_chunked in (False, True):
                    assert await _sent(made, upstream, call, b"added", is_chunked=is_chunked) == 401
            assert upstream.connections == 0

    async def test_a_signed_body_that_is_left_out_is_refused_by_the_head(self, tmp_path: Path) -> None:
        async with raw_upstream() as upstream, fort(tmp_path, _before(upstream)) as made:
            call = made.sign("alice", "POST", "/task/dispatch", b"signed")
            assert await _sent(made, upstream, call, b"", is_chunked=False) == 401
            assert await _sent(made, upstream, call, b"", is_chunked=True) == 401
            assert all(not received.complete for received in upstream.received)

    async def test_whoever_waits_to_be_asked_for_the_body_is_judged_by_the_head_alone(self, tmp_path: Path) -> None:
        async with raw_upstream() as upstream, fort(tmp_path, _before(upstream)) as made:
            call = made.sign("alice", "POST", "/task/dispatch", b"signed")
            forged = call.with_headers(X_Agent_Id="bob")
            async with connect(made.house.port) as wire:
                await _send(wire, forged, b"", is_chunked=True, first=b"Expect: 100-continue\r\n")
                reply = await wire.reply()
                assert (reply.status, reply.interim) == (401, ())
            assert upstream.connections == 0

    async def test_a_small_body_that_waits_to_be_asked_for_is_compared_before_it_goes_up(self, tmp_path: Path) -> None:
        async with raw_upstream() as upstream, fort(tmp_path, _before(upstream)) as made:
            call = made.sign("alice", "POST", "/task/dispatch", b"signed")
            async with connect(made.house.port) as wire:
                fields = "".join(f"{name}: {value}\r\n" for name, value in call.headers.items())
                await wire.send(
                    f"POST {call.target} HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n{fields}".encode()
                    + b"Content-Length: 6\r\n\r\n"
                )
                assert (await wire.reader.readline()).startswith(b"HTTP/1.1 100")
                await wire.reader.readline()
                await wire.send(b"signet")
                assert (await wire.reply()).status == 401
            assert upstream.connections == 0

    async def test_a_door_that_reads_a_body_in_chunks_compares_it_before_it_looks(self, tmp_path: Path) -> None:
        async with fort(tmp_path) as made:
            for target in ("/mcp", "/event/store", "/elicitation/create"):
                call = made.sign("alice", "POST", target, b'{"agent_id":"alice","from_agent":"alice"}')
                async with connect(made.house.port) as wire:
                    await _send(wire, call, b'{"agent_id":"alice","from_agent":"alicf"}', is_chunked=True)
                    assert (await wire.reply()).status in {401, 403}
            assert not made.bridge.state.arrived["POST /event/store"]


def _before(upstream: RawUpstream) -> dict[str, str]:
    return {"bridge.url": f"http://127.0.0.1:{upstream.port}"}


def _with_digest_of_nothing(made: Fort) -> Signed:
    """A call whose body is signed to be empty."""
    fields = sign_call(
        made.keys["alice"],
        method=b"POST",
        target=b"/task/dispatch",
        origin=parse_origin(f"http://127.0.0.1:{made.house.port}"),
        terms=Terms.at(made.stand.clock.wall(), "nonce-of-an-empty-one", life_s=300),
        digest=write_digest(b""),
    )
    headers = {name.decode(): value.decode() for name, value in fields}
    return Signed(method="POST", target="/task/dispatch", body=b"", headers=headers)
