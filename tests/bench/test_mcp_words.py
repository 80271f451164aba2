"""What the raw MCP clients of the soak say, read and decide."""

from collections import Counter

import orjson
import pytest

from bench.mcp_words import (
    ENVELOPE,
    HANDSHAKE,
    Fate,
    Seen,
    UnexpectedError,
    answer_of,
    asked_in,
    fate_of,
    headers_for,
    number_in,
    read_message,
    read_wait,
    request,
    respond_arguments,
    tool_params,
)


def _wait_result(*items: dict[str, object]) -> bytes:
    text = orjson.dumps({"events": items, "count": len(items)}).decode()
    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": text}]}})


def _item(sequence: int, event_type: str, **data: object) -> dict[str, object]:
    return {"sequence": sequence, "event_type": event_type, "source_agent": "asker", "data": data}


def test_every_fate_occurs_and_most_questions_are_accepted() -> None:
    fates = Counter(fate_of(number) for number in range(200))
    assert fates == {Fate.ACCEPT: 140, Fate.LATE: 20, Fate.LEAVE: 20, Fate.DECLINE: 10, Fate.CANCEL: 10}


def test_an_answer_says_the_same_on_both_ways() -> None:
    assert answer_of(Fate.LATE) == answer_of(Fate.ACCEPT) == {"action": "accept", "content": {"ok": True}}
    assert answer_of(Fate.DECLINE) == {"action": "decline"}
    assert respond_arguments("e1", Fate.CANCEL) == {"elicitation_id": "e1", "response_type": "cancel"}
    assert respond_arguments("e1", Fate.LATE) == {
        "elicitation_id": "e1",
        "response_type": "accept",
        "data": {"ok": True},
    }


@pytest.mark.parametrize(("text", "number"), [("item 7", 7), ("item x", None), ("litter", None), ("answer 7", None)])
def test_only_an_item_has_a_number(text: str, number: int | None) -> None:
    assert number_in(text) == number


def test_a_call_of_the_envelope_era_says_in_its_headers_what_its_body_says() -> None:
    params = tool_params("wait", {"agent_id": "a"})
    said = request("tools/call", params, 3, is_modern=True)
    told = headers_for("tools/call", params, "", is_modern=True)
    assert said["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == ENVELOPE  # type: ignore[index]  # an object of our own
    assert (told["MCP-Protocol-Version"], told["Mcp-Method"], told["Mcp-Name"]) == (ENVELOPE, "tools/call", "wait")
    assert "Mcp-Name" not in headers_for("tools/list", {}, "", is_modern=True)


def test_a_call_of_the_handshake_era_names_its_session_once_it_has_one() -> None:
    assert "Mcp-Session-Id" not in headers_for("initialize", {}, "", is_modern=False)
    told = headers_for("tools/call", {}, "s1", is_modern=False)
    assert (told["MCP-Protocol-Version"], told["Mcp-Session-Id"]) == (HANDSHAKE, "s1")


def test_a_notification_has_no_id() -> None:
    assert request("notifications/initialized", {}, None, is_modern=False) == {
        "jsonrpc": "2.0",
        "method": "notifications/initialized",
        "params": {},
    }


def test_a_wait_tells_its_items_and_the_cursor_after_them() -> None:
    result = read_message(
        _wait_result(
            _item(5, "custom", to_agent="bob", message="item 1"),
            _item(6, "custom", to_agent="eve", message="item 2"),
            _item(7, "elicitation", to_agent="bob", message="item 3", elicitation_type="request"),
            _item(4, "elicitation_request", elicitation_id="e4", message="item 4"),
            _item(4, "elicitation_answered", elicitation_id="e5", message="item 5", response_type="accept"),
        )
    ).result
    assert result is not None
    told = read_wait(result, "bob")
    assert told.cursor == 7
    assert told.seen == (
        Seen(number=1, elicitation_id=""),
        Seen(number=4, elicitation_id="e4"),
        Seen(number=5, elicitation_id=""),
    )
    assert told.failed == ()


def test_an_answer_that_failed_is_told() -> None:
    result = read_message(_wait_result(_item(4, "elicitation_request", message="item 4", error="too late"))).result
    assert result is not None
    assert read_wait(result, "bob").failed == ("too late",)


def test_what_is_no_wait_result_is_unexpected() -> None:
    said = orjson.dumps({"id": 1, "result": {"content": [{"type": "text", "text": "this is the server"}]}})
    result = read_message(said).result
    assert result is not None
    with pytest.raises(UnexpectedError, match="this is the server"):
        read_wait(result, "bob")
    with pytest.raises(UnexpectedError):
        read_message(b"<html>")


def test_a_result_that_needs_input_names_its_items() -> None:
    requests = {
        "esc:e1": {"method": "elicitation/create", "params": {"message": "item 9"}},
        "esc:e2": {"method": "elicitation/create", "params": {"message": "litter"}},
    }
    said = {"id": 1, "result": {"resultType": "input_required", "inputRequests": requests, "requestState": "esc1.x"}}
    result = read_message(orjson.dumps(said)).result
    assert result is not None
    assert (result.state, asked_in(result)) == ("esc1.x", {"esc:e1": 9})
