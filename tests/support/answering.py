"""Questions to bob, and answers whose errors are values, as the tests of answers need them."""

import asyncio

from proxy.core.answers import GivenAnswer
from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.errors import SidecarError
from proxy.core.ids import AgentId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.secret import Secret
from proxy.flows.respond import AnswerTaken
from tests.support.flow_stand import FlowStand, Item

RED: Item = {"colour": "red"}
BLUE: Item = {"colour": "blue"}
CUT = "connection reset"


def ask(made: FlowStand) -> Elicitation:
    """Put a question to bob that is known here."""
    question = made.bridge.ask("bob", shape={"colour": {"type": "string"}})
    made.feeds.question_created(question)
    return question


async def taken(task: "asyncio.Task[AnswerTaken]") -> ElicitationOutcome:
    """What became of an answer."""
    async with asyncio.timeout(5):
        return (await task).outcome


async def give(
    made: FlowStand, question: Elicitation, content: Item, *, agent_id: str = "bob", token: Secret | None = None
) -> ElicitationOutcome | SidecarError:
    """Give an answer to its end; its error is a value here."""
    answer = Answer(elicitation_id=question.elicitation_id, kind=AnswerKind.ACCEPT, content=content)
    given = GivenAnswer(answer=answer, agent_id=AgentId(agent_id))
    try:
        async with asyncio.timeout(5):
            return (await made.answers.give(given, token or made.bridge.token("bob"))).outcome
    except SidecarError as error:
        return error
