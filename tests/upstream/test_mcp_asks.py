"""A question of a server, put to whoever can answer it."""

import pytest

from proxy.core.elicitation import AnswerKind
from proxy.core.errors import BridgeUnavailable, SchemaRefused
from proxy.mcp.ask import Answered, CannotBeAsked, FormQuestion, Question, Reply, UrlQuestion
from proxy.mcp.calling import Outgoing, ServerAsk
from proxy.mcp.revisions import Mode
from proxy.upstream.mcp_asks import put_question
from tests.support.scripted_mcp import never_asked, replying

pytestmark = pytest.mark.requirement("mcp.upstream.declared")

QUESTIONS: dict[Mode, Question] = {
    Mode.FORM: FormQuestion("Name?", {}),
    Mode.URL: UrlQuestion("Go", "https://a.example", "e"),
}


@pytest.mark.parametrize("mode", Mode)
async def test_only_a_declared_way_of_asking_reaches_the_client(mode: Mode) -> None:
    ask, reply = ServerAsk(key="a", question=QUESTIONS[mode]), Answered(AnswerKind.DECLINE)
    declared = Outgoing(method="tools/call", modes=frozenset({mode}))
    assert await put_question(ask, declared, replying(reply)) is reply
    other = Outgoing(method="tools/call", modes=frozenset(Mode) - {mode})
    assert await put_question(ask, other, never_asked) == CannotBeAsked(
        -32602, f"the client has not declared elicitation in {mode.value} mode"
    )


async def test_a_schema_beyond_all_bounds_cannot_be_asked() -> None:
    async def refuse(_: ServerAsk) -> Reply:
        raise SchemaRefused("too deep")

    ask = ServerAsk(key="a", question=QUESTIONS[Mode.FORM])
    call = Outgoing(method="tools/call", modes=frozenset(Mode))
    assert await put_question(ask, call, refuse) == CannotBeAsked(-32602, "too deep")


async def test_any_other_failure_is_the_callers() -> None:
    async def fail(_: ServerAsk) -> Reply:
        raise BridgeUnavailable("gone")

    ask = ServerAsk(key="a", question=QUESTIONS[Mode.FORM])
    with pytest.raises(BridgeUnavailable):
        await put_question(ask, Outgoing(method="tools/call", modes=frozenset(Mode)), fail)
