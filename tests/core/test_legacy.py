"""The legacy wait on the wire: arguments as the Bridge reads them, items as the bytes that came."""

import contextlib
import sys
from collections.abc import Callable
from urllib.parse import urlencode

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import BadBridgeReply
from proxy.core.ids import MAX_SEQUENCE
from proxy.core.legacy import (
    ITEMS_PER_REPLY,
    WaitAsk,
    numbered_reply,
    parse_message,
    parse_wait_query,
    parse_wait_reply,
    renumbered,
    write_reply,
    write_timeout_reply,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
items = st.fixed_dictionaries(
    {"sequence": st.integers(0, 2**53)},
    optional={
        "event_type": st.text(max_size=10),
        "source_agent": st.none() | st.text(max_size=10),
        "timestamp": st.text(max_size=30) | st.datetimes().map(str),
        "data": json_values,
        "more": json_values,
    },
)


def _reply(*raw: bytes) -> bytes:
    return b'{"events":[' + b",".join(raw) + b'],"count":1,"waited_seconds":0.1,"status":"new_events"}'


def _ask(query: str) -> tuple[str, int, int] | None:
    ask = parse_wait_query(query)
    return None if ask is None else (ask.agent_id, ask.since, ask.timeout_s)


@pytest.mark.requirement("wait.arguments")
@pytest.mark.parametrize(
    ("query", "ask"),
    [
        ("agent_id=bob", ("bob", 0, 60)),
        ("agent_id=bob&since_sequence=21&timeout_seconds=5", ("bob", 21, 5)),
        ("agent_id=bob&timeout_seconds=0", ("bob", 0, 0)),
        ("agent_id=bob&timeout_seconds=-5", ("bob", 0, -5)),
        ("agent_id=bob&timeout_seconds=400", ("bob", 0, 400)),
        ("agent_id=bob&timeout_seconds=007", ("bob", 0, 7)),
        ("agent_id=bob&since_sequence=9223372036854775807", ("bob", MAX_SEQUENCE, 60)),
        ("agent_id=bob&since_sequence=-0", ("bob", 0, 60)),
        ("agent_id=alice&agent_id=bob&timeout_seconds=9&timeout_seconds=1", ("bob", 0, 1)),
        ("unknown=1&agent_id=bob&&other", ("bob", 0, 60)),
        ("agent_id=a%20b%3A%C3%A9", ("a b:\u00e9", 0, 60)),
        ("agent_id=a+b", ("a b", 0, 60)),
        ("agent_id=bob&since_sequence=-1", ("bob", 0, 60)),
        ("agent_id=bob&since_sequence=%D9%A1", ("bob", 1, 60)),
        ("agent_id=bob&since_sequence=1%0A", ("bob", 1, 60)),
        ("agent_id=bob&timeout_seconds=+5", ("bob", 0, 5)),
        ("agent_id=bob&timeout_seconds=%2B5", ("bob", 0, 5)),
        ("agent_id=bob&timeout_seconds=1_000", ("bob", 0, 1000)),
        ("agent_id=bob&timeout_seconds=" + "0" * 30 + "5", ("bob", 0, 5)),
        ("agent_id=bob&other=%FF&%ED%A0%80=1", ("bob", 0, 60)),
        ("agent_id=bob&" + "&".join(["x=1"] * 1000), ("bob", 0, 60)),
    ],
    ids=lambda case: str(case)[:40].encode("ascii", "backslashreplace").decode(),
)
def test_a_wait_is_read_as_the_bridge_reads_it(query: str, ask: tuple[str, int, int]) -> None:
    assert _ask(query) == ask


@pytest.mark.requirement("wait.left_to_the_bridge")
@pytest.mark.parametrize(
    "query",
    [
        "",
        "agent_id=",
        "agent=bob",
        "agent_id=%FF",
        "agent_id=%ED%A0%80",
        "agent_id=a%00b",
        "agent_id=a%0Ab",
        "agent_id=" + "x" * 301,
        "agent_id=\udcff",
        "agent_id=bob&since_sequence=",
        "agent_id=bob&since_sequence=9223372036854775808",
        "agent_id=bob&since_sequence=" + "9" * 5000,
        "agent_id=bob&since_sequence=1.0",
        "agent_id=bob&timeout_seconds=1.5",
        "agent_id=bob&timeout_seconds=abc",
        "agent_id=bob&timeout_seconds=NaN",
        "agent_id=bob&timeout_seconds=-9223372036854775808",
        "agent_id=bob&timeout_seconds=1__0",
    ],
    ids=lambda query: query[:40].encode("ascii", "backslashreplace").decode(),
)
def test_what_only_the_bridge_can_judge_is_no_wait_of_ours(query: str) -> None:
    assert parse_wait_query(query) is None


def test_the_time_out_of_a_call_without_one_is_configurable() -> None:
    ask = parse_wait_query("agent_id=bob", default_timeout_s=7)
    assert ask is not None
    assert ask.timeout_s == 7


@pytest.mark.requirement("wait.timeout_cap")
@pytest.mark.parametrize(("asked", "held"), [(-5, 0), (0, 0), (1, 1), (300, 300), (301, 300), (10**18, 300)])
def test_a_wait_is_held_for_what_was_asked_up_to_the_cap(asked: int, held: int) -> None:
    ask = parse_wait_query(f"agent_id=bob&timeout_seconds={asked}")
    assert ask is not None
    assert ask.hold_s == held


@pytest.mark.requirement("wait.timeout_cap")
@pytest.mark.parametrize("asked", [0, -5, 2, 400])
def test_a_time_out_reply_repeats_what_was_asked(asked: int) -> None:
    assert write_timeout_reply(asked) == (b'{"events":[],"count":0,"waited_seconds":%d,"status":"timeout"}' % asked)


@pytest.mark.requirement("wait.arguments")
@given(
    agent=st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=300),
    since=st.integers(0, MAX_SEQUENCE),
    timeout_s=st.integers(-(10**18), 10**18),
)
def test_what_an_agent_encodes_is_what_is_read(agent: str, since: int, timeout_s: int) -> None:
    query = urlencode({"agent_id": agent, "since_sequence": since, "timeout_seconds": timeout_s})
    assert _ask(query) == (agent, since, timeout_s)


