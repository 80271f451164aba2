"""Changes of a journal as hypothesis draws them: few ids and agents, so that they meet often."""

from hypothesis import strategies as st

from proxy.core.elicitation import Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import (
    AnswerClaimed,
    AnswerDoubted,
    AnswerNamed,
    AnswerPassedOn,
    AnswerSettled,
    Change,
    CopiesDropped,
    CursorShown,
    End,
    MessageKept,
    NumberingChanged,
    QuestionEnded,
    QuestionNoted,
    QuestionOffered,
    QuestionTakenBack,
    QuestionTold,
    Stamped,
    TellingForgotten,
)

AGENTS = [AgentId(name) for name in ("alice", "bob", "zoë 🦆")]
IDS = [ElicitationId(f"e{number}") for number in range(4)]

agents = st.sampled_from(AGENTS)
ids = st.sampled_from(IDS)
numbers = st.integers(0, 12) | st.just(2**53 - 1)
times = st.none() | st.floats(0, 4e9)
digests = st.sampled_from([b"", b"one", b"two"])


def question(elicitation_id: ElicitationId, to_agent: AgentId = AGENTS[1], *, expires_at: float = 600.0) -> Elicitation:
    """One question of alice."""
    return Elicitation(
        elicitation_id=elicitation_id,
        from_agent="alice",
        to_agent=to_agent,
        message="Which colour? \x00 é",
        schema={"type": "object", "properties": {"colour": {"enum": ["red", None, 1.5]}}},
        created_at=0.25,
        expires_at=expires_at,
    )


changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(QuestionNoted, st.builds(question, ids, agents)),
    st.builds(QuestionOffered, ids),
    st.builds(QuestionTakenBack, ids),
    st.builds(AnswerClaimed, ids, digests),
    st.builds(AnswerDoubted, ids, digests),
    st.builds(AnswerSettled, ids),
    st.builds(AnswerPassedOn, ids),
    st.builds(QuestionEnded, ids, st.sampled_from(End)),
    st.builds(AnswerNamed, agents, numbers, ids),
    st.builds(QuestionTold, agent_id=agents, key=digests, number=numbers, is_note=st.booleans()),
    st.builds(TellingForgotten, agents, digests),
    st.builds(CursorShown, agents, numbers),
    st.builds(CopiesDropped, agents, numbers),
    st.builds(MessageKept, agents, numbers, st.binary(max_size=8), times),
    st.builds(
        NumberingChanged,
        offset=numbers,
        ended=numbers,
        highest=numbers,
        reserved=numbers,
        first_sequence=st.none() | numbers,
        first_created_at=times,
    ),
)


def stamped(found: list[Change], *, at: float = 1.0) -> list[Stamped]:
    """Changes that all came about at one time."""
    return [Stamped(at, change) for change in found]
