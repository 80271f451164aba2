import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.answer_rights import (
    MAX_KNOWN,
    MAX_NAMED,
    RESPOND_PATH,
    STORE_PATH,
    GivenTo,
    Parties,
    answered_by_call,
    answered_by_tool,
)

pytestmark = pytest.mark.requirement("ingress.answers")
RESPOND, SEND = frozenset({"respond"}), frozenset({"send"})


def _call(tool: str, **arguments: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


@pytest.mark.parametrize(
    ("path", "body", "given_to"),
    [
        (RESPOND_PATH, b'{"elicitation_id": "e1"}', GivenTo(question_ids=("e1",), is_answer=True)),
        (
            RESPOND_PATH,
            b'{"elicitation_id": "e1", "response_type": "cancel"}',
            GivenTo(question_ids=("e1",), is_answer=True, is_cancel=True),
        ),
        (
            RESPOND_PATH,
            b'{"elicitation_id": "e1", "response_type": "cancel", "response_type": "accept"}',
            GivenTo(question_ids=("e1",), is_answer=True),
        ),
        (
            RESPOND_PATH,
            b'{"elicitation_id": "e1", "elicitation_id": "e2", "n": %s}' % (b"9" * 5000),
            GivenTo(question_ids=("e1", "e2"), is_answer=True),
        ),
        (RESPOND_PATH, b'{"elicitation_id": 1}', None),
        (RESPOND_PATH, b"[]", None),
        (RESPOND_PATH, b"{", None),
        (RESPOND_PATH, b"[" * 100_000, None),
        (STORE_PATH, b'{"data": {"in_reply_to": "e1"}}', GivenTo(question_ids=("e1",))),
        (
            STORE_PATH,
            b'{"data": {"elicitation_id": "e1"}, "data": {"elicitation_id": "e2", "in_reply_to": "e1"}}',
            GivenTo(question_ids=("e1", "e2")),
        ),
        (STORE_PATH, b'{"elicitation_id": "e1", "data": {"elicitation_id": ""}}', None),
        (STORE_PATH, b'{"data": 1}', None),
        ("/event/query", b'{"elicitation_id": "e1"}', None),
    ],
)
def test_a_call_answers_every_question_that_any_reader_finds_in_it(
    path: str, body: bytes, given_to: GivenTo | None
) -> None:
    assert answered_by_call(path, body) == given_to


@pytest.mark.parametrize(
    ("message", "ids"),
    [
        (_call("respond", elicitation_id="e1"), ("e1",)),
        ([_call("other"), _call("respond", elicitation_id="e1"), 1], ("e1",)),
        (_call("send", event_data={"elicitation_id": "e1"}, elicitation_id="e2"), ("e1",)),
        (_call("other", elicitation_id="e1"), ()),
        (_call("respond"), ()),
        ({"method": "tools/call", "params": [], "result": {"elicitation_id": "e1"}}, ()),
        ("text", ()),
    ],
)
def test_a_tool_answers_by_its_arguments(message: object, ids: tuple[str, ...]) -> None:
    found = answered_by_tool(orjson.dumps(message), RESPOND, SEND)
    assert (() if found is None else found.question_ids) == ids


def test_a_tool_that_is_named_twice_is_both() -> None:
    body = b'{"params": {"name": "respond", "name": "other", "arguments": {}, "arguments": {"elicitation_id": "e1"}}}'
    assert answered_by_tool(body, RESPOND, SEND) == GivenTo(question_ids=("e1",), is_answer=True)


def test_more_names_than_can_be_judged_are_said_to_be_too_many() -> None:
    body = b"{%b}" % b",".join(b'"elicitation_id": "e%d"' % number for number in range(MAX_NAMED + 1))
    found = answered_by_call(RESPOND_PATH, body)
    assert found is not None
    assert found.is_too_much
    assert len(found.question_ids) == MAX_NAMED


def test_the_addressee_answers_and_the_asker_may_take_back() -> None:
    parties = Parties()
    parties.note("e1", asker="alice", addressee="bob")
    assert parties.may_answer("e1", "bob", is_cancel=False)
    assert parties.may_answer("e1", "bob", is_cancel=True)
    assert parties.may_answer("e1", "alice", is_cancel=True)
    assert parties.may_answer("e1", "alice", is_cancel=False) is False
    assert parties.may_answer("e1", "mallory", is_cancel=True) is False
    assert parties.may_answer("e2", "bob", is_cancel=False) is None


def test_whom_a_question_was_first_put_to_counts() -> None:
    parties = Parties()
    parties.note("e1", asker="alice", addressee="bob")
    parties.note("e1", asker="mallory", addressee="mallory")
    assert parties.may_answer("e1", "mallory", is_cancel=False) is False


def test_the_oldest_question_is_forgotten() -> None:
    parties = Parties()
    for number in range(MAX_KNOWN + 1):
        parties.note(f"e{number}", asker="alice", addressee="bob")
    assert parties.may_answer("e0", "bob", is_cancel=False) is None
    assert parties.may_answer("e1", "bob", is_cancel=False)


@given(st.binary(), st.sampled_from([RESPOND_PATH, STORE_PATH]))
def test_no_bytes_are_too_odd_to_be_read(body: bytes, path: str) -> None:
    answered_by_call(path, body)
    answered_by_tool(body, RESPOND, SEND)
