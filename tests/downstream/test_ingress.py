"""Two sidecars in a row before a Bridge that lets anybody answer: beside the agent, and in front of the Bridge."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes

import orjson
import pytest

from proxy.core.call_signer import CallSigner, Outgoing
from proxy.core.key_ring import Key, KeyRing
from proxy.core.signature_fields import OUR_FIELDS, parse_origin
from proxy.devbridge.settings import Settings, Switches
from tests.support.corpus import OK, chunked, get
from tests.support.house import NOTHING, ON, Heard, House, SharedClock, house, objects
from tests.support.manual_bridge import Json, ManualBridge, ManualPace, start_bridge
from tests.support.raw_http import Reply, connect
from tests.support.raw_upstream import answers, raw_upstream
from tests.support.signing import key_of, key_text, signer_of

pytestmark = pytest.mark.requirement("ingress.answers")
AGENTS = ("alice", "bob", "mallory")
KEYS = {agent_id: key_of(agent_id) for agent_id in AGENTS}
ANYBODY = Switches(anybody_answers=True)
ANSWER: Json = {"response_type": "accept", "data": {"colour": "red"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    ingress: House
    sidecars: Mapping[str, House]
    bridge: ManualBridge
    clock: SharedClock

    async def token(self, agent_id: str) -> str:
        """A token that the agent got through both."""
        body = {"agent_id": agent_id, "ip_address": "127.0.0.1", "user_agent": "test"}
        heard = await self.sidecars[agent_id].call("POST", "/session/create", body=body)
        assert heard.status == 200, heard
        return str(heard.json["session_token"])

    async def ask(self, token: str) -> str:
        """A question of alice to bob, through both."""
        body = {"from_agent": "alice", "to_agent": "bob", "message": "?", "schema": {}, "timeout_seconds": 60}
        heard = await self.sidecars["alice"].call("POST", "/elicitation/create", token=token, body=body)
        assert heard.status == 200, heard
        return str(heard.json["elicitation_id"])

    async def breaches(self, name: str) -> float:
        """A counter of the ingress."""
        found = await self.ingress.metrics()
        return sum(value for key, value in found.items() if key.startswith(f"elicit_sidecar_{name}"))

    def signed(self, key: Key, method: bytes, target: bytes, body: bytes | None = None) -> list[bytes]:
        """The fields of a call to the ingress that is signed by hand."""
        origin = parse_origin(f"http://127.0.0.1:{self.ingress.port}")
        call = Outgoing(method=method, target=target, origin=origin, body=body)
        signer = CallSigner(lambda: KeyRing([key]), wall=self.clock.wall, chance=token_bytes, configured=key.agent_id)
        return [name + b": " + value for name, value in signer.fields(call)]


def _keys_file(folder: Path, name: str, *agents: str) -> str:
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(key_text(*(KEYS[agent_id] for agent_id in agents)), "utf-8")
    return str(path)


@asynccontextmanager
async def _row(
    folder: Path,
    ingress: Mapping[str, str] = NOTHING,
    *,
    beside: Mapping[str, str] = NOTHING,
    switches: Switches = ANYBODY,
) -> AsyncIterator[_Row]:
    bridge = await start_bridge(Settings(switches=switches))
    clock = SharedClock(bridge.pace)
    url = str(bridge.client.make_url("/")).rstrip("/")
    given = {
        **ON,  # which an ingress ignores
        "listen.role": "ingress",
        "identity.mode": "enforce",
        "signatures.mode": "enforce",
        "signatures.keys_file": await asyncio.to_thread(_keys_file, folder, "all", *AGENTS),
        **ingress,
    }
    async with AsyncExitStack() as stack:
        stack.push_async_callback(bridge.client.close)
        front = await stack.enter_async_context(house(url, given, clock=clock))
        sidecars: dict[str, House] = {}
        for agent_id in AGENTS:
            own = {
                **ON,
                "agent.id": agent_id,
                "signatures.sign": "true",
                "signatures.keys_file": await asyncio.to_thread(_keys_file, folder, agent_id, agent_id),
                **beside,
            }
            made = house(f"http://127.0.0.1:{front.port}", own, clock=clock)
            sidecars[agent_id] = await stack.enter_async_context(made)
        yield _Row(ingress=front, sidecars=sidecars, bridge=bridge, clock=clock)


async def _raw(port: int, request: bytes) -> Reply:
    async with asyncio.timeout(5), connect(port) as wire:
        await wire.send(request.replace(b"Host: HOST", b"Host: 127.0.0.1", 1))
        return await wire.reply(method=request.split(b" ", 1)[0])


async def _answer(house: House, token: str, elicitation_id: str, agent_id: str) -> Heard:
    body = {**ANSWER, "elicitation_id": elicitation_id, "responding_agent": agent_id}
    return await house.call("POST", "/elicitation/respond", token=token, body=body)


async def test_the_attack_works_at_the_bridge_itself(tmp_path: Path) -> None:
    async with _row(tmp_path) as row:
        asked = await row.ask(await row.token("alice"))
        mallory = await row.token("mallory")
        body = {**ANSWER, "elicitation_id": asked, "responding_agent": "mallory"}
        assert (await row.bridge.call("POST", "/elicitation/respond", token=mallory, body=body))[0] == 200


@pytest.mark.parametrize("says", ["mallory", "bob"])
@pytest.mark.parametrize("was_seen", [True, False])
async def test_the_attack_is_refused_through_the_ingress_and_the_agent_that_was_asked_may_answer(
    tmp_path: Path, says: str, *, was_seen: bool
) -> None:
    async with _row(tmp_path) as row:
        alice, bob, mallory = [await row.token(agent_id) for agent_id in AGENTS]
        if was_seen:
            asked = await row.ask(alice)
        else:
            _, created = await row.bridge.ask(alice)
            asked = str(created["elicitation_id"])
        # By a sidecar that is not asked to look, as the agent's own one would refuse it already.
        refused = await _signed_answer(row, "mallory", mallory, asked, says=says)
        assert (refused.status, orjson.loads(refused.body)["code"]) == (403, "impersonation")
        assert (await row.bridge.call("GET", f"/elicitation/status/{asked}", token=alice))[1]["status"] == "pending"
        taken = await _answer(row.sidecars["bob"], bob, asked, "bob")
        assert taken.status == 200, taken
        assert await row.breaches("impersonations_total") == 1


async def _signed_answer(row: _Row, agent_id: str, token: str, elicitation_id: str, *, says: str) -> Reply:
    body = orjson.dumps({**ANSWER, "elicitation_id": elicitation_id, "responding_agent": says})
    fields = row.signed(KEYS[agent_id], b"POST", b"/elicitation/respond", body)
    head = get(
        b"/elicitation/respond",
        *fields,
        b"Authorization: Bearer " + token.encode(),
        b"Content-Length: %d" % len(body),
        method=b"POST",
    )
    return await _raw(row.ingress.port, head + body)


async def test_a_stored_answer_is_held_to_the_agent_that_was_asked(tmp_path: Path) -> None:
    async with _row(tmp_path) as row:
        alice, bob, mallory = [await row.token(agent_id) for agent_id in AGENTS]
        asked = await row.ask(alice)

        async def store(agent_id: str, token: str, data: Json) -> Reply:
            body = orjson.dumps({"event_type": "CUSTOM", "agent_id": agent_id, "data": data})
            fields = row.signed(KEYS[agent_id], b"POST", b"/event/store", body)
            authorization = b"Authorization: Bearer " + token.encode()
            length = b"Content-Length: %d" % len(body)
            return await _raw(
                row.ingress.port, get(b"/event/store", *fields, authorization, length, method=b"POST") + body
            )

        assert (await store("mallory", mallory, {"elicitation_id": asked, "colour": "red"})).status == 403
        assert (await store("mallory", mallory, {"in_reply_to": asked})).status == 403
        assert (await store("mallory", mallory, {"in_reply_to": "what-you-said"})).status == 200
        assert (await store("bob", bob, {"elicitation_id": asked, "colour": "red"})).status == 200


@pytest.mark.requirement("ingress.relays")
async def test_the_bridge_sees_no_signatures_and_ordinary_agents_are_served(tmp_path: Path) -> None:
    async with _row(tmp_path) as row:
        alice, bob = await row.token("alice"), await row.token("bob")
        asked = await row.ask(alice)
        waited = await row.sidecars["bob"].call(
            "GET", "/event/wait?agent_id=bob&since_sequence=0&timeout_seconds=1", token=bob
        )
        assert asked in waited.body.decode()
        assert (await row.sidecars["alice"].call("GET", "/health")).status == 200
        assert await row.breaches("signature_failures_total") == 0
        assert await row.breaches("impersonations_total") == 0


@pytest.mark.requirement("ingress.relays")
async def test_no_field_of_a_signature_reaches_the_bridge(tmp_path: Path) -> None:
    async with raw_upstream() as upstream:
        upstream.play(answers(OK, OK))
        clock = SharedClock(ManualPace())
        keys = await asyncio.to_thread(_keys_file, tmp_path, "all", *AGENTS)
        given = {"listen.role": "ingress", "signatures.mode": "enforce", "signatures.keys_file": keys}
        async with house(f"http://127.0.0.1:{upstream.port}", given, clock=clock) as front:
            own = {"agent.id": "alice", "signatures.sign": "true", "signatures.keys_file": keys}
            async with house(f"http://127.0.0.1:{front.port}", own, clock=clock) as beside:
                assert (await beside.call("GET", "/x")).status == 200
                assert (await beside.call("PUT", "/x", raw=b"body")).status == 200
        names = {name.lower() for received in upstream.received for name, _ in received.head.headers}
        assert [received.body for received in upstream.received] == [b"", b"body"]
        assert not names & OUR_FIELDS


@pytest.mark.requirement("ingress.relays")
@pytest.mark.parametrize("framing", ["whole", "streamed", "large"])
@pytest.mark.parametrize("flaw", ["unsigned", "replayed", "changed", "stale", "for another server", "none"])
async def test_a_call_that_is_not_as_it_was_signed_never_reaches_the_bridge_whole(
    tmp_path: Path, framing: str, flaw: str
) -> None:
    body = b"x" * (3_000_000 if framing == "large" else 30_000)
    async with raw_upstream() as upstream:
        upstream.play(answers(OK, OK))
        clock = SharedClock(ManualPace())
        keys = await asyncio.to_thread(_keys_file, tmp_path, "all", *AGENTS)
        given = {"listen.role": "ingress", "signatures.mode": "enforce", "signatures.keys_file": keys}
        async with house(f"http://127.0.0.1:{upstream.port}", given, clock=clock) as front:
            port = front.port + (1 if flaw == "for another server" else 0)
            call = Outgoing(method=b"POST", target=b"/x", origin=parse_origin(f"http://127.0.0.1:{port}"), body=body)
            fields = signer_of(KeyRing([KEYS["alice"]]), "alice", now=clock.wall()).fields(call)
            lines = [] if flaw == "unsigned" else [name + b": " + value for name, value in fields]
            sent = body[:-1] + b"y" if flaw == "changed" else body
            if flaw == "stale":
                clock.advance(66)
            if framing == "streamed":
                request = get(b"/x", *lines, b"Transfer-Encoding: chunked", method=b"POST") + chunked(
                    *(sent[at : at + 1000] for at in range(0, len(sent), 1000))
                )
            else:
                request = get(b"/x", *lines, b"Content-Length: %d" % len(sent), method=b"POST") + sent
            reply = await _raw(front.port, request)
            if flaw == "replayed":
                assert reply.status == 200
                reply = await _raw(front.port, request)
        whole = [received for received in upstream.received if received.complete and received.body]
        expected = {"none": (200, 1), "replayed": (403, 1)}.get(flaw, (401, 0))
        assert (reply.status, len(whole)) == expected


async def test_observing_lets_the_attack_through_and_counts_it(tmp_path: Path) -> None:
    async with _row(tmp_path, {"identity.mode": "observe"}) as row:
        asked = await row.ask(await row.token("alice"))
        reply = await _signed_answer(row, "mallory", await row.token("mallory"), asked, says="mallory")
        assert reply.status == 200
        assert await row.breaches("impersonations_total") == 1


async def test_an_answer_by_a_tool_is_held_to_the_agent_that_was_asked(tmp_path: Path) -> None:
    async with _row(tmp_path) as row:
        asked = await row.ask(await row.token("alice"))
        arguments = {"elicitation_id": asked, "response_type": "accept", "data": {}}
        params = {"name": "lighthouse_respond_to_elicitation", "arguments": arguments}
        body = orjson.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params})
        for agent_id, status in (("mallory", 200), ("bob", 404)):  # this Bridge has no MCP
            fields = row.signed(KEYS[agent_id], b"POST", b"/mcp", body)
            head = get(
                b"/mcp", *fields, b"Content-Type: application/json", b"Content-Length: %d" % len(body), method=b"POST"
            )
            reply = await _raw(row.ingress.port, head + body)
            assert reply.status == status
            if agent_id == "mallory":
                assert orjson.loads(reply.body)["error"]["data"]["code"] == "impersonation"


@pytest.mark.requirement("signatures.bus")
async def test_questions_on_the_log_are_signed_inside_and_a_forged_one_stays_a_message(tmp_path: Path) -> None:
    all_keys = await asyncio.to_thread(_keys_file, tmp_path, "everybody", *AGENTS)
    beside = {"bridge.source": "bus", "signatures.events": "enforce", "signatures.keys_file": all_keys}
    async with _row(tmp_path, beside=beside, switches=Switches(elicitation=False)) as row:
        alice, bob = await row.token("alice"), await row.token("bob")
        body = {
            "from_agent": "alice", "to_agent": "bob", "message": "?", "schema": {}, "timeout_seconds": 60
        }  # fmt: skip
        asked = await row.sidecars["alice"].call("POST", "/elicitation/create", token=alice, body=body)
        assert asked.status == 200, asked
        stored = [event for event in row.bridge.state.log.everything() if "elicit_sidecar" in event.draft.data]
        assert [orjson.loads(orjson.dumps(event.draft.data["signature"]))["keyid"] for event in stored] == [
            KEYS["alice"].key_id
        ]
        heard = await row.sidecars["bob"].call("GET", "/elicitation/pending?agent_id=bob", token=bob)
        assert [item["id"] for item in objects(heard.json["elicitations"])] == [asked.json["elicitation_id"]]
        taken = await _answer(row.sidecars["bob"], bob, str(asked.json["elicitation_id"]), "bob")
        assert taken.status == 200, taken
        assert await row.breaches("impersonations_total") == 0
