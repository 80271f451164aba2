"""The parsers of what agents and the Bridge say to each other: waits, messages, questions, answers, flags, numbers."""

from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from bench.fuzz_run import Target
from proxy.config.sources import parse_document
from proxy.core.agent_kind import agent_kind
from proxy.core.answers import addressee_of, parse_respond, parse_stored_answer
from proxy.core.asked_question import check_askable, read_asked
from proxy.core.bookkeeping import read_note
from proxy.core.bridge_token import is_not_the_speakers, issued_to
from proxy.core.bus import read_event
from proxy.core.bus_calls import names_bus_question, parse_ask
from proxy.core.deeds import parse_word
from proxy.core.elicitation import parse_created, parse_pending, parse_status
from proxy.core.errors import (
    BadBridgeReply,
    EvaluationRefused,
    InvalidFlags,
    InvalidInput,
    SchemaRefused,
)
from proxy.core.flags import parse_patch
from proxy.core.form_fields import parse_rule
from proxy.core.formats import is_date, is_date_time, is_email, is_uri
from proxy.core.forms import parse_form
from proxy.core.ids import AgentId, parse_agent_id, parse_elicitation_id, parse_sequence
from proxy.core.legacy import numbered_reply, parse_message, parse_wait_query, parse_wait_reply
from proxy.core.mismatch import clip, describe, quote
from proxy.core.numbered_replies import read_numbered_reply
from proxy.core.ofrep import parse_targeting_key
from proxy.core.other_readers import only_others_read, read_by_others
from proxy.core.printable import printable, printable_lines
from proxy.core.rate import parse_byte_rate, parse_rate
from proxy.core.schemas import check_content_bounds, compile_schema
from proxy.core.second_copies import without_second_copies
from proxy.core.secret import Secret
from proxy.core.send_marks import unmarked
from proxy.core.send_replies import read_reply
from proxy.core.sends import read_send
from proxy.downstream.admin_body import parse_object, read_if_match, read_limit, read_number

BOB: Final = AgentId("bob")
NOW: Final = 1_795_000_000.0

_ITEM: Final = (
    b'{"sequence":7,"event_type":"custom","source_agent":"alice",'
    b'"timestamp":"2026-11-23T07:00:00+00:00","data":{"n":1}}'
)
_REPLY: Final = b'{"events":[%b,%b],"count":2,"waited_seconds":0.5,"status":"new_events"}' % (
    _ITEM,
    _ITEM.replace(b":7", b":8"),
)
_QUESTION: Final = (
    b'{"elicitation_id":"elicit_1","from_agent":"alice","to_agent":"bob","message":"Which?",'
    b'"schema":{"type":"object","properties":{"colour":{"type":"string"}},"required":["colour"]},"timeout_seconds":30}'
)
_PENDING: Final = (
    b'{"elicitations":[{"id":"elicit_1","from_agent":"alice","message":"Which?","schema":{"type":"object"},'
    b'"created_at":1795000000.5,"expires_at":1795000030.5}],"count":1}'
)
_CREATED: Final = (
    b'{"elicitation_id":"elicit_1","status":"pending","expires_at":1795000030.5,"message":"Elicitation created"}'
)
_RESPOND: Final = (
    b'{"elicitation_id":"elicit_1","responding_agent":"bob","response_type":"accept","data":{"colour":"red"}}'
)
_STORED: Final = (
    b'{"event_type":"CUSTOM","agent_id":"bob","data":{"elicitation_id":"elicit_1","response_type":"accept",'
    b'"response":{"colour":"red"}}}'
)
_SENT: Final = (
    b'{"event_type":"CUSTOM","agent_id":"alice","data":{"to_agent":"bob","message":"Ready?","in_reply_to":7}}'
)

