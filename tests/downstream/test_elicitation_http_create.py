"""Questions at the door: one that a sidecar will put has to be answerable, any other is the Bridge's affair."""

from pathlib import Path

import pytest

from tests.support.house import OFF, Heard, Stand, stand
from tests.support.manual_bridge import Json

pytestmark = pytest.mark.requirement("questions.askable")

NONSENSE: Json = {"type": "object", "properties": {"colour": {"type": "nonsense"}}}


async def _create(made: Stand, schema: object) -> Heard:
    body = {"from_agent": "alice", "to_agent": "bob", "message": "?", "schema": schema, "timeout_seconds": 30}
    token = await made.bridge.token("alice")
    return await made.house.call("POST", "/elicitation/create", token=token, body=body)


@pytest.mark.parametrize(
    ("schema", "path"),
    [(NONSENSE, "$.properties.colour.type"), ({"type": "string"}, "$.type"), ("x", "$"), (None, "$"), ([], "$")],
)
async def test_a_schema_that_no_answer_can_be_held_to_is_refused_with_the_failing_path(
    tmp_path: Path, schema: object, path: str
) -> None:
    async with stand(tmp_path) as made:
        heard = await _create(made, schema)
        assert (heard.status, heard.problem["code"], heard.problem["path"]) == (422, "schema_refused", path)
        assert heard.problem["retryable"] is False
        assert made.arrived("POST /elicitation/create") == 0
        samples = await made.house.metrics()
        assert samples['elicit_sidecar_errors_total{code="schema_refused",fault="agent"}'] == 1


@pytest.mark.parametrize("flags", [OFF, {"flags.elicitation_enabled": "true", "flags.elicitation_denylist": "bob"}])
async def test_where_no_sidecar_puts_it_the_bridge_gets_it_as_it_is(tmp_path: Path, flags: dict[str, str]) -> None:
    async with stand(tmp_path, flags=flags) as made:
        assert (await _create(made, NONSENSE)).status == 200
        assert made.arrived("POST /elicitation/create") == 1
        heard = await _create(made, "x")
        assert heard.status == 422
        assert "problem" not in heard.headers["Content-Type"]


async def test_a_call_that_is_no_question_yet_is_refused_in_the_bridges_own_words(tmp_path: Path) -> None:
    async with stand(tmp_path) as made:
        token = await made.bridge.token("alice")
        heard = await made.house.call("POST", "/elicitation/create", token=token, body={"schema": NONSENSE})
        assert heard.status == 422
        assert isinstance(heard.json["detail"], list)


async def test_a_breaker_that_is_open_for_now_does_not_let_nonsense_through(tmp_path: Path) -> None:
    async with stand(tmp_path, {"breaker.failures": "1"}) as made:
        bob = await made.bridge.token("bob")
        task = await made.parked("bob", bob, timeout_seconds=30)
        await made.bridge.set(fail_elicitation=True)
        made.clock.advance(10)
        made.clock.advance(20)
        assert (await task).status == 200
        await made.bridge.set(fail_elicitation=False)
        assert (await _create(made, NONSENSE)).status == 422
