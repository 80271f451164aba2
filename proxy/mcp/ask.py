"""Put an elicitation to an MCP client and read its answer, in the words of the client's revision.

A mode that the client did not declare, or that its revision does not have, has no words: `word` says None, and
a question that wants a link opened never becomes a form.

Source: PROTOCOL.md 1.1 to 1.5 and 3.5; MCP client, "Elicitation", of 2025-06-18, 2025-11-25 and 2026-07-28.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from proxy.core.elicitation import AnswerKind, is_writable
from proxy.core.errors import InvalidInput
from proxy.core.mismatch import Mismatch, clip, describe
from proxy.mcp.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    RequestId,
    Response,
    members,
    read_error,
    read_value,
    request_message,
)
from proxy.mcp.revisions import Mode, Revision
from proxy.mcp.translate import WordedSchema, translate

METHOD: Final = "elicitation/create"
"""Source: MCP 2025-06-18, `ElicitRequest`."""

_CANNOT: Final = frozenset({INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS})
"""What a client answers that has no way to ask, or not this one. Source: PROTOCOL.md 3.5."""


@dataclass(frozen=True, slots=True)
class FormQuestion:
    """A question whose answer is a JSON object."""

    message: str
    schema: Mapping[str, object]
    """Any JSON Schema."""


@dataclass(frozen=True, slots=True)
class UrlQuestion:
    """The wish that a person opens a link; nothing of what happens there comes back."""

    message: str
    url: str
    elicitation_id: str
    """Minted by the caller; it travels only where the revision has it."""


Question = FormQuestion | UrlQuestion


@dataclass(frozen=True, slots=True)
class Wording:
    """A question in the words of one revision."""

    params: Mapping[str, object]
    worded: WordedSchema | None
    """The way back from the answer's content; None in url mode."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The client answered."""

    kind: AnswerKind
    content: Mapping[str, object] | None = None
    """In terms of the question's own schema, not checked against it; only an accepted form has one."""


@dataclass(frozen=True, slots=True)
class CannotBeAsked:
    """The client has no way to ask this; nobody has seen the question."""

    code: int
    """The client's; -32602 may be about this question alone."""
    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer: the client failed while it asked, or what it says cannot be read."""

    text: str
    code: int | None = None
    """The client's error; None where it sent a result."""


Reply = Answered | CannotBeAsked | Failed


def modes_declared(capability: object) -> frozenset[Mode]:
    """The modes of a client's capability `elicitation`: none where it has none, form where it names no mode.

    Source: PROTOCOL.md 1.1, "`{}` means form only".
    """
    if not isinstance(capability, Mapping):
        return frozenset()
    return frozenset(mode for mode in Mode if isinstance(capability.get(mode.value), Mapping)) or frozenset({Mode.FORM})


def word(
    question: Question, revision: Revision, declared: AbstractSet[Mode], meta: Mapping[str, object] | None = None
) -> Wording | None:
    """Put a question into words; None where this client must not be asked it.

    The same arguments give the same words, so an answer can still be read after a restart.
    `meta` travels only where a question of the revision has room for it.

    Raises:
        SchemaRefused: the schema is beyond the bounds of core/forms.py.
    """
    mode = Mode.FORM if isinstance(question, FormQuestion) else Mode.URL
    if mode not in revision.modes or mode not in declared:
        return None
    params: dict[str, object] = {"mode": mode.value} if revision.names_mode else {}
    if meta and revision.has_question_meta:
        params["_meta"] = meta
    params["message"] = question.message
    if isinstance(question, FormQuestion):
        worded = translate(question.schema, revision)
        return Wording({**params, "requestedSchema": worded.schema}, worded)
    if revision.sends_url_elicitation_id:
        params["elicitationId"] = question.elicitation_id
    return Wording({**params, "url": question.url}, None)


def write_create(wording: Wording, request_id: RequestId) -> bytes:
    """The request that puts a question to a client, in one line."""
    return request_message(request_id, METHOD, wording.params)


def write_input_request(wording: Wording) -> dict[str, object]:
    """The question as one value of `inputRequests`. Source: PROTOCOL.md 2.5."""
    return {"method": METHOD, "params": dict(wording.params)}


def read_answer(wording: Wording, response: Response) -> Reply:
    """Read what a client answered to `write_create`."""
    if response.error is not None:
        return _read_refusal(response.error)
    return read_input_response(wording, response.result or b"null")


def _read_refusal(raw: bytes) -> CannotBeAsked | Failed:
    try:
        error = read_error(raw)
    except InvalidInput as flaw:
        return Failed(flaw.detail)
    text = clip(error.message)
    return CannotBeAsked(error.code, text) if error.code in _CANNOT else Failed(text, error.code)


def read_input_response(wording: Wording, value: bytes) -> Reply:
    """Read what a client answered to `write_input_request`: the bare result."""
    try:
        found = members(value)
        match read_value(found.get("action", b"null")):
            case "accept":
                return _read_content(wording.worded, found.get("content", b"null"))
            case "decline" | "cancel" as action:
                return Answered(AnswerKind(action))
            case other:
                return Failed(f"expected action to be accept, decline or cancel, got {describe(other)}")
    except InvalidInput as flaw:
        return Failed(flaw.detail)


def _read_content(worded: WordedSchema | None, raw: bytes) -> Answered | Failed:
    if worded is None:
        return Answered(AnswerKind.ACCEPT)
    content = read_value(raw)
    given = {} if content is None else content
    if not isinstance(given, dict):
        return Failed(f"expected content to be an object, got {describe(given)}")
    found = worded.content_of(given)
    if isinstance(found, Mismatch):
        return Failed(str(found))
    return Answered(AnswerKind.ACCEPT, found) if is_writable(found) else Failed("expected content nested less deeply")
