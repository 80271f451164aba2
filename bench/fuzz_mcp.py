"""The parsers of MCP: JSON-RPC, event streams, lines of a pipe, tools, questions and answers of all revisions."""

from typing import Final

import orjson

from bench.fuzz_bridge import BOB, FORM, SCHEMAS, NotJson, object_of, text_of
from bench.fuzz_run import Target
from proxy.core.errors import BadBridgeReply, BridgeRefused, BridgeUnavailable, InvalidInput, SchemaRefused
from proxy.downstream.mcp_lines import LineSplitter, Oversize, lines_of
from proxy.mcp.ask import FormQuestion, read_answer, read_input_response, word
from proxy.mcp.client_headers import argument_headers, envelope_headers, mirrored_arguments, read_tools
from proxy.mcp.client_words import (
    is_of_another_era,
    read_discovered,
    read_initialized,
    read_input_required,
    read_messages,
    read_question,
    read_session_id,
)
from proxy.mcp.correlation import read_cancelled
from proxy.mcp.downward import discovered, dressed, note_for, read_tools_page, server_info
from proxy.mcp.endpoint import rewritten, same_target, target_of, without_origin
from proxy.mcp.enveloped import read_enveloped
from proxy.mcp.hidden import hides_call, is_looked_at
from proxy.mcp.inbound import ToolNames, classify
from proxy.mcp.jsonrpc import Response, envelope_of, members, parse, read_error, read_id, read_value
from proxy.mcp.over_http import agreed_revision, agrees_with_envelope, is_in_order
from proxy.mcp.revisions import R2025_06_18, R2025_11_25, R2026_07_28, Mode
from proxy.mcp.sse import Reader, Splitter, read_frame
from proxy.mcp.tool_claims import read_tools as read_claims
from proxy.mcp.tool_notes import lists_tools, noted_frame, noted_message, noted_result, wait_is_deprecated
from proxy.mcp.tools import (
    named_elicitation,
    parse_respond_arguments,
    parse_send_arguments,
    parse_wait_arguments,
    read_tool_call,
)
from proxy.mcp.translate import translate
from proxy.mcp.upward import outgoing_params, passed_headers, passes, read_level, welcome
from proxy.mcp.wait_tool import read_wait_result

_WAIT, _RESPOND, _SEND = "lighthouse_wait_for_messages", "lighthouse_respond_to_elicitation", "lighthouse_store_event"
_NAMES: Final = ToolNames(wait=frozenset({_WAIT}), respond=frozenset({_RESPOND}), send=frozenset({_SEND}))
_NOTE: Final = wait_is_deprecated(frozenset({_WAIT}), "https://guide.example")
_UPSTREAM: Final = "http://127.0.0.1:8765"
_MAX_FRAME: Final = 4_096
_PIECE: Final = 16_384


def _call(tool: str, arguments: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"%b","arguments":%b}}' % (
        tool.encode("ascii"),
        arguments,
    )