@pytest.mark.requirement("parsers.documented_errors")
@given(query=st.text(st.characters()) | st.text("agent_id=since_sequence&timeout%0123456789-;+", max_size=80))
def test_no_query_raises_anything(query: str) -> None:
    ask = parse_wait_query(query)
    assert ask is None or isinstance(ask, WaitAsk)


@pytest.mark.requirement("delivery.items_untouched")
def test_a_reply_is_read_into_messages_that_keep_their_bytes_in_ascending_order() -> None:
    second = b'{ "sequence" : 9, "event_type":"custom","source_agent":null,"timestamp":"nonsense","data":{"x":1.0} }'
    first = b'{"sequence":2,"extra":[1e2]}'
    one, two = parse_wait_reply(_reply(second, first))
    assert (one.sequence, one.event_type, one.source_agent, one.created_at) == (2, "", "", None)
    assert (one.raw, one.data, one.timestamp) == (first, b"null", "")
    assert (two.sequence, two.event_type, two.source_agent, two.created_at) == (9, "custom", "", None)
    assert (two.raw, two.data, two.timestamp) == (second, b'{"x":1.0}', "nonsense")


def test_a_reply_with_nothing_in_it_has_no_messages() -> None:
    assert parse_wait_reply(b'{"events":[],"count":0,"waited_seconds":3,"status":"timeout"}') == ()


@pytest.mark.parametrize(
    ("timestamp", "created_at"),
    [
        ("2026-11-22T22:34:12.500000+00:00", 1_795_386_852.5),
        ("2026-11-22T22:34:12.5Z", 1_795_386_852.5),
        ("2026-11-23T00:34:12.5+02:00", 1_795_386_852.5),
        ("2026-11-22T22:34:12.5", 1_795_386_852.5),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140.0),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139.0),
        ("", None),
        ("now", None),
        ("2026-13-01", None),
        ("9" * 5000, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_time_stamp_is_read_on_the_utc_clock_wherever_the_machine_stands(
    timestamp: str, created_at: float | None
) -> None:
    (message,) = parse_wait_reply(_reply(orjson.dumps({"sequence": 1, "timestamp": timestamp})))
    assert message.created_at == created_at


@pytest.mark.requirement("bridge.bad_replies")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"events":null}',
        b'{"events":{}}',
        _reply(b"7"),
        _reply(b"{}"),
        _reply(b'{"sequence":"1"}'),
        _reply(b'{"sequence":1.0}'),
        _reply(b'{"sequence":true}'),
        _reply(b'{"sequence":-1}'),
        _reply(b'{"sequence":9223372036854775808}'),
        _reply(b'{"sequence":' + b"9" * 5000 + b"}"),
        _reply(b'{"sequence":1,"event_type":null}'),
        _reply(b'{"sequence":1,"event_type":"\xff"}'),
        _reply(b'{"sequence":1,"\xff":1}'),
        _reply(b'{"sequence":1,"\\ud800":1}'),
        _reply(b'{"sequence":1,"source_agent":"\\ud800"}'),
        _reply(b'{"sequence":1,"data":"\\ud800"}'),
        _reply(b'{"sequence":1,"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        b"[" * 100_000,
        _reply(b'{"sequence":1}')[:-1],
    ],
    ids=lambda _: "",
)
def test_a_reply_that_is_not_what_the_bridge_promises_is_refused(body: bytes) -> None:
    with pytest.raises(BadBridgeReply, match="expected a wait reply with `events`"):
        parse_wait_reply(body)


@pytest.mark.requirement("delivery.items_untouched")
def test_an_item_under_its_own_number_is_the_very_bytes_that_came() -> None:
    raw = b'{ "data":1.50,"sequence":3 }'
    (message,) = parse_wait_reply(_reply(raw))
    assert renumbered(message, 3) == raw


