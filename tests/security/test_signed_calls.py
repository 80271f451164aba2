"""Attacks on signed calls, presented to a whole sidecar over HTTP: it says of each what the verifier alone says."""

import asyncio
from pathlib import Path

import orjson
import pytest

from proxy.core.key_ring import KeyRing
from proxy.core.signing import Refusal, Verdict
from tests.support.fort import write_key_file
from tests.support.house import Stand, stand
from tests.support.raw_http import connect
from tests.support.signed_mutants import Attempt, Crew, Gate

PAIRS = 300

OURS = frozenset({"signature_refused", "body_not_signed", "replay_refused"})
"""Codes of the refusals that are looked for; whatever else is answered comes from behind the gate."""

NO_HTTP = "no http"
"""What even the parser of heads refuses."""


async def _present(made: Stand, attempt: Attempt) -> str:
    """The code of the refusal of one call at its own time; empty where it is let in."""
    made.clock.machine_ahead_s += attempt.now - made.clock.wall()
    call = attempt.call
    fields = [pair for pair in call.headers if pair[0] != b"Host"]
    fields += [(b"Host", b"127.0.0.1"), (b"Connection", b"close"), (b"Content-Length", b"%d" % len(attempt.body))]
    head = b"%b %b HTTP/1.1\r\n" % (call.method, call.target) + b"".join(b"%b: %b\r\n" % pair for pair in fields)
    async with asyncio.timeout(10), connect(made.house.port) as wire:
        await wire.send(head + b"\r\n" + attempt.body)
        reply = await wire.reply(method=call.method)
    if b"got what cannot be read as one" in reply.body:
        return NO_HTTP
    is_problem = reply.all(b"content-type") == [b"application/problem+json"]
    code = str(orjson.loads(reply.body)["code"]) if is_problem else ""
    return code if code in OURS else ""


@pytest.mark.requirement("signatures.attacks")
async def test_no_attack_comes_in_and_no_genuine_call_is_kept_out(tmp_path: Path) -> None:
    crew = Crew(20_261_124)
    alone = Gate(crew.ring, crew.origin)
    pairs = [pair for pair in crew.pairs(2 * PAIRS) if pair[1].is_sendable][:PAIRS]
    # In the order of time, as a clock that is set back lets no nonce in again.
    pairs.sort(key=lambda pair: pair[0].now)
    path = await asyncio.to_thread(write_key_file, tmp_path, KeyRing(crew.ring.keys))
    given = {
        "signatures.mode": "enforce",
        "signatures.keys_file": str(path),
        "signatures.origins": crew.origin.text,
        "limits.questions": "1000/s+1000",
        "limits.answers": "1000/s+1000",
    }
    async with stand(tmp_path, given) as made:
        for genuine, attack in pairs:
            assert isinstance(alone.judge(genuine), Verdict)
            assert await _present(made, genuine) == "", genuine
            arrived = made.bridge.state.arrived.copy()
            code = await _present(made, attack)
            assert code, attack
            assert made.bridge.state.arrived == arrived, attack
            is_replay = not isinstance(alone.judge(attack), Refusal)
            assert (code == "replay_refused") is is_replay, attack