_WAITS: Final = b'{"agent_id":"bob","timeout_seconds":30,"since_sequence":5}'
_ANSWERS: Final = b'{"elicitation_id":"elicit_1","response_type":"accept","data":{"colour":"red"}}'
_SENDS: Final = (
    b'{"event_type":"CUSTOM","agent_id":"bob","event_data":{"elicitation_id":"elicit_1","response":{"a":1}}}'
)
_CALLS: Final = (_call(_WAIT, _WAITS), _call(_RESPOND, _ANSWERS), _call(_SEND, _SENDS))
_RESULT: Final = b'{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"x"}],"isError":false}}'
_ERROR: Final = b'{"jsonrpc":"2.0","id":"esc-0123456789abcdef","error":{"code":-32601,"message":"no","data":{}}}'
_INITIALIZE: Final = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":'
    b'{"elicitation":{}},"clientInfo":{"name":"t","version":"1"}}}'
)
_MESSAGES: Final = (
    *_CALLS,
    _RESULT,
    _ERROR,
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"reason":"r"}}',
    _INITIALIZE,
    b"[" + _RESULT + b"]",
)
_META: Final = (
    b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":'
    b'{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}}}'
)
_ENVELOPED: Final = _CALLS[0].replace(b'"name"', _META + b',"name"')
_HEADERS: Final = (
    (b"Content-Type", b"application/json"),
    (b"Accept", b"application/json, text/event-stream"),
    (b"MCP-Protocol-Version", b"2026-07-28"),
    (b"Mcp-Method", b"tools/call"),
    (b"Mcp-Name", _WAIT.encode("ascii")),
)
_STREAM: Final = (
    b': hello\n\nevent: message\nid: 5\nretry: 100\ndata: {"a":\ndata: 1}\n\n\xef\xbb\xbfdata\r\rdata: 2\r\n\r\n'
)
_FORM_PARAMS: Final = b'{"mode":"form","message":"Which?","requestedSchema":%b}' % FORM
_URL_PARAMS: Final = b'{"mode":"url","message":"Go","url":"https://a.example/x","elicitationId":"e1"}'
_ASKS: Final = (
    b'{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":%b}},'
    b'"requestState":"s"}' % _FORM_PARAMS
)
_TOOL: Final = (
    b'{"name":"%b","description":"d","inputSchema":{"type":"object","properties":{"agent_id":{"type":"string",'
    b'"x-mcp-header":"Agent"}}}}' % _WAIT.encode("ascii")
)
_TOOLS: Final = b'{"tools":[%b],"nextCursor":"c","_meta":{}}' % _TOOL
_INITIALIZED: Final = (
    b'{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},'
    b'"serverInfo":{"name":"s","version":"1"},"instructions":"i"}'
)
_DISCOVERED: Final = (
    b'{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}'
)
_WAITED: Final = (
    b'{"content":[{"type":"text","text":"{\\"events\\":[{\\"sequence\\":1,\\"event_type\\":\\"custom\\",\\"data\\":{}}],'
    b'\\"count\\":1}"}],"isError":false}'
)

_FORM: Final = FormQuestion("Which?", orjson.loads(FORM))
_WORDINGS: Final = tuple(
    wording
    for revision in (R2025_06_18, R2025_11_25, R2026_07_28)
    if (wording := word(_FORM, revision, frozenset(Mode))) is not None
)


def _response(given: bytes, *, is_error: bool = False) -> Response:
    return Response(id=1, result=None if is_error else given, error=given if is_error else None, raw=given)


def _stream(given: bytes) -> None:
    """However a stream is cut, its frames are the same, and nothing of it is lost; three passes of a piece of it."""
    given = given[:_PIECE]
    whole, pieces = Splitter(_MAX_FRAME), Reader(Splitter(_MAX_FRAME))
    frames = whole.feed(given)
    step = 1 + len(given) // 7
    read = [frame for at in range(0, len(given), step) for frame in pieces.feed(given[at : at + step])]
    told = [frame.data for raw in frames if (frame := read_frame(raw)).data is not None]
    if told != [frame.data for frame in read if frame.data is not None]:
        raise ValueError("a stream in pieces is another one")
    if b"".join(frames) + whole.rest() != given.removeprefix(b"\xef\xbb\xbf"):
        raise ValueError("bytes of a stream are lost")


def _lines(given: bytes) -> None:
    """However a pipe is cut, its lines are the same."""
    whole, pieces = LineSplitter(_MAX_FRAME), LineSplitter(_MAX_FRAME)
    found = whole.feed(given)
    step = 1 + len(given) // 5
    cut = [piece for at in range(0, len(given), step) for piece in pieces.feed(given[at : at + step])]
    for piece in (*found, *cut):
        if isinstance(piece, Oversize):
            piece.told()
        else:
            lines_of(piece)
    Oversize(head=given[:1_024], tail=given[-1_024:], size_bytes=len(given)).told()


def _message(given: bytes) -> None:
    is_looked_at(given)
    envelope_of(given)
    message = parse(given)
    classify(message, _NAMES, default_timeout_s=60, answers_as=lambda _: BOB)
    hides_call(message, given, _NAMES)
    read_claims(message, given, _NAMES)
    agreed_revision(given)


