"""A question in the words of each revision, and every way a client can answer it."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.elicitation import AnswerKind
from proxy.mcp.ask import (
    Answered,
    CannotBeAsked,
    Failed,
    FormQuestion,
    Question,
    UrlQuestion,
    Wording,
    modes_declared,
    read_answer,
    read_input_response,
    word,
    write_create,
    write_input_request,
)
from proxy.mcp.jsonrpc import Response, parse
from proxy.mcp.revisions import (
    R2024_11_05,
    R2025_03_26,
    R2025_06_18,
    R2025_11_25,
    R2026_07_28,
    REVISIONS,
    Mode,
    Revision,
)

pytestmark = pytest.mark.requirement("mcp.ask")

SCHEMA = {"type": "object", "properties": {"build": {"type": "string", "default": "b1"}}, "required": ["build"]}
BARE = {"type": "object", "properties": {"build": {"type": "string"}}, "required": ["build"]}
FORM = FormQuestion("Which build?", SCHEMA)
LINK = UrlQuestion("Authorize", "https://bridge.example/connect?x=1", "3c1e")
TAGS = FormQuestion(
    "Which tags?", {"properties": {"tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}}}
)
NESTED = FormQuestion("Which?", {"properties": {"a": {"type": "object"}}})
BOTH = frozenset(Mode)


def worded(question: Question, revision: Revision) -> Wording:
    wording = word(question, revision, BOTH)
    assert wording is not None
    return wording


@pytest.mark.parametrize(
    ("question", "revision", "params"),
    [
        (FORM, R2025_06_18, {"message": "Which build?", "requestedSchema": BARE}),
        (FORM, R2025_11_25, {"mode": "form", "message": "Which build?", "requestedSchema": SCHEMA}),
        (FORM, R2026_07_28, {"mode": "form", "message": "Which build?", "requestedSchema": SCHEMA}),
        (
            LINK,
            R2025_11_25,
            {
                "mode": "url",
                "message": "Authorize",
                "elicitationId": "3c1e",
                "url": "https://bridge.example/connect?x=1",
            },
        ),
        (LINK, R2026_07_28, {"mode": "url", "message": "Authorize", "url": "https://bridge.example/connect?x=1"}),
    ],
)
def test_a_question_in_the_words_of_its_revision(question: Question, revision: Revision, params: object) -> None:
    wording = worded(question, revision)
    body = write_create(wording, "esc-1")
    assert orjson.loads(body) == {"jsonrpc": "2.0", "id": "esc-1", "method": "elicitation/create", "params": params}
    assert b"\n" not in body
    sent = orjson.loads(orjson.dumps(write_input_request(wording)))
    assert sent == {"method": "elicitation/create", "params": params}


@pytest.mark.parametrize(
    ("question", "revision", "declared"),
    [
        (FORM, R2024_11_05, BOTH),
        (FORM, R2025_03_26, BOTH),
        (FORM, R2025_11_25, frozenset({Mode.URL})),
        (FORM, R2025_06_18, frozenset()),
        (LINK, R2025_06_18, BOTH),
        (LINK, R2025_11_25, frozenset({Mode.FORM})),
        (LINK, R2026_07_28, frozenset({Mode.FORM})),
    ],
)
@pytest.mark.requirement("mcp.ask.modes")
def test_there_are_no_words_for_a_mode_that_the_client_does_not_have(
    question: Question, revision: Revision, declared: frozenset[Mode]
) -> None:
    assert word(question, revision, declared) is None


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
@pytest.mark.requirement("mcp.ask.url")
def test_a_link_never_becomes_a_form(revision: Revision) -> None:
    wording = word(LINK, revision, BOTH)
    assert wording is None or ("requestedSchema" not in wording.params and wording.params["mode"] == "url")


@pytest.mark.parametrize(
    ("capability", "modes"),
    [
        (None, frozenset()),
        (True, frozenset()),
        ({}, frozenset({Mode.FORM})),
        ({"other": {}}, frozenset({Mode.FORM})),
        ({"form": {}}, frozenset({Mode.FORM})),
        ({"url": {}}, frozenset({Mode.URL})),
        ({"form": {}, "url": {}}, BOTH),
    ],
)
def test_a_capability_names_its_modes(capability: object, modes: frozenset[Mode]) -> None:
    assert modes_declared(capability) == modes


def test_metadata_travel_only_where_there_is_room_for_them() -> None:
    meta = {"example/elicitation_id": "e1"}
    for revision in (R2025_06_18, R2025_11_25, R2026_07_28):
        wording = word(FORM, revision, BOTH, meta)
        assert wording is not None
        assert wording.params.get("_meta") == (meta if revision is R2025_11_25 else None)


def answer(wording: Wording, outcome: bytes) -> object:
    response = parse(b'{"jsonrpc":"2.0","id":"esc-1",' + outcome + b"}")
    assert isinstance(response, Response)
    return read_answer(wording, response)


ACCEPTED = Answered(AnswerKind.ACCEPT, {"build": "b42"})


@pytest.mark.parametrize("revision", [R2025_06_18, R2025_11_25, R2026_07_28], ids=lambda revision: revision.name)
@pytest.mark.parametrize(
    ("result", "reply"),
    [
        (b'{"action":"accept","content":{"build":"b42"}}', ACCEPTED),
        (b'{"action":"accept","content":{"build":"b42"},"_meta":{"x":1},"resultType":"complete"}', ACCEPTED),
        (b'{"action":"accept"}', Answered(AnswerKind.ACCEPT, {})),
        (b'{"action":"accept","content":null}', Answered(AnswerKind.ACCEPT, {})),
        (b'{"action":"decline"}', Answered(AnswerKind.DECLINE)),
        (b'{"action":"decline","content":{"build":"b42"}}', Answered(AnswerKind.DECLINE)),
        (b'{"action":"cancel","content":1e999}', Answered(AnswerKind.CANCEL)),
        (
            b'{"action":"accept","content":[]}',
            Failed("expected content to be an object, got an array with 0 items"),
        ),
        (b'{"action":"maybe"}', Failed("expected action to be accept, decline or cancel, got 'maybe'")),
        (b"{}", Failed("expected action to be accept, decline or cancel, got null")),
        (b'{"action":"decline","action":"accept"}', Failed("expected every member once, got 'action' twice")),
    ],
)
def test_a_result_is_read(revision: Revision, result: bytes, reply: object) -> None:
    wording = worded(FORM, revision)
    assert answer(wording, b'"result":' + result) == reply
    assert read_input_response(wording, result) == reply


@pytest.mark.parametrize("result", [b"null", b"3", b"[]", b'{"action":"accept","content":{"build":1e999}}'])
def test_a_result_that_cannot_be_read_is_no_answer(result: bytes) -> None:
    reply = answer(worded(FORM, R2025_11_25), b'"result":' + result)
    assert isinstance(reply, Failed)
    assert reply.code is None


def test_an_accepted_link_has_no_content() -> None:
    wording = worded(LINK, R2025_11_25)
    assert answer(wording, b'"result":{"action":"accept","content":{"a":1}}') == Answered(AnswerKind.ACCEPT)
    assert answer(wording, b'"result":{"action":"decline"}') == Answered(AnswerKind.DECLINE)


def test_content_is_turned_back_into_the_terms_of_the_question() -> None:
    old = b'"result":{"action":"accept","content":{"tags__b":true,"tags__a":false}}'
    new = b'"result":{"action":"accept","content":{"tags":["b"]}}'
    expected = Answered(AnswerKind.ACCEPT, {"tags": ["b"]})
    assert answer(worded(TAGS, R2025_06_18), old) == expected
    assert answer(worded(TAGS, R2025_11_25), new) == expected
    as_json = b'"result":{"action":"accept","content":{"response_json":"{\\"a\\":{\\"b\\":1}}"}}'
    assert answer(worded(NESTED, R2025_06_18), as_json) == Answered(AnswerKind.ACCEPT, {"a": {"b": 1}})


def test_content_that_cannot_be_turned_back_is_no_answer() -> None:
    assert answer(worded(TAGS, R2025_06_18), b'"result":{"action":"accept","content":{"tags__a":1}}') == Failed(
        "at $.tags__a: expected true or false, got 1"
    )


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        # Source: PROTOCOL.md 3.5 and 3.6
        (
            b'{"code":-32600,"message":"Elicitation not supported"}',
            CannotBeAsked(-32600, "Elicitation not supported"),
        ),
        (b'{"code":-32601,"message":"Method not found"}', CannotBeAsked(-32601, "Method not found")),
        (b'{"code":-32602,"message":"no url","data":{}}', CannotBeAsked(-32602, "no url")),
        (b'{"code":-32800,"message":"cancelled"}', Failed("cancelled", -32800)),
        (b'{"code":-32603,"message":"broken"}', Failed("broken", -32603)),
        (b'{"code":0}', Failed("", 0)),
        (b"{}", Failed("expected the code of an error to be a whole number, got null")),
    ],
)
@pytest.mark.requirement("mcp.ask.cannot")
def test_a_client_that_cannot_ask_is_told_from_one_that_cancels(error: bytes, reply: object) -> None:
    assert answer(worded(FORM, R2025_11_25), b'"error":' + error) == reply


def test_a_long_text_of_a_client_is_clipped() -> None:
    reply = answer(worded(FORM, R2025_11_25), b'"error":{"code":1,"message":"' + b"x" * 5000 + b'"}')
    assert isinstance(reply, Failed)
    assert len(reply.text) == 80


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,actionept0', max_size=60).map(str.encode))
def test_nothing_that_a_client_answers_makes_the_reader_raise(value: bytes) -> None:
    reply = read_input_response(worded(FORM, R2025_11_25), value)
    assert isinstance(reply, Answered | Failed)
    broken = Response(id=1, result=None, error=value, raw=b"")
    assert isinstance(read_answer(worded(FORM, R2025_11_25), broken), CannotBeAsked | Failed)


@pytest.mark.parametrize(("depth", "is_read"), [(250, True), (252, False), (900, False)])
def test_content_that_could_not_be_handed_on_is_no_answer(depth: int, is_read: bool) -> None:  # noqa: FBT001  # one case
    deep = '{"a":' * depth + "{}" + "}" * depth
    value = orjson.dumps({"action": "accept", "content": {"response_json": deep}})
    reply = read_input_response(worded(NESTED, R2025_11_25), value)
    assert isinstance(reply, Answered if is_read else Failed)
