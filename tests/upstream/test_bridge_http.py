"""The Bridge over HTTP: what goes over the wire, and how every way to fail comes back in our own words."""

import asyncio
import contextlib
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import orjson
import pytest
from yarl import URL

from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus
from proxy.core.errors import (
    BadBridgeReply,
    BridgeFault,
    BridgeRefused,
    BridgeTimeout,
    BridgeUnavailable,
)
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.secret import Secret
from proxy.ports import Bridge
from proxy.upstream import bridge_http
from proxy.upstream.bridge_http import HttpBridge
from proxy.upstream.session import open_bridge_session
from tests.support.raw_upstream import Peer, RawUpstream, Script, answers, raw_upstream

BOB = AgentId("bob")
TOKEN = Secret("Bearer very-secret-token")
ID = ElicitationId("elicit_1")
ANSWER = Answer(elicitation_id=ID, kind=AnswerKind.ACCEPT, content={"a": 1})
EMPTY = b'{"events":[]}'
LONG_S = 5.0

Call = Callable[[Bridge], Awaitable[object]]

CALLS: dict[str, Call] = {
    "wait": lambda bridge: bridge.wait(BOB, TOKEN, since=0, hold_s=1),
    "pending": lambda bridge: bridge.pending(BOB, TOKEN),
    "respond": lambda bridge: bridge.respond(ANSWER, BOB, TOKEN),
    "status": lambda bridge: bridge.status(ID, TOKEN),
    "open_session": lambda bridge: bridge.open_session(BOB),
}
READING = {name: call for name, call in CALLS.items() if name != "respond"}


@dataclass(frozen=True, slots=True)
class Line:
    """A Bridge port and the scripted server behind it."""

    bridge: HttpBridge
    upstream: RawUpstream


@contextlib.asynccontextmanager
async def line(script: Script | None = None, *, request_timeout_s: float = LONG_S) -> AsyncIterator[Line]:
    async with raw_upstream() as upstream, open_bridge_session(connect_timeout_s=1) as session:
        if script is not None:
            upstream.play(script)
        url = URL(f"http://127.0.0.1:{upstream.port}")
        async with asyncio.timeout(10):
            yield Line(HttpBridge(session, url, request_timeout_s=request_timeout_s), upstream)