_MARKED: Final = (
    b'{"elicit_sidecar":1,"kind":"elicitation_request","elicitation_id":"bus_0123456789abcdef0123456789abcdef",'
    b'"from_agent":"alice","to_agent":"bob","message":"Which?","schema":{"type":"object"},"timeout_seconds":30}'
)
_NOTE: Final = (
    b'{"elicitation_type":"elicitation_requested","from_agent":"alice","to_agent":"bob","message":"m","schema":{},'
    b'"nonce":"n","timeout_seconds":30,"created_at":1.0,"expires_at":2.0}'
)
BUS_DATA: Final = (
    _MARKED,
    b'{"elicitation_id":"bus_0123456789abcdef0123456789abcdef","response_type":"accept","response":{"ok":true}}',
    _NOTE,
    b'{"in_reply_to":7,"to_agent":"alice","message":"yes"}',
)

FORM: Final = (
    b'{"type":"object","properties":{"name":{"type":"string","minLength":1,"maxLength":50,"format":"email"},'
    b'"age":{"type":"integer","minimum":0,"maximum":150},"ok":{"type":"boolean","default":true},'
    b'"colour":{"type":"string","enum":["red","blue"]}},"required":["name"]}'
)
SCHEMAS: Final = (
    FORM,
    b'{"type":"object","properties":{"of":{"type":"array","items":{"anyOf":[{"const":"a"},{"const":"b"}]}}}}',
    b'{"$defs":{"a":{"type":"string","pattern":"^[a-z]+$"}},"type":"object","properties":{"x":{"$ref":"#/$defs/a"}}}',
    b'{"allOf":[{"type":"object"},{"minProperties":1,"propertyNames":{"maxLength":9}}],"not":{"required":["z"]}}',
    b'{"if":{"required":["a"]},"then":{"properties":{"a":{"type":"number"}}},"else":{},"type":"object"}',
)
_CONTENTS: Final[Sequence[Mapping[str, object]]] = (
    {"name": "a@b.example", "age": 5},
    {"x": "abc", "of": ["a"]},
    {"a": 1.5, "z": None},
    {},
)
_COMPILED: Final = tuple(compile_schema(orjson.loads(schema)) for schema in SCHEMAS)


class NotJson(Exception):
    """An input that does not come as far as the parser."""


def value_of(given: bytes) -> object:
    """The JSON value of an input, for parsers that get values.

    Raises:
        NotJson: it has none.
    """
    try:
        return orjson.loads(given)
    except orjson.JSONDecodeError as error:
        raise NotJson from error


def object_of(given: bytes) -> dict[str, object]:
    """The same for objects."""
    value = value_of(given)
    if not isinstance(value, dict):
        raise NotJson
    return value


def text_of(given: bytes) -> str:
    """An input as a head of HTTP gives it: undecodable bytes are lone surrogates."""
    return given.decode("utf-8", "surrogateescape")


def _messages(given: bytes) -> None:
    for message in parse_wait_reply(given):
        read_event(message)
        read_note(message)
        read_reply(message)


def _event_data(given: bytes) -> None:
    message = parse_message(_ITEM.replace(b'{"n":1}', given))
    read_event(message)
    read_note(message)
    read_reply(message)


def _schema(given: bytes) -> None:
    schema = compile_schema(value_of(given))
    for content in _CONTENTS:
        schema.check(content)


def _content(given: bytes) -> None:
    content = value_of(given)
    check_content_bounds(content)
    for schema in _COMPILED:
        schema.check(content)


def _formats(given: bytes) -> None:
    text = text_of(given)
    for is_one in (is_date, is_date_time, is_email, is_uri):
        is_one(text)


def _told(given: bytes) -> None:
    text = text_of(given)
    clip(text)
    printable_lines(text)
    for tell in (quote, describe, printable):
        if not tell(text).isprintable():
            raise ValueError("what is told could move a cursor")


def _ids(given: bytes) -> None:
    parse_agent_id(text_of(given))
    parse_elicitation_id(text_of(given))
    parse_sequence(value_of(given))


def _admin_query(given: bytes) -> None:
    text = given.decode("latin-1").translate(_LINE_ENDS)
    target, version = (f"/x?limit={text}&after={text}", "3") if len(text) % 3 else ("/x", text)
    request: web.Request = make_mocked_request("GET", target, headers=CIMultiDict({"If-Match": version}))
    read_limit(request, default=1, most=100)
    read_number(request, "after", most=100)
    read_if_match(request)


