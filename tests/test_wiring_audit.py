"""The audit trail of a whole house: what is heard, what stays, what trouble shows."""

import asyncio
from pathlib import Path

import orjson
import pytest

from proxy.core.audit_check import Intact, verify
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
