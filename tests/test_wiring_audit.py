"""The audit trail of a whole house: what is heard, what stays, what trouble shows."""

import asyncio
from pathlib import Path

import orjson
import pytest

from proxy.core.audit_check import Intact, verify
from proxy.core.ids import AgentId
from proxy.core.key_file import write_keys
from proxy.core.key_ring import KeyRing, new_key
from proxy.stores.sqlite_audit import SqliteAuditTrail
from proxy.stores.writer import SqliteWriter
from tests.support.house import Heard, house, objects, until_told, write_tokens

NOBODY = "http://127.0.0.1:1"


def _whats(heard: Heard) -> list[str]:
    return [str(entry["what"]) for entry in objects(heard.json["entries"])]


@pytest.mark.requirement("audit.deeds")
async def test_start_and_changes_are_in_the_trail_over_restarts(tmp_path: Path) -> None:
    tokens = await asyncio.to_thread(write_tokens, tmp_path)
    path = tmp_path / "state.db"
    given = {"admin.token_file": str(tokens), "state.url": f"sqlite://{path}"}
    async with house(NOBODY, given) as made:
        await made.flags(elicitation_percentage=5)
        assert (await made.admin("POST", "/cache/clear")).status == 200
    async with house(NOBODY, given) as made:

        async def are_told() -> bool:
            return len(_whats(await made.admin("GET", "/audit"))) == 4

        await until_told(are_told)
        heard = await made.admin("GET", "/audit")
        assert sorted(_whats(heard)) == ["flags_changed", "operator_acted", "started", "started"]
        assert (await made.metrics())["elicit_sidecar_audit_trouble"] == 0
    writer = await asyncio.to_thread(SqliteWriter, path)
    trail = await SqliteAuditTrail(writer).whole()
    await asyncio.to_thread(writer.close)
    assert isinstance(verify(trail.entries, trail.head), Intact)


@pytest.mark.requirement("audit.refusals")
async def test_refused_calls_of_agents_are_in_the_trail() -> None:
    given = {"identity.mode": "enforce", "agent.id": "bob"}
    async with house(NOBODY, given) as made:
        assert (await made.call("GET", "/event/wait?agent_id=alice")).status == 403
        evil = {"Host": "evil.example"}
        assert (await made.call("GET", "/x", headers=evil)).status == 403

        async def are_told() -> bool:
            return len(_whats(await made.admin("GET", "/audit"))) == 3

        await until_told(are_told)
        entries = objects((await made.admin("GET", "/audit")).json["entries"])
        told = {(str(entry["subject"]), orjson.dumps(entry["details"]).decode()) for entry in entries[1:]}
        assert told == {
            ("bob", '{"calls":1,"rule":"claim","why":"impersonation"}'),
            ("", '{"calls":1,"rule":null,"why":"host"}'),
        }


@pytest.mark.requirement("audit.refusals")
async def test_who_asks_from_elsewhere_how_we_are_without_any_token_has_tried_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = await asyncio.to_thread(write_tokens, tmp_path)
    monkeypatch.setattr("proxy.downstream.admin_auth.is_loopback", lambda _: False)
    async with house(NOBODY, {"admin.token_file": str(tokens)}) as made:
        assert (await made.admin("GET", "/health", token="")).status == 401
        assert (await made.admin("GET", "/health", token="guessed")).status == 401

        async def are_told() -> bool:
            return len(_whats(await made.admin("GET", "/audit"))) == 2

        await until_told(are_told)
        _, refused = objects((await made.admin("GET", "/audit")).json["entries"])
        assert refused["details"] == {"calls": 1, "rule": None, "why": "operator_token"}
        assert (await made.metrics())["elicit_sidecar_audit_waiting"] == 0


@pytest.mark.requirement("audit.keys")
async def test_keys_that_are_changed_while_it_runs_are_in_the_trail(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first, second = (new_key(AgentId("alice"), entropy=bytes([n]) * 40, created_at=n) for n in (1, 2))

    def write(ring: KeyRing) -> None:
        fresh = tmp_path / "fresh"
        fresh.write_text(write_keys(ring))
        fresh.chmod(0o600)
        fresh.rename(path)

    await asyncio.to_thread(write, KeyRing([first]))
    async with house(NOBODY, {"signatures.keys_file": str(path)}) as made:
        await asyncio.to_thread(write, KeyRing([first]).rotated(second))

        async def is_told() -> bool:
            return "key_moved" in _whats(await made.admin("GET", "/audit"))

        await until_told(is_told)
        heard = await made.admin("GET", "/audit")
        (entry,) = [each for each in objects(heard.json["entries"]) if each["what"] == "key_moved"]
        assert (entry["subject"], entry["details"]) == ("alice", {"move": "rotated", "keyid": second.key_id})
        report = (await made.admin("GET", "/reports/security?format=json")).body
        for key in (first, second):
            assert key.secret is not None
            assert key.secret.reveal().encode() not in heard.body + report
            assert key.key_id.encode() in report
