"""Exchanges on the MCP path that must look the same direct and through the sidecar, byte for byte.

Each is one that a proxy was seen to break. Source: PROTOCOL.md 3.4.
"""

from typing import Final

from tests.support.corpus import Case, case, chunked, get, post, reply, sized

MCP: Final = b"/mcp"
JSON: Final = b"Content-Type: application/json"
EVENTS: Final = b"Content-Type: text/event-stream"
BOTH: Final = b"Accept: application/json, text/event-stream"
OK: Final = sized(b"200 OK", JSON, body=b'{"jsonrpc":"2.0","id":1,"result":{}}')

LEGACY: Final = (JSON, BOTH, b"Mcp-Session-Id: 18bf-\x21\x7e", b"mcp-protocol-version: 2025-11-25")
MODERN: Final = (JSON, BOTH, b"MCP-Protocol-Version: 2026-07-28", b"Mcp-Method: tools/call", b"Mcp-Name: echo")

CALL: Final = (
    b'{ "params" : {"arguments":{"z":9007199254740993,"a":1.0,"z":-0.0,"n":1e400,"big":123456789012345678901234567890,'
    b'"text":"\\u00e9\\/\\ud83d\\ude00 \xc3\xa9"},"name":"echo"},\r\n\t"method":"tools/call","id":18014398509481985,'
    b'"jsonrpc":"2.0"}\n'
)
"""Numbers beyond 2^53, members out of order and twice, escapes and blanks as nobody would write them again."""

CANCELLED: Final = (
    b'{"method":"notifications/cancelled","params":{"reason":"\xc3\xa9","requestId":9007199254740993},"jsonrpc":"2.0"}'
)

STREAM: Final = (
    b"\r\n: a comment\r\n\r\nid: 7\r\nretry: 500\r\ndata: \r\n\r\n"
    b'event: message\rid:8\rdata: {"jsonrpc":"2.0","id":1,"method":"elicitation/create",\r'
    b'data:"params":{"n":9007199254740993}}\r\r'
    b"event: message\ndata: " + CANCELLED + b"\n\nx-unknown: 1\nid\n\n"
    b'data: {"jsonrpc":"2.0","id":18014398509481985,"result":{"b":1,"a":2}}\n\n: unfinished'
)
"""Line ends of all kinds, a priming event, ids, an unfinished comment."""

REQUESTS: Final = {
    "a call of the envelope era with all its headers": post(
        CALL,
        *MODERN,
        b"Mcp-Param-Region: us-west1",
        b"mcp-param-Text: =?base64?SGVsbG8=?=",
        b"Mcp-Param-Unknown:   padded  ",
        target=MCP,
    ),
    "a call of the envelope era that names its method twice": post(
        CALL, *MODERN, b"mcp-method: tools/call", target=MCP
    ),
    "a call of the handshake era in its session": post(CALL, *LEGACY, target=MCP),
    "a call without any header of MCP": post(CALL, target=MCP),
    "a call with a query": post(CALL, *LEGACY, target=MCP + b"?x=%2Fmcp&y"),
    "a cancellation": post(CANCELLED, *LEGACY, target=MCP),
    "an answer to a question": post(
        b'{"result":{"content":{"b":9007199254740993,"a":1.0},"action":"accept"},"id":9007199254740993,"jsonrpc":"2.0"}',
        *LEGACY,
        target=MCP,
    ),
    "an answer to a question by an error": post(
        b'{"error":{"message":"no","code":-32600},"id":"q","jsonrpc":"2.0"}', *LEGACY, target=MCP
    ),
    "a batch": post(b'[{"jsonrpc":"2.0","method":"tools/call","id":1},%b]' % CALL, *LEGACY, target=MCP),
    "what is no JSON": post(b'{"method":"tools/call",', *LEGACY, target=MCP),
    "bytes that are no UTF-8": post(b'{"method":"tools/call","x":"\xff"}', *LEGACY, target=MCP),
    "a stream taken up again": get(MCP, b"Accept: text/event-stream", b"Last-Event-ID: 7_\xc3\xa9", *LEGACY[2:]),
    "a stream": get(MCP, BOTH, *LEGACY[2:]),
    "the end of a session": get(MCP, *LEGACY[2:], method=b"DELETE"),
    "a local origin": post(CALL, *LEGACY, b"Origin: http://localhost:6274", target=MCP),
    "credentials": post(CALL, *LEGACY, b"Authorization: Bearer of-the-agent", b"traceparent: 00-1-1-01", target=MCP),
    "a call of five mebibytes": post(b'{"method":"tools/call","x":"%b"}' % (b"x" * (5 << 20)), *LEGACY, target=MCP),
    "a call in chunks": get(MCP, *LEGACY, b"Transfer-Encoding: chunked", method=b"POST")
    + chunked(CALL[:50], CALL[50:]),
    "a preflight": get(MCP, b"Access-Control-Request-Method: POST", method=b"OPTIONS"),
}

