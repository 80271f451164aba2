"""What kind of program calls: a closed list, whatever a User-Agent says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.agent_kind import AgentKind, agent_kind


@pytest.mark.parametrize(
    ("user_agent", "kind"),
    [
        ("Python-urllib/3.11", AgentKind.URLLIB),
        ("python-requests/2.32.5", AgentKind.REQUESTS),
        ("python-httpx/0.28.1", AgentKind.HTTPX),
        ("Python/3.11 aiohttp/3.14.5", AgentKind.AIOHTTP),
        ("curl/8.5.0", AgentKind.CURL),
        ("node", AgentKind.NODE),
        ("undici", AgentKind.NODE),
        ("Go-http-client/1.1", AgentKind.GO),
        ("  CURL/8.5.0 ", AgentKind.CURL),
        ("Mozilla/5.0 (curl)", AgentKind.OTHER),
        ("", AgentKind.NONE),
        ("   ", AgentKind.NONE),
    ],
)
def test_known_programs_are_told_by_how_their_user_agent_begins(user_agent: str, kind: AgentKind) -> None:
    assert agent_kind(user_agent) is kind


@pytest.mark.requirement("outcome.closed_labels")
@given(user_agent=st.text(st.characters()))
def test_every_user_agent_is_one_of_the_closed_list(user_agent: str) -> None:
    assert agent_kind(user_agent) in AgentKind
