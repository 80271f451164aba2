"""What is remembered of MCP sessions, and for how many."""

import pytest

from proxy.core.ids import AgentId
from proxy.flows import mcp_clients
from proxy.flows.mcp_clients import STATELESS, McpClient, McpClients
from proxy.mcp.revisions import R2025_06_18, Mode

pytestmark = pytest.mark.requirement("mcp.sessions")


def test_a_session_is_known_from_its_opening_to_its_end() -> None:
    clients = McpClients()
    assert clients.get("s1") is None
    client = McpClient(revision=R2025_06_18, modes=frozenset({Mode.FORM}), client_name="zed")
    clients.opened("s1", client)
    assert clients.get("s1") is client
    assert clients.get(STATELESS) is None
    clients.closed("s1")
    clients.closed("s1")
    assert clients.get("s1") is None


def test_a_session_that_is_opened_again_is_another_one() -> None:
    clients = McpClients()
    first, second = McpClient(), McpClient()
    clients.opened("s1", first)
    clients.opened("s1", second)
    assert clients.get("s1") is second


def test_the_oldest_session_is_forgotten_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_clients, "MAX_CLIENTS", 2)
    clients = McpClients()
    for name in ("s1", "s2", "s1", "s3"):
        clients.opened(name, McpClient())
    assert [name for name in ("s1", "s2", "s3") if clients.get(name)] == ["s1", "s3"]


def test_a_session_in_doubt_keeps_what_is_known_of_it() -> None:
    clients = McpClients()
    client = McpClient(modes=frozenset({Mode.FORM}))
    clients.opened("s1", client)
    assert client.is_sure
    clients.doubted("s1")
    clients.doubted("s2")
    assert clients.get("s1") is client
    assert not client.is_sure
    assert clients.get("s2") is None


def test_the_agents_of_a_session_are_told_the_latest_last() -> None:
    client = McpClient()
    assert not client.agents
    for name in ("a", "b", "a"):
        client.waited(AgentId(name))
    assert client.agents == ("b", "a")


def test_the_agent_that_waited_longest_ago_is_forgotten_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_clients, "MAX_AGENTS", 2)
    client = McpClient()
    for name in ("a", "b", "a", "c"):
        client.waited(AgentId(name))
    assert client.agents == ("a", "c")
