"""How many of an agent's questions may be one asker's, so that nobody fills an agent's book alone.

What is beyond the share is refused here and stays with the Bridge, which goes on listing it: it is noted as soon as an
earlier question of the same asker has been answered or has expired.

Source: ours.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from proxy.core.elicitation import Elicitation
from proxy.core.questions import MAX_PER_AGENT, QuestionBook

MAX_PER_ASKER: Final = 100
"""Most open questions of one asker to one agent. Source: ours, ten full replies and a tenth of the agent's book."""


def within_share(pending: Iterable[Elicitation]) -> list[Elicitation]:
    """Those of all open questions to one agent that are within the share of their askers; the first ones are."""
    counted: Counter[str] = Counter()
    within = []
    for question in pending:
        counted[question.from_agent] += 1
        if counted[question.from_agent] <= MAX_PER_ASKER:
            within.append(question)
    return within


def has_share(book: QuestionBook, question: Elicitation, *, wall: float) -> bool:
    """Whether a single question, of which the Bridge has not told, is within the share of its asker."""
    mine = book.listing(question.to_agent, wall=wall, limit=MAX_PER_AGENT)
    return sum(known.from_agent == question.from_agent for known in mine) < MAX_PER_ASKER