REPLIES: Final = {
    "a session": sized(b"200 OK", EVENTS, b"Mcp-Session-Id: 18bf", b"X-Accel-Buffering: no", body=STREAM),
    "a session in the other spelling": sized(b"200 OK", JSON, b"MCP-Session-Id: 18bf", body=CALL),
    "a stream in chunks": reply(
        b"200 OK", EVENTS, b"Transfer-Encoding: chunked", body=chunked(STREAM[:30], STREAM[30:])
    ),
    "a stream that ends by close": reply(b"200 OK", EVENTS, b"Connection: close", body=STREAM),
    "a compressed stream": sized(b"200 OK", EVENTS, b"Content-Encoding: gzip", body=b"\x1f\x8b" + STREAM),
    "JSON with numbers beyond 2^53": sized(b"200 OK", JSON, b"cache-control: no-cache, no-transform", body=CALL),
    "five mebibytes": sized(b"200 OK", JSON, body=b'{"result":"%b"}' % (b"x" * (5 << 20))),
    "nothing": sized(b"202 Accepted"),
    "204": reply(b"204 No Content"),
    "400": sized(b"400 Bad Request", JSON, body=b'{"jsonrpc":"2.0","id":null,"error":{"code":-32020,"message":"x"}}'),
    "401": sized(
        b"401 Unauthorized",
        b'WWW-Authenticate: Bearer realm="x", resource_metadata="https://a.example/.well-known/x", scope="a b"',
        b"WWW-Authenticate: Basic",
    ),
    "403": sized(b"403 Forbidden", JSON, body=b"{}"),
    "403 with a challenge": sized(b"403 Forbidden", b'WWW-Authenticate: Bearer error="insufficient_scope"'),
    "404": sized(b"404 Not Found", JSON, body=b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"x"}}'),
    "405": sized(b"405 Method Not Allowed", b"Allow: POST, GET", b"allow: DELETE", body=b"no"),
    "406": sized(b"406 Not Acceptable", JSON, body=b"{}"),
    "413": sized(b"413 Content Too Large", JSON, body=b"{}"),
    "415": sized(b"415 Unsupported Media Type"),
    "421": sized(b"421 Misdirected Request", body=b"Invalid Host header"),
    "429": sized(b"429 Too Many Requests", b"Retry-After: 7", b"RateLimit-Remaining: 0", JSON, body=b"{}"),
    "500": sized(b"500 Internal Server Error", b"Content-Type: text/plain", body=b"Internal Server Error"),
    "503": sized(b"503 Down For A While", b"Retry-After: Mon, 01 Jan 2029 00:00:00 GMT"),
    "307": sized(b"307 Temporary Redirect", b"Location: /mcp/"),
}

_ASKED: Final = {
    "handshake": post(CALL, *LEGACY, target=MCP),
    "envelope": post(CALL, *MODERN, target=MCP),
    "a stream": REQUESTS["a stream"],
    "DELETE": REQUESTS["the end of a session"],
}

MCP_CORPUS: Final[tuple[Case, ...]] = (
    *(case(name, request, OK) for name, request in REQUESTS.items()),
    *(
        case(f"{name}, {asked}", request, answer)
        for name, answer in REPLIES.items()
        for asked, request in _ASKED.items()
    ),
)
