"""Which questions a call answers, and who may: what is judged in front of a Bridge that lets any agent answer.

An answer comes from the agent that the question was put to; taking a question back is its asker's right as well. What
is known of a question is whom it was put to, as it was seen when it was created or among what waits for an agent.

A call is read as the most lenient reader would: what stands twice counts twice, so that no reader finds an answer in it
that was not judged.

Source: BRIDGE.md 2.2, 2.5 and 3; ARCHITECTURE.md 2.6 (an answer never reaches another question).
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, final

from proxy.core.lenient_json import Members, objects_in, parse_lenient

RESPOND_PATH: Final = "/elicitation/respond"
STORE_PATH: Final = "/event/store"
CREATE_PATH: Final = "/elicitation/create"

MAX_KNOWN: Final = 10_000
"""Questions whose parties are remembered. Source: ours; more are asked for again, at the Bridge."""

MAX_NAMED: Final = 16
"""Questions that one call may name. Source: ours; a call answers one."""

_NAMES: Final = ("elicitation_id", "in_reply_to")
_CANCEL: Final = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenTo:
    """The questions that a call answers."""

    question_ids: tuple[str, ...]
    is_cancel: bool = False
    """It takes them back."""
    is_answer: bool = False
    """It is nothing but an answer; else only its words may be one."""
    is_too_much: bool = False
    """It names more than can be judged."""


@final
class Parties:
    """Who asked and who was asked, of the latest questions."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def note(self, question_id: str, *, asker: str, addressee: str) -> None:
        """Remember a question; who it was first put to counts, and the oldest is forgotten."""
        self._known.setdefault(question_id, (asker, addressee))
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def may_answer(self, question_id: str, agent_id: str, *, is_cancel: bool) -> bool | None:
        """Whether this agent may answer; None where the question is not known."""
        parties = self._known.get(question_id)
        if parties is None:
            return None
        asker, addressee = parties
        return agent_id == addressee or (is_cancel and agent_id == asker)


def answered_by_call(path: str, body: bytes) -> GivenTo | None:
    """What a POST to this path answers; None where it answers nothing, or nothing can be read in it."""
    if path not in {RESPOND_PATH, STORE_PATH}:
        return None
    call = _read(body)
    if not isinstance(call, Members):
        return None
    if path == RESPOND_PATH:
        kinds = call.all("response_type")
        return _given([call], is_cancel=bool(kinds) and set(map(str, kinds)) == {_CANCEL}, is_answer=True)
    return _given([data for data in call.all("data") if isinstance(data, Members)])


def answered_by_tool(body: bytes, respond: Collection[str], send: Collection[str]) -> GivenTo | None:
    """What an MCP message answers by these tools; None where it answers nothing, or nothing can be read in it."""
    value = _read(body)
    found = [arguments for message in objects_in(value) for arguments in _arguments(message, respond, send)]
    return _given(found, is_answer=True) if found else None


def _arguments(message: Members, respond: Collection[str], send: Collection[str]) -> Iterator[Members]:
    params = [one for one in message.all("params") if isinstance(one, Members)]
    tools = {tool for one in params for tool in one.all("name") if isinstance(tool, str)}
    arguments = [each for one in params for each in one.all("arguments") if isinstance(each, Members)]
    if not tools.isdisjoint(respond):
        yield from arguments
    if not tools.isdisjoint(send):
        for one in arguments:
            yield from (data for _, data in one if isinstance(data, Members))


def _given(objects: Sequence[Members], *, is_cancel: bool = False, is_answer: bool = False) -> GivenTo | None:
    named = [each for one in objects for name in _NAMES for each in one.all(name)]
    ids = tuple(dict.fromkeys(each for each in named if isinstance(each, str) and each))
    if not ids:
        return None
    return GivenTo(
        question_ids=ids[:MAX_NAMED], is_cancel=is_cancel, is_answer=is_answer, is_too_much=len(ids) > MAX_NAMED
    )


def _read(body: bytes) -> object:
    try:
        return parse_lenient(body)
    except (ValueError, RecursionError):
        return None
