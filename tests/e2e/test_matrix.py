"""Every kind of agent before every kind of Bridge: what the agent sees, and what the asker hears, exactly once.

Each cell of the table in tests/support/matrix_table.py is one test with a real sidecar at 100 percent, real SDK clients
and servers, and the development Bridge; the words are those of tests/support/matrix_agents.py.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import pytest

from tests.support.matrix import Asker, Column, House, house
from tests.support.matrix_agents import CONTENT, OTHER_CONTENT, QUESTION, Agent, HttpAgent, McpAgent, mcp_agent
from tests.support.matrix_table import (
    ACCEPT,
    ASKED,
    CANCEL,
    CELLS,
    COLUMNS,
    DUPLICATE,
    ENVELOPE,
    EXPIRING,
    SHORT_OF_PATIENCE,
    UNASKED,
    Cell,
    Way,
)

pytestmark = pytest.mark.e2e

WAIT_S: Final = 20
"""A wait that nothing but its question ends, seconds."""

SHORT_S: Final = 2
LONGER_S: Final = 3
"""An agent that takes its time answers so late, seconds."""


@pytest.fixture(scope="module", name="columns")
def _columns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(COLUMNS, ASKED, tmp_path_factory.mktemp) as opened:
        yield opened


@pytest.fixture(scope="module", name="impatient")
def _impatient(columns: House) -> House:
    """The same peers and Bridges, with other sidecars."""
    return replace(columns, kinds=SHORT_OF_PATIENCE, columns={})


@dataclass(frozen=True, slots=True)
class Scene:
    """A cell being played."""

    cell: Cell
    column: Column
    columns: House
    asker: Asker

    def http(self, before: HttpAgent | None = None) -> HttpAgent:
        """The agent by plain HTTP, or who comes after it."""
        made = HttpAgent(self.column.stand.data, self.cell.agent)
        if before is not None:
            made.saw, made.token = before.saw, before.token
        return made

    def mcp(self, plan: Mapping[str, object], before: McpAgent | None = None, *, base: str = "") -> McpAgent:
        """The agent as an MCP client, or who comes after it."""
        client, _, mode = self.cell.client.partition(" ")
        url = f"{base or self.column.stand.data}/mcp"
        made = mcp_agent(self.columns.room, client, name=self.cell.agent, plan={"url": url, **plan}, mode=mode)
        assert self.cell.row in {made.revision, UNASKED}
        if before is not None:
            made.saw = before.saw
        return made

    def answering(self, before: McpAgent | None = None, *, base: str = "", **plan: object) -> McpAgent:
        """One that answers as the cell's event says."""
        content = CONTENT if self.cell.action == ACCEPT else None
        return self.mcp({"answer": self.cell.action, "content": content} | plan, before, base=base)

    def wait_and_ask(self, agent: Agent, *, timeout_s: int = WAIT_S) -> str:
        """Have the agent wait, and ask it in the middle; the id."""
        if self.column.asks_itself:  # a server that asks looks for questions in a call
            return self.ask_and_wait(agent, timeout_s=timeout_s)
        agent.wait(self.asker.mark(), timeout_s)
        self.column.stand.until_parked(1)
        return self.asker.ask()

    def ask_and_wait(self, agent: Agent, *, timeout_s: int = WAIT_S) -> str:
        """Have the agent wait when the question is there already; the id."""
        asked = self.asker.ask()
        agent.wait(self.asker.mark(), timeout_s)
        return asked


# Agents that read the question in the result


def _plain(scene: Scene, before: Agent | None = None) -> Agent:
    if isinstance(before, McpAgent):
        return scene.mcp({}, before)
    if isinstance(before, HttpAgent):
        return scene.http(before)
    return scene.http() if scene.cell.row == "http" else scene.mcp({})


def _told(scene: Scene) -> tuple[Agent, str]:
    agent = _plain(scene)
    match scene.cell.event:
        case "time-out":
            agent.wait(scene.asker.mark(), 1)
            agent.hear()
            asked = scene.ask_and_wait(agent)
        case "disconnect":
            agent.wait(scene.asker.mark(), WAIT_S)
            scene.column.stand.until_parked(1)
            agent.leave()
            scene.column.stand.until_parked(0)
            agent = _plain(scene, agent)
            asked = scene.ask_and_wait(agent)
        case _:
            asked = scene.wait_and_ask(agent)
    agent.hear()
    return agent, asked