def _enveloped(given: bytes) -> None:
    read_enveloped(_HEADERS, given)
    agrees_with_envelope(_HEADERS, given)


def _heads(given: bytes) -> None:
    headers = [
        (name.strip().lower(), value.strip())
        for name, _, value in (line.partition(b":") for line in given.split(b"\n"))
    ]
    is_in_order(headers)
    passed_headers(headers)
    agrees_with_envelope(headers, _ENVELOPED)
    read_enveloped(headers, _ENVELOPED)


def _arguments(given: bytes) -> None:
    read_tool_call(b'{"name":"x","arguments":%b}' % given)
    parse_wait_arguments(given, default_timeout_s=60)
    named_elicitation(given)
    parse_send_arguments(given)
    parse_respond_arguments(given, BOB)


def _values(given: bytes) -> None:
    found = members(given)
    for raw in found.values():
        read_value(raw)
    read_id(found.get("id", b"null"))
    read_error(found.get("error", b'{"code":1}'))


def _answer(given: bytes) -> None:
    for wording in _WORDINGS:
        read_input_response(wording, given)
        read_answer(wording, _response(given, is_error=True))


def _translated(given: bytes) -> None:
    schema = object_of(given)
    for revision in (R2025_06_18, R2025_11_25, R2026_07_28):
        translate(schema, revision).content_of({"name": "x", "response_json": "{}", "of_a": True})


def _server_words(given: bytes) -> None:
    response = _response(given)
    read_discovered(response)
    is_of_another_era(_response(given, is_error=True))
    server_info(given)
    read_input_required(given, 1)


def _notes(given: bytes) -> None:
    if lists_tools(given):
        noted_message(given, _NOTE)
    noted_frame(b"data: %b\n\n" % given, _NOTE)
    noted_result(given, _NOTE)


def _tools(given: bytes) -> None:
    mirrored_arguments(object_of(given))  # which also sees to it that it is UTF-8, as every part of a message is
    read_tools_page(given, _WAIT)
    read_tools(given)


def _notification(given: bytes) -> None:
    passes(given)
    note_for(given, progress_token=b'"t"', log_level="info")


def _endpoint(given: bytes) -> None:
    frame = b"event: endpoint\ndata: %b\n\n" % given
    rewritten(frame, _UPSTREAM, on_endpoint=lambda _: None)
    told = without_origin(given, _UPSTREAM)
    if told is not given and not told.startswith(b"/"):
        raise ValueError("a place that was made relative is none")
    target_of(given, "/sse")
    same_target(text_of(given))


_BRIDGE: Final = (BadBridgeReply,)
_INPUT: Final = (InvalidInput,)

