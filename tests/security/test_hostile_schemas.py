"""Schemas that hang, blow up or reach out, through the door of questions and through a Bridge that lists them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.house import Stand, stand

pytestmark = pytest.mark.requirement("security.hostile_schemas")

Schema = dict[str, object]


def _field(rule: object) -> Schema:
    return {"type": "object", "properties": {"x": rule}, "required": ["x"]}


def _doubling(levels: int) -> Schema:
    """A schema that unfolds to 2**levels checks by references that each point twice to the next."""
    steps = {f"s{n}": {"anyOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(levels)}
    return {**_field({"$ref": "#/$defs/s0"}), "$defs": {**steps, f"s{levels}": {"type": "string"}}}


def _deep(levels: int) -> Schema:
    schema: Schema = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


HOSTILE: Final[dict[str, Callable[[str, str], Schema]]] = {
    "redos": lambda _f, _u: _field({"type": "string", "pattern": "^(a+)+$"}),
    "redos by lookaround": lambda _f, _u: _field({"type": "string", "pattern": r"^(?=(a+)+$)(a*)\1$"}),
    "a pattern that is long compiled": lambda _f, _u: _field({"type": "string", "pattern": "(a{1000}){1000}"}),
    "a name that is a pattern": lambda _f, _u: {
        "type": "object",
        "patternProperties": {"^(a+)+$": {"pattern": "^(a+)+$"}},
    },
    "a reference to itself": lambda _f, _u: {"$ref": "#"},
    "references to each other": lambda _f, _u: {
        **_field({"$ref": "#/$defs/a"}),
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
    },
    "2 to the 24": lambda _f, _u: _doubling(24),
    "2 to the 28": lambda _f, _u: _doubling(28),
    "a file": lambda file, _u: _field({"$ref": f"file://{file}"}),
    "a file by its base": lambda file, _u: {"$id": f"file://{file}", **_field({"$ref": "other.json"})},
    "an address": lambda _f, url: _field({"$ref": url}),
    "an address as dialect": lambda _f, url: {"$schema": url, **_field({"type": "string"})},
    "a dynamic reference": lambda _f, url: _field({"$dynamicRef": f"{url}#x"}),
    "a hundred levels": lambda _f, _u: _deep(100),
    "a million members": lambda _f, _u: {"type": "object", "properties": {f"p{n}": {} for n in range(50_000)}},
    "no schema at all": lambda _f, _u: {"type": 7, "properties": []},
    "unique items": lambda _f, _u: _field({"type": "array", "uniqueItems": True, "items": {"uniqueItems": True}}),
    "a multiple of nearly nothing": lambda _f, _u: _field({"type": "number", "multipleOf": 1e-300}),
}

ANSWERS: Final[tuple[Schema, ...]] = ({"x": 7}, {"x": [{"n": n} for n in range(5_000)]}, {}, {"x": "a" * 50_000 + "!"})
"""The text last: where any text is good it is the answer, and those behind it would not be judged."""


@asynccontextmanager
async def _traps(folder: Path) -> AsyncIterator[tuple[str, str, list[int]]]:
    """A file that whoever opens it never comes back from, an address, and who came to it."""
    pipe, calls = folder / "pipe", list[int]()
    os.mkfifo(pipe)

    async def called(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(1)
        writer.close()

    server = await asyncio.start_server(called, "127.0.0.1", 0)
    try:
        yield str(pipe), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/schema.json", calls
    finally:
        server.close()
        await server.wait_closed()


async def _answers_end(made: Stand, token: str, elicitation_id: object) -> set[int]:
    """The statuses of answers that were made to be long to judge."""
    return {(await made.respond(token, elicitation_id, data=content)).status for content in ANSWERS}


@pytest.mark.parametrize("name", list(HOSTILE))
async def test_a_question_with_a_hostile_schema_is_refused_or_harmless(tmp_path: Path, name: str) -> None:
    async with _traps(tmp_path) as (file, url, calls), stand(tmp_path) as made, asyncio.timeout(20):
        alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
        body = {"from_agent": "alice", "to_agent": "bob", "message": "?", "schema": HOSTILE[name](file, url)}
        heard = await made.house.call("POST", "/elicitation/create", token=alice, body={**body, "timeout_seconds": 60})
        assert heard.status in {200, 413, 422}
        if heard.status == 200:
            assert await _answers_end(made, bob, heard.json["elicitation_id"]) <= {200, 400, 409, 410, 422}
        else:
            assert made.arrived("POST /elicitation/create") == 0
        assert (await made.house.health())["status"] == "healthy"
        assert (await made.house.metrics())["elicit_sidecar_defects_total"] == 0
        assert calls == []


@pytest.mark.parametrize("name", list(HOSTILE))
async def test_a_question_of_a_hostile_bridge_stalls_nobody_and_reaches_for_nothing(tmp_path: Path, name: str) -> None:
    async with _traps(tmp_path) as (file, url, calls), stand(tmp_path) as made, asyncio.timeout(20):
        alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
        _, asked = await made.bridge.ask(alice, schema=HOSTILE[name](file, url))
        named = asked.get("elicitation_id", "elicit_that_the_bridge_itself_refused")
        _, good = await made.bridge.ask(alice)
        wait = await made.house.call("GET", "/event/wait?agent_id=bob&timeout_seconds=1&since_sequence=100", token=bob)
        told = [item["data"] for item in wait.items]
        assert good["elicitation_id"] in [data["elicitation_id"] for data in told if isinstance(data, dict)]
        assert await _answers_end(made, bob, named) <= {200, 400, 404, 409, 410, 413, 422, 500}
        assert (await made.respond(bob, good["elicitation_id"])).status == 200
        assert (await made.house.metrics())["elicit_sidecar_defects_total"] == 0
        assert calls == []