def _token(given: bytes) -> None:
    if given:
        issued_to(Secret("Bearer " + text_of(given)))
    is_not_the_speakers(500, given)


_LINE_ENDS: Final = dict.fromkeys(map(ord, "\r\n#"))
"""What cannot stand in a head that was taken apart already."""

_JSON: Final = (NotJson, InvalidInput)

TARGETS: Final = (
    Target(
        name="core.legacy.parse_wait_query",
        run=lambda given: parse_wait_query(text_of(given)),
        seeds=(b"agent_id=bob&since_sequence=17&timeout_seconds=30", b"agent_id=%62ob&timeout_seconds=0", b""),
    ),
    Target(
        name="core.legacy.parse_wait_reply, core.bus.read_event, core.bookkeeping.read_note",
        run=_messages,
        seeds=(_REPLY, b'{"events":[],"count":0,"waited_seconds":2,"status":"timeout"}'),
        refusals=(BadBridgeReply,),
    ),
    Target(
        name="core.legacy.parse_message, core.send_replies.read_reply",
        run=_event_data,
        seeds=BUS_DATA,
        refusals=(BadBridgeReply,),
    ),
    Target(
        name="core.legacy.numbered_reply",
        run=lambda given: numbered_reply(given, lambda number: number + 1),
        seeds=(_REPLY,),
        refusals=(BadBridgeReply,),
    ),
    Target(
        name="core.second_copies.without_second_copies",
        run=lambda given: without_second_copies(given, BOB),
        seeds=(_REPLY,),
        refusals=(BadBridgeReply,),
    ),
    Target(
        name="core.elicitation.parse_pending",
        run=lambda given: parse_pending(given, BOB),
        seeds=(_PENDING,),
        refusals=(BadBridgeReply,),
    ),
    Target(
        name="core.elicitation.parse_created",
        run=lambda given: (parse_created(given, _CREATED, now=NOW), parse_created(_QUESTION, given, now=NOW)),
        seeds=(_CREATED, _QUESTION),
        refusals=(BadBridgeReply,),
    ),
    Target(
        name="core.elicitation.parse_status",
        run=parse_status,
        seeds=(b'{"status":"pending","created_at":1.5,"expires_at":2}', b'{"status":"accepted","responded_at":null}'),
        refusals=(BadBridgeReply,),
    ),
    Target(
        name="core.answers.parse_respond, core.answers.addressee_of",
        run=lambda given: (addressee_of(given), parse_respond(given)),
        seeds=(_RESPOND, _RESPOND.replace(b"accept", b"decline")),
        refusals=(InvalidInput,),
    ),
    Target(
        name="core.answers.parse_stored_answer", run=parse_stored_answer, seeds=(_STORED,), refusals=(InvalidInput,)
    ),
    Target(name="core.sends.read_send", run=read_send, seeds=(_SENT,), refusals=(InvalidInput,)),
    Target(
        name="core.numbered_replies.read_numbered_reply",
        run=read_numbered_reply,
        seeds=(_SENT,),
        refusals=(InvalidInput,),
    ),
    Target(name="core.asked_question.read_asked", run=read_asked, seeds=(_QUESTION,)),
    Target(
        name="core.bus_calls.parse_ask, core.bus_calls.names_bus_question",
        run=lambda given: (names_bus_question(given), parse_ask(given)),
        seeds=(_QUESTION,),
        refusals=(InvalidInput, SchemaRefused),
        share=4,
    ),
    Target(
        name="core.schemas.compile_schema, core.forms.bounded_schema, core.schema_cost.count_checks",
        run=_schema,
        seeds=SCHEMAS,
        refusals=(NotJson, SchemaRefused, InvalidInput),
        share=2,
    ),
    Target(
        name="core.schemas.AnswerSchema.check",
        run=_content,
        seeds=tuple(map(orjson.dumps, _CONTENTS)),
        refusals=_JSON,
        share=8,
    ),
    Target(
        name="core.asked_question.check_askable",
        run=lambda given: check_askable(value_of(given)),
        seeds=SCHEMAS,
        refusals=(NotJson, SchemaRefused),
        share=2,
    ),
    Target(
        name="core.form_fields.parse_rule, core.forms.parse_form, core.send_marks.unmarked",
        run=lambda given: (parse_rule(object_of(given)), parse_form(object_of(given)), unmarked(object_of(given))),
        seeds=(FORM, b'{"type":"string","format":"date","minLength":1}', b'{"type":"string","oneOf":[{"const":"a"}]}'),
        refusals=(NotJson,),
    ),
    Target(
        name="core.formats",
        run=_formats,
        seeds=(b"2026-11-23", b"2026-11-23T07:00:00.5+01:00", b"a.b+c@d.example", b"https://a.example:1/b?c#d"),
    ),
    Target(name="core.mismatch, core.printable", run=_told, seeds=(b"a text", b"\x1b[31mred\n")),
    Target(
        name="core.ids.parse_agent_id, core.ids.parse_elicitation_id, core.ids.parse_sequence",
        run=_ids,
        seeds=(b"17", b"0"),
        refusals=_JSON,
    ),
    Target(
        name="core.rate.parse_rate, core.rate.parse_byte_rate",
        run=lambda given: parse_byte_rate(text_of(given)) if b"B" in given else parse_rate(text_of(given)),
        seeds=(b"10/min+3", b"5/s", b"1MiB/s+4MiB"),
        refusals=(InvalidInput,),
    ),
    Target(
        name="core.other_readers.only_others_read, core.other_readers.read_by_others",
        run=lambda given: (only_others_read(given), read_by_others(given)),
        seeds=(_STORED, b'{"a":NaN}'),
    ),
    Target(
        name="core.bridge_token.issued_to, core.bridge_token.is_not_the_speakers",
        run=_token,
        seeds=(b"0123:bob:1795000000.5:abcdef", b'{"detail":"Invalid agent session token"}'),
    ),
    Target(
        name="core.agent_kind.agent_kind",
        run=lambda given: agent_kind(text_of(given)),
        seeds=(b"python-httpx/0.28", b"node", b"Mozilla/5.0 (X11) Chrome/1"),
    ),
    Target(
        name="core.flags.parse_patch",
        run=lambda given: parse_patch(value_of(given)),
        seeds=(b'{"elicitation_enabled":true,"elicitation_percentage":12.5,"elicitation_denylist":["bob"]}',),
        refusals=(NotJson, InvalidFlags),
    ),
    Target(
        name="core.ofrep.parse_targeting_key",
        run=lambda given: parse_targeting_key(object_of(given)),
        seeds=(b'{"context":{"targetingKey":"bob"}}',),
        refusals=(NotJson, EvaluationRefused),
    ),
    Target(
        name="downstream.admin_body.parse_object",
        run=parse_object,
        seeds=(b'{"elicitation_enabled":true}', b'{"a":{"b":[{"c":1}]}}'),
        refusals=(InvalidInput,),
    ),
    Target(
        name="downstream.admin_body.read_limit, downstream.admin_body.read_number, downstream.admin_body.read_if_match",
        run=_admin_query,
        seeds=(b"3", b"100"),
        refusals=(InvalidInput,),
        share=2,
    ),
    Target(
        name="core.deeds.parse_word",
        run=lambda given: parse_word(text_of(given)),
        seeds=(b"impersonation", b"claim"),
        refusals=(InvalidInput,),
    ),
    Target(
        name="config.sources.parse_document, config.lines.index_lines, config.shapes",
        run=lambda given: parse_document("x.toml", given),
        seeds=(
            b'[bridge]\nurl = "http://127.0.0.1:8765"\n\n[wait]\npaths = ["/event/wait"]\nmax_parked = 10\n',
            b'[flags]\nelicitation_percentage = 5.0\n[groups]\na = ["bob"]\n[limits]\nquestions = "10/min+3"\n',
            b'listen.data = \'127.0.0.1:0\' # c\n[log]\nlevel = """info"""\n',
        ),
        share=4,
    ),
)
"""What is fed to each."""