def reply(body: bytes = b"", *, status: str = "200 OK", headers: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n" % (status.encode(), len(body))
    return head + headers + b"\r\n" + body


async def _fault(call: Call, bridge: Bridge) -> BridgeFault:
    """The fault of a call; no text of it, nor of what caused it, shows a credential."""
    with pytest.raises(BridgeFault) as caught:
        await call(bridge)
    error: BaseException | None = caught.value
    while error is not None:
        assert "very-secret-token" not in f"{error} {error!r}"
        error = error.__cause__ if error.__suppress_context__ else error.__context__
    assert "very-secret-token" not in str(caught.value.problem())
    return caught.value


each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
each_reading = pytest.mark.parametrize("call", READING.values(), ids=READING)


class TestSent:
    async def test_a_wait_names_agent_cursor_and_time_and_carries_the_credential(self) -> None:
        async with line(answers(reply(EMPTY))) as made:
            await made.bridge.wait(AgentId("b&b ü"), TOKEN, since=41, hold_s=20)
            (sent,) = made.upstream.received
        target = URL(sent.target.decode(), encoded=True)
        assert (sent.method, target.path) == (b"GET", "/event/wait")
        assert dict(target.query) == {"agent_id": "b&b ü", "since_sequence": "41", "timeout_seconds": "20"}
        assert sent.head.all(b"authorization") == [b"Bearer very-secret-token"]
        assert sent.head.all(b"accept") == [b"application/json"]

    @pytest.mark.parametrize(("hold_s", "sent_s"), [(0.0, "1"), (0.4, "1"), (1.0, "1"), (2.9, "2"), (-5.0, "1")])
    async def test_a_wait_is_held_for_whole_seconds_and_for_one_at_least(self, hold_s: float, sent_s: str) -> None:
        async with line(answers(reply(EMPTY))) as made:
            await made.bridge.wait(BOB, TOKEN, since=0, hold_s=hold_s)
            (sent,) = made.upstream.received
        assert URL(sent.target.decode(), encoded=True).query["timeout_seconds"] == sent_s

    async def test_an_answer_is_sent_as_json_in_the_bridges_words(self) -> None:
        async with line(answers(reply(b"{}"))) as made:
            await made.bridge.respond(ANSWER, BOB, TOKEN)
            (sent,) = made.upstream.received
        assert (sent.method, sent.target) == (b"POST", b"/elicitation/respond")
        assert sent.head.all(b"content-type") == [b"application/json"]
        assert orjson.loads(sent.body) == {
            "elicitation_id": "elicit_1",
            "responding_agent": "bob",
            "response_type": "accept",
            "data": {"a": 1},
        }

    async def test_a_session_is_opened_without_a_credential(self) -> None:
        async with line(answers(reply(b'{"session_token":"a:b:c"}'))) as made:
            opened = await made.bridge.open_session(BOB)
            (sent,) = made.upstream.received
        assert opened.reveal() == "Bearer a:b:c"
        assert sent.head.all(b"authorization") == []
        assert orjson.loads(sent.body)["agent_id"] == "bob"

    @pytest.mark.parametrize(
        ("name", "target"),
        [
            ("../x", b"/elicitation/status/..%2Fx"),
            ("../../session/create", b"/elicitation/status/..%2F..%2Fsession%2Fcreate"),
            ("%2e%2e", b"/elicitation/status/%252e%252e"),
            ("%2e%2e%2fx", b"/elicitation/status/%252e%252e%252fx"),
            ("a/b?c", b"/elicitation/status/a%2Fb%3Fc"),
            ("a#b", b"/elicitation/status/a%23b"),
            ("a b\\c", b"/elicitation/status/a%20b%5Cc"),
            ("\N{SNOWMAN}", b"/elicitation/status/%E2%98%83"),
            ("//host/x", b"/elicitation/status/%2F%2Fhost%2Fx"),
        ],
    )
    @pytest.mark.requirement("upstream.one_segment")
    async def test_an_id_stays_one_segment_of_the_path(self, name: str, target: bytes) -> None:
        async with line(answers(reply(b'{"status":"pending"}'))) as made:
            assert await made.bridge.status(ElicitationId(name), TOKEN) is BridgeStatus.PENDING
            (sent,) = made.upstream.received
        assert sent.target == target

    @pytest.mark.parametrize("name", [".", ".."])
    @pytest.mark.requirement("upstream.one_segment")
    async def test_an_id_that_no_quoting_can_tame_is_not_asked_for(self, name: str) -> None:
        async with line() as made:
            assert await made.bridge.status(ElicitationId(name), TOKEN) is None
            assert made.upstream.received == []

    async def test_one_connection_serves_calls_that_follow_one_another(self) -> None:
        async with line(answers(*[reply(EMPTY)] * 3)) as made:
            for _ in range(3):
                await made.bridge.wait(BOB, TOKEN, since=0, hold_s=1)
            assert made.upstream.connections == 1


@pytest.mark.requirement("upstream.faults")
class TestFailures:
    @each_call
    @pytest.mark.requirement("upstream.no_secret")
    async def test_a_refused_connection(self, call: Call) -> None:
        async with line() as made:
            pass
        async with open_bridge_session(connect_timeout_s=1) as session:
            url = URL(f"http://127.0.0.1:{made.upstream.port}")
            fault = await _fault(call, HttpBridge(session, url, request_timeout_s=LONG_S))
        assert isinstance(fault, BridgeUnavailable)
        assert f"is the Bridge running at {url}?" in fault.detail

    async def test_a_name_that_does_not_resolve(self) -> None:
        async with open_bridge_session(connect_timeout_s=5) as session:
            bridge = HttpBridge(session, URL("http://no-such-host.invalid:1"), request_timeout_s=LONG_S)
            fault = await _fault(CALLS["pending"], bridge)
        assert isinstance(fault, BridgeUnavailable | BridgeTimeout)

    async def test_a_host_that_does_not_accept_is_given_up_after_the_time_for_connecting(self) -> None:
        with contextlib.ExitStack() as stack:
            deaf = stack.enter_context(socket.socket())
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)  # noqa: FBT003  # the standard library takes it by position only
                filler.connect_ex(deaf.getsockname())
            url = URL(f"http://127.0.0.1:{deaf.getsockname()[1]}")
            async with open_bridge_session(connect_timeout_s=0.05) as session, asyncio.timeout(5):
                # Only the session's bound on connecting can end this within the five seconds.
                fault = await _fault(CALLS["wait"], HttpBridge(session, url, request_timeout_s=60))
        assert isinstance(fault, BridgeTimeout | BridgeUnavailable)

    @each_call
    async def test_no_answer_in_time(self, call: Call) -> None:
        async def is_silent(peer: Peer) -> None:
            await peer.request()
            await peer.gone()

        async with line(is_silent, request_timeout_s=0.05) as made:
            fault = await _fault(call, made.bridge)
        assert isinstance(fault, BridgeTimeout)
        assert "no answer from /" in fault.detail

    async def test_a_wait_may_take_its_own_time_before_the_time_for_an_answer_begins(self) -> None:
        async def is_slow(peer: Peer) -> None:
            await peer.request()
            await peer.stage.until("go")
            await peer.send(reply(EMPTY))

        async with line(is_slow, request_timeout_s=0.2) as made, asyncio.TaskGroup() as group:
            task = group.create_task(made.bridge.wait(BOB, TOKEN, since=0, hold_s=3))
            asyncio.get_running_loop().call_later(0.4, made.upstream.stage.reached, "go")
        assert task.result() == ()

    @each_call
    async def test_a_reset(self, call: Call) -> None:
        async def resets(peer: Peer) -> None:
            await peer.request()
            raw: socket.socket = peer.wire.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.abort()

        async with line(resets) as made:
            fault = await _fault(call, made.bridge)
        assert isinstance(fault, BridgeUnavailable)

    @each_call
    @pytest.mark.parametrize(
        "sent",
        [
            b"",
            b"\x00\xff\x00 this is not HTTP\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
            b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n",
        ],
        ids=["nothing", "no HTTP", "bad length", "cut body", "bad chunk", "bad gzip", "endless field"],
    )
    @pytest.mark.requirement("upstream.no_secret")
    async def test_garbage(self, call: Call, sent: bytes) -> None:
        async with line(answers(sent)) as made:
            fault = await _fault(call, made.bridge)
        assert isinstance(fault, BridgeUnavailable)

    @each_reading
    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'"text"', b"{}", b'{"events":3}', b"\xff\xfe{"])
    async def test_an_answer_that_is_not_what_was_promised(self, call: Call, body: bytes) -> None:
        async with line(answers(reply(body))) as made:
            fault = await _fault(call, made.bridge)
        assert isinstance(fault, BadBridgeReply)

    async def test_what_the_bridge_says_to_an_answer_it_took_does_not_matter(self) -> None:
        async with line(answers(reply(b"<html>"))) as made:
            await made.bridge.respond(ANSWER, BOB, TOKEN)

    @pytest.mark.parametrize("token", ["null", "7", "{}", '""', '"a\\r\\nX: y"', '"a b"', '"\\u2603"', '"\\u0000"'])
    async def test_a_session_token_that_fits_no_header_field(self, token: str) -> None:
        async with line(answers(reply(b'{"session_token":' + token.encode() + b"}"))) as made:
            assert isinstance(await _fault(CALLS["open_session"], made.bridge), BadBridgeReply)

    @each_call
    @pytest.mark.requirement("upstream.bounded")
    async def test_an_answer_beyond_the_bound(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bridge_http, "MAX_REPLY_BYTES", 1000)
        async with line(answers(reply(b" " * 1001))) as made:
            fault = await _fault(call, made.bridge)
        assert isinstance(fault, BadBridgeReply)
        assert "at most 1000 bytes" in fault.detail

    @pytest.mark.requirement("upstream.bounded")
    async def test_an_answer_that_grows_beyond_the_bound_when_it_is_unpacked(self) -> None:
        body = gzip.compress(b" " * (bridge_http.MAX_REPLY_BYTES + 1))
        async with line(answers(reply(body, headers=b"Content-Encoding: gzip\r\n"))) as made:
            assert isinstance(await _fault(CALLS["wait"], made.bridge), BadBridgeReply)

    @each_call
    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Elsewhere", "308 Elsewhere"])
    @pytest.mark.requirement("upstream.no_redirect")
    async def test_a_redirect_is_not_followed(self, call: Call, status: str) -> None:
        async with raw_upstream() as elsewhere:
            target = b"Location: http://127.0.0.1:%d/\r\n" % elsewhere.port
            async with line(answers(reply(status=status, headers=target))) as made:
                fault = await _fault(call, made.bridge)
                assert len(made.upstream.received) == 1
            assert elsewhere.connections == 0
        assert isinstance(fault, BridgeRefused)
        assert fault.bridge_status == int(status[:3])

    @each_call
    @pytest.mark.parametrize("status", [400, 401, 403, 405, 409, 422, 429, 500, 502, 503])
    async def test_a_refusal_keeps_status_body_and_type(self, call: Call, status: int) -> None:
        body = b'{"detail":"\xc3\xbc no"}'
        head = b"Content-Type: application/problem+json\r\n"
        async with line(answers(reply(body, status=f"{status} No", headers=head))) as made:
            fault = await _fault(call, made.bridge)
        assert isinstance(fault, BridgeRefused)
        assert (fault.bridge_status, fault.body, fault.content_type) == (status, body, "application/problem+json")

    async def test_a_refusal_without_a_type_counts_as_json(self) -> None:
        async with line(answers(reply(b"no", status="500 No"))) as made:
            fault = await _fault(CALLS["pending"], made.bridge)
        assert isinstance(fault, BridgeRefused)
        assert fault.content_type == "application/json"

    @pytest.mark.parametrize("given", [b"text/\x01plain", b"text/pl\xc3\xa4in", b"text/" + b"x" * 200, b"a\x7f", b""])
    async def test_a_type_that_cannot_be_handed_on_counts_as_json(self, given: bytes) -> None:
        head = b"Content-Type: " + given + b"\r\n"
        async with line(answers(reply(b"no", status="500 No", headers=head))) as made:
            fault = await _fault(CALLS["pending"], made.bridge)
        assert isinstance(fault, BridgeRefused)
        assert fault.content_type == "application/json"

    async def test_only_the_state_of_a_question_may_be_unknown(self) -> None:
        async with line(answers(*[reply(b"{}", status="404 Not Found")] * 2)) as made:
            assert await made.bridge.status(ID, TOKEN) is None
            assert isinstance(await _fault(CALLS["pending"], made.bridge), BridgeRefused)

    async def test_nothing_is_sent_twice(self) -> None:
        async def dies(peer: Peer) -> None:
            await peer.request()

        async with line(dies) as made:
            await _fault(CALLS["respond"], made.bridge)
            assert len(made.upstream.received) == 1

    async def test_a_call_that_is_given_up_is_given_up_at_the_bridge_too(self) -> None:
        async def holds(peer: Peer) -> None:
            await peer.request()
            peer.stage.reached("asked")
            await peer.gone()
            peer.stage.reached("gone")

        async with line(holds) as made, asyncio.TaskGroup() as group:
            task = group.create_task(made.bridge.wait(BOB, TOKEN, since=0, hold_s=60))
            await made.upstream.stage.until("asked")
            task.cancel()
            await made.upstream.stage.until("gone")