TARGETS: Final = (
    Target(
        name="mcp.jsonrpc.parse, mcp.inbound.classify, mcp.hidden.hides_call, mcp.tool_claims.read_tools",
        run=_message,
        seeds=(*_MESSAGES, _ENVELOPED),
    ),
    Target(
        name="mcp.jsonrpc.members, mcp.jsonrpc.read_value, mcp.jsonrpc.read_id, mcp.jsonrpc.read_error",
        run=_values,
        seeds=(_RESULT, _ERROR, *_CALLS),
        refusals=_INPUT,
    ),
    Target(name="mcp.enveloped.read_enveloped", run=_enveloped, seeds=(_ENVELOPED, *_CALLS)),
    Target(
        name="mcp.over_http, mcp.upward.passed_headers",
        run=_heads,
        seeds=(b"\n".join(b"%b: %b" % pair for pair in _HEADERS), b"Mcp-Name: =?base64?eA==?="),
    ),
    Target(name="mcp.sse.Splitter, mcp.sse.read_frame", run=_stream, seeds=(_STREAM,), refusals=_BRIDGE),
    Target(
        name="downstream.mcp_lines.LineSplitter", run=_lines, seeds=(b"\n".join(_MESSAGES) + b"\n", _CALLS[0] + b"\r\n")
    ),
    Target(
        name="mcp.tools.read_tool_call, mcp.tools.parse_wait_arguments, mcp.tools.parse_send_arguments, "
        "mcp.tools.parse_respond_arguments",
        run=_arguments,
        seeds=(_ANSWERS, _SENDS.replace(b"event_data", b"data"), b'{"elicitation_id":"e","response_type":"decline"}'),
        refusals=_INPUT,
    ),
    Target(name="mcp.correlation.read_cancelled", run=read_cancelled, seeds=(b'{"requestId":7}', b'{"requestId":"a"}')),
    Target(name="mcp.client_words.read_messages", run=read_messages, seeds=_MESSAGES, refusals=_BRIDGE),
    Target(name="mcp.client_words.read_initialized", run=read_initialized, seeds=(_INITIALIZED,), refusals=_BRIDGE),
    Target(
        name="mcp.client_words.read_session_id",
        run=lambda given: read_session_id(text_of(given)),
        seeds=(b"session-1", b"0123-abcd"),
        refusals=_BRIDGE,
    ),
    Target(
        name="mcp.client_words.read_input_required, mcp.client_words.read_discovered",
        run=_server_words,
        seeds=(_ASKS, _DISCOVERED, _INITIALIZED),
        refusals=_BRIDGE,
    ),
    Target(
        name="mcp.client_words.read_question",
        run=lambda given: read_question(given, salt="1 k"),
        seeds=(_FORM_PARAMS, _URL_PARAMS),
        refusals=_INPUT,
    ),
    Target(
        name="mcp.client_headers.read_tools, mcp.client_headers.mirrored_arguments, mcp.downward.read_tools_page",
        run=_tools,
        seeds=(_TOOLS,),
        refusals=(InvalidInput, BadBridgeReply, NotJson),
    ),
    Target(
        name="mcp.client_headers.argument_headers, mcp.client_headers.envelope_headers",
        run=lambda given: (
            argument_headers({("agent_id",): "Agent"}, given),
            envelope_headers({}, "tools/call", b'{"name":"x","arguments":%b}' % given),
        ),
        seeds=(_WAITS,),
        refusals=_INPUT,
    ),
    Target(
        name="mcp.wait_tool.read_wait_result",
        run=lambda given: read_wait_result(_response(given)),
        seeds=(_WAITED,),
        refusals=(BadBridgeReply, BridgeRefused, BridgeUnavailable),
    ),
    Target(
        name="mcp.ask.read_answer, mcp.ask.read_input_response",
        run=_answer,
        seeds=(b'{"action":"accept","content":{"name":"a@b.example","age":5}}', b'{"action":"decline"}', b'{"code":1}'),
    ),
    Target(name="mcp.translate.translate", run=_translated, seeds=SCHEMAS, refusals=(NotJson, SchemaRefused), share=2),
    Target(
        name="mcp.downward.discovered, mcp.downward.dressed",
        run=lambda given: (discovered(given), dressed("tools/call", given)),
        seeds=(_INITIALIZED,),
        refusals=_BRIDGE,
    ),
    Target(
        name="mcp.upward.welcome", run=lambda given: welcome(given, R2025_11_25), seeds=(_DISCOVERED,), refusals=_BRIDGE
    ),
    Target(
        name="mcp.upward.outgoing_params, mcp.upward.read_level",
        run=lambda given: (outgoing_params(given, level="info"), read_level(given)),
        seeds=(b'{"level":"info","_meta":{"progressToken":1}}',),
        refusals=_INPUT,
    ),
    Target(
        name="mcp.upward.passes, mcp.downward.note_for",
        run=_notification,
        seeds=(
            b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}',
            b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}',
        ),
    ),
    Target(
        name="mcp.tool_notes.noted_message, mcp.tool_notes.noted_result, mcp.tool_notes.noted_frame",
        run=_notes,
        seeds=(_TOOLS, b'{"jsonrpc":"2.0","id":1,"result":%b}' % _TOOLS),
        refusals=_INPUT,
    ),
    Target(
        name="mcp.endpoint.rewritten, mcp.endpoint.without_origin, mcp.endpoint.target_of",
        run=_endpoint,
        seeds=(b"/messages?session_id=1", b"http://127.0.0.1:8765/messages?s=1", b"//localhost:8765//x"),
    ),
)
"""What is fed to each."""