@pytest.mark.requirement("delivery.items_untouched")
@pytest.mark.parametrize(
    "data",
    [
        b"1e999",
        b"123456789012345678901234567890.10",
        b'"\xff"',
        b"[" * 400 + b"]" * 400,
        b'{"sequence":3,"a":1,"a":2}',
        b'"<\\/script>\\u00e9"',
    ],
    ids=lambda _: "",
)
def test_an_item_under_another_number_keeps_every_other_byte_even_what_we_could_not_read(data: bytes) -> None:
    (message,) = parse_wait_reply(_reply(b'{"event_type":"x","sequence":3,"data":' + data + b',"more":' + data + b"}"))
    moved = renumbered(message, 1003)
    assert moved == b'{"event_type":"x","sequence":1003,"data":' + data + b',"more":' + data + b"}"


def _from_depth(frames: int, call: Callable[[], object]) -> object:
    return call() if frames == 0 else _from_depth(frames - 1, call)


def test_an_item_that_can_be_read_near_the_surface_only_is_a_bad_reply_further_down() -> None:
    levels = sys.getrecursionlimit() // 2
    (message,) = parse_wait_reply(_reply(b'{"sequence":3,"data":' + b"[" * levels + b"]" * levels + b"}"))
    with pytest.raises(BadBridgeReply, match="nested less deeply"):
        _from_depth(levels, lambda: renumbered(message, 4))


@pytest.mark.requirement("delivery.items_untouched")
@given(item=items, number=st.integers(0, MAX_SEQUENCE))
def test_an_item_moves_to_another_number_and_back_without_a_trace(item: dict[str, object], number: int) -> None:
    (message,) = parse_wait_reply(_reply(orjson.dumps(item)))
    (moved,) = parse_wait_reply(_reply(renumbered(message, number)))
    assert moved.sequence == number
    assert orjson.loads(renumbered(moved, message.sequence)) == item


@pytest.mark.requirement("wait.reply_shape")
def test_a_reply_is_written_in_the_legacy_shape_around_the_items_bytes() -> None:
    body = write_reply([b'{"sequence":1}', b'{ "sequence":2 }'], waited_s=0.00104)
    assert (
        body == b'{"events":[{"sequence":1},{ "sequence":2 }],"count":2,"waited_seconds":0.00104,"status":"new_events"}'
    )
    assert orjson.loads(write_reply([], waited_s=0.0))["events"] == []
    assert ITEMS_PER_REPLY == 10


@pytest.mark.requirement("wait.reply_shape")
@given(given_items=st.lists(items, max_size=5), waited_s=st.floats(0, 300))
def test_a_reply_that_is_written_is_read_again_as_it_was(given_items: list[dict[str, object]], waited_s: float) -> None:
    raw = [orjson.dumps(item) for item in given_items]
    messages = parse_wait_reply(write_reply(raw, waited_s=waited_s))
    assert sorted(message.raw for message in messages) == sorted(raw)
    assert [message.sequence for message in messages] == sorted(message.sequence for message in messages)


@pytest.mark.requirement("parsers.documented_errors")
@given(
    body=st.binary() | json_values.map(orjson.dumps) | st.lists(json_values).map(lambda v: orjson.dumps({"events": v}))
)
def test_no_reply_raises_anything_but_the_documented_error(body: bytes) -> None:
    with contextlib.suppress(BadBridgeReply):
        assert all(renumbered(message, 7) for message in parse_wait_reply(body))


@pytest.mark.requirement("parsers.documented_errors")
@given(data=st.binary(max_size=40), key=st.binary(max_size=8))
def test_no_bytes_inside_an_item_raise_anything_but_the_documented_error(data: bytes, key: bytes) -> None:
    with contextlib.suppress(BadBridgeReply):
        for message in parse_wait_reply(_reply(b'{"sequence":1,"' + key + b'":' + data + b',"data":' + data + b"}")):
            assert renumbered(message, 7)


@pytest.mark.requirement("sequences.store_reply")
def test_the_reply_to_a_stored_event_gets_another_number_and_keeps_every_other_byte() -> None:
    body = b'{ "event_id":{"sequence": 0,"x":1.0},"status" :"stored","sequence": 2 , "message":"\\u00e9"}'
    told = b'{"event_id":{"sequence": 0,"x":1.0},"status":"stored","sequence":23,"message":"\\u00e9"}'
    assert numbered_reply(body, lambda sequence: sequence + 21) == told


@pytest.mark.requirement("sequences.store_reply")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"{}",
        b'{"sequence":"2"}',
        b'{"sequence":true}',
        b'{"sequence":-1}',
        b'{"sequence":2.5}',
        b'{"detail":"no"}',
        b'{"sequence":2,"x":"\xff"}'[:-1],
    ],
)
def test_a_reply_without_a_number_that_can_be_read_passes_as_it_came(body: bytes) -> None:
    assert numbered_reply(body, lambda sequence: sequence + 21) is body


def test_one_item_is_read_as_in_a_reply() -> None:
    raw = b'{"sequence":7,"event_type":"custom"}'
    assert parse_message(raw) == parse_wait_reply(_reply(raw))[0]