def _play_told(scene: Scene) -> tuple[Agent, str]:
    agent, asked = _told(scene)
    assert scene.asker.is_open(asked)
    agent.respond(agent.told, scene.cell.action, CONTENT)
    if scene.cell.event == DUPLICATE:
        agent.respond(agent.told, scene.cell.action, CONTENT)
        agent.respond(agent.told, scene.cell.action, OTHER_CONTENT)
    return agent, asked


# Agents that are asked


def _play_asked(scene: Scene) -> tuple[Agent, str]:
    match scene.cell.event:
        case "time-out":
            return _late(scene)
        case "disconnect":
            return _leaving(scene)
        case "duplicate":
            return _doubled(scene)
        case _:
            return _answering(scene)


def _answering(scene: Scene) -> tuple[Agent, str]:
    agent = scene.answering()
    asked = scene.wait_and_ask(agent)
    assert agent.hear_asked() == QUESTION
    agent.hear()
    return agent, asked


def _late(scene: Scene) -> tuple[Agent, str]:
    gives_up = scene.cell.sees.endswith("gave up")
    agent = scene.answering(answer_after_s=LONGER_S, timeout_s=SHORT_S if gives_up else None)
    asked = scene.ask_and_wait(agent, timeout_s=WAIT_S if gives_up else SHORT_S)
    agent.hear_asked()
    assert scene.asker.is_open(asked)
    if gives_up:
        agent.hear_failure()
    else:
        agent.hear()
    return agent, asked


def _leaving(scene: Scene) -> tuple[Agent, str]:
    agent = scene.mcp({"answer": "never"})
    asked = scene.wait_and_ask(agent)
    agent.hear_asked()
    agent.leave()
    assert scene.asker.is_open(asked)
    again = scene.answering(agent)
    again.wait(scene.asker.mark(), WAIT_S)
    assert again.hear_asked() == QUESTION
    again.hear()
    return again, asked


def _doubled(scene: Scene) -> tuple[Agent, str]:
    proxy = scene.column.doubling
    number = proxy.count
    agent = scene.answering(base=proxy.url)
    # A server that is called twice waits twice.
    asked = scene.wait_and_ask(agent, timeout_s=SHORT_S if scene.column.asks_itself else WAIT_S)
    agent.hear_asked()
    agent.hear()
    second = proxy.second(number)
    agent.saw.append(f"again {second.status}{' the same' if second.is_same else ''}")
    return agent, asked


PLAYS: Final[Mapping[Way, Callable[[Scene], tuple[Agent, str]]]] = {
    Way.RESULT: _play_told,
    Way.ASKED: _play_asked,
    Way.RELAY: _play_asked,
    Way.BRIDGED: _play_asked,
}


def _scene(columns: House, cell: Cell) -> Scene:
    column = columns.column(cell.column)
    return Scene(cell, column, columns, column.asker_of(cell.agent))


def _server_heard(column: Column, asked: str) -> set[object]:
    return {line["action"] for line in column.server.process.said(kind="answered", id=asked)}


@pytest.mark.requirement("mcp.matrix")
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.agent)
def test_the_agent_sees_and_the_asker_hears_what_the_table_says(columns: House, cell: Cell) -> None:
    scene = _scene(columns, cell)
    agent, asked = PLAYS[cell.way](scene)
    assert (", ".join(agent.saw), scene.asker.hear(asked)) == (cell.sees, cell.hears)
    agent.close()
    assert scene.asker.answers_sent(asked) == cell.answers_sent
    if scene.column.asks_itself:
        assert _server_heard(scene.column, asked) == {cell.action}


@pytest.mark.requirement("mcp.matrix")
@pytest.mark.parametrize("cell", EXPIRING, ids=lambda cell: cell.agent)
def test_a_question_that_holds_up_a_call_of_ours_ends_with_a_cancel(impatient: House, cell: Cell) -> None:
    scene = _scene(impatient, cell)
    if cell.way is Way.RESULT:
        agent = _plain(scene)
        asked = scene.ask_and_wait(agent)
        agent.hear()
        heard = scene.asker.hear(asked)
        agent.respond(agent.told, ACCEPT, CONTENT)
    else:
        agent = client = scene.mcp({"answer": ACCEPT, "content": CONTENT, "answer_after_s": LONGER_S})
        asked = scene.ask_and_wait(agent)
        client.hear_asked()
        heard = scene.asker.hear(asked)
        if cell.era == ENVELOPE:
            client.hear_failure()
        else:
            client.hear()
    agent.close()
    assert (", ".join(agent.saw), heard) == (cell.sees, cell.hears)
    assert scene.asker.answers_sent(asked) == 1
    assert _server_heard(scene.column, asked) == {CANCEL}
