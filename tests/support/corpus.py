"""The recorded corpus: exchanges that must look the same direct and through the relay.

A case is a request in raw bytes and a script for the upstream; cases whose two sides depend on each other
bring a script for the agent as well. `HOST` in a request stands for the authority that is called.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.support.raw_http import Reply, Wire
from tests.support.raw_upstream import Script, Stage, answers

AgentScript = Callable[[Wire, Stage], Awaitable[list[Reply]]]

OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"ok": true}\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One exchange, or several on one connection."""

    name: str
    request: bytes = b""
    upstream: Script
    agent: AgentScript | None = None
    count: int = 1

    @property
    def method(self) -> bytes:
        """The method of the (first) request."""
        return self.request.split(b" ", 1)[0]

    async def play(self, wire: Wire, stage: Stage, host: bytes) -> list[Reply]:
        """Play the agent's side and say what it saw."""
        if self.agent is not None:
            return await self.agent(wire, stage)
        await wire.send(self.request.replace(b"HOST", host))
        return [await wire.reply(method=self.method) for _ in range(self.count)]


def get(target: bytes, *fields: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """A request without a body."""
    return b"\r\n".join([method + b" " + target + b" HTTP/" + version, b"Host: HOST", *fields, b"", b""])


def post(body: bytes, *fields: bytes, method: bytes = b"POST", target: bytes = b"/event/store") -> bytes:
    """A request with a body and its length."""
    return get(target, *fields, b"Content-Length: %d" % len(body), method=method) + body


def chunked(*chunks: bytes, trailers: tuple[bytes, ...] = ()) -> bytes:
    """A body in chunks."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return framed + b"0\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n"


def reply(status: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """A reply whose fields are given in full."""
    return b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"", b""]) + body


def sized(status: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """A reply with its length."""
    return reply(status, *fields, b"Content-Length: %d" % len(body), body=body)


def case(name: str, request: bytes, *replies: bytes) -> Case:
    """A case without conversation: requests in, replies out."""
    return Case(name=name, request=request, upstream=answers(*replies), count=len(replies))


TARGETS = {
    "plain path": b"/event/query",
    "root": b"/",
    "percent-encoded slash": b"/a%2Fb/%2f",
    "percent-encoded NUL and line break": b"/a%00b%0Ac%0D",
    "percent-encoded unreserved and lower-case hex": b"/%41%7e%e2%9c%93/%C3%A9",
    "broken percent signs": b"/100%/%zz/%4",
    "double slashes": b"//a//b///",
    "dot segments": b"/a/./b/../c/..",
    "encoded dot segments": b"/%2e%2e/%2E/x",
    "empty query": b"/a?",
    "two question marks": b"/a??b?",
    "query without names": b"/a?&&=&=b&c=",
    "query with odd characters": b"/a?q={[\"<x>\\^`|]}&s=;:@!$'()*,/?",
    "query with plus and encoded blanks": b"/a?x=1+2&y=1%202&z=%2B",
    "repeated query names": b"/event/wait?agent_id=a&agent_id=b&agent_id=",
    "fragment in the target": b"/a#b?c#d",
    "path parameters": b"/a;v=1/b;w=2?x",
    "long query": b"/a?q=" + b"x" * 20000,
    "colon and at sign": b"/a:b@c//:80/",
}

REQUEST_FIELDS = {
    "odd header cases": (b"x-lower: 1", b"X-UPPER: 2", b"x-MiXeD: 3", b"aCCePT: */*"),
    "repeated headers": (b"X-A: 1", b"X-B: 2", b"X-A: 3", b"x-a: 1", b"Cookie: a=1", b"Cookie: b=2"),
    "bytes beyond ASCII in headers": (b"X-Latin: caf\xe9 \xff\x80", b"X-Utf: caf\xc3\xa9 \xe2\x9c\x93"),
    "empty header values": (b"X-Empty:", b"X-Blank:   "),
    "header values with blanks and tabs": (b"X-Tab: a\tb", b"X-Blanks:   a   b  "),
    "all token characters in a name": (b"!#$%&'*+-.^_`|~9aZ: 1",),
    "long header": (b"X-Long: " + b"y" * 30000,),
    "three hundred headers": tuple(b"X-%d: %d" % (number, number) for number in range(300)),
    "hop-by-hop headers": (
        b"Connection: keep-alive, X-Mine",
        b"Keep-Alive: timeout=5",
        b"X-Mine: dropped",
        b"TE: trailers",
        b"X-Kept: 1",
    ),
    "credentials and forwarding headers": (
        b"Authorization: Bearer t",
        b"Proxy-Authorization: Basic eA==",
        b"X-Forwarded-For: 10.0.0.1",
        b"Via: 1.1 other",
        b"Forwarded: for=x",
    ),
    "conditional and range headers": (b'If-None-Match: W/"x"', b"Range: bytes=0-1", b"Accept-Encoding: br"),
}

REPLIES = {
    "201 with Location": sized(b"201 Created", b"Location: /a/../b?c", body=b"{}"),
    "202 and an odd reason": sized(b"202 All right, later!", body=b"x"),
    "204": reply(b"204 No Content", b"X-A: 1"),
    "304 with a length": reply(b"304 Not Modified", b'ETag: "x"', b"Content-Length: 10"),
    "301": sized(b"301 Moved Permanently", b"Location: http://other.example:1/x", body=b"gone"),
    "307": sized(b"307 Temporary Redirect", b"Location: //other/x"),
    "400 of the Bridge": sized(b"400 Bad Request", b"content-type: application/json", body=b'{"detail":"no"}'),
    "404": sized(b"404 Not Found", body=b'{"detail":"Not Found"}'),
    "422": sized(b"422 Unprocessable Entity", body=b'{"detail":[{"loc":["query"]}]}'),
    "429 with Retry-After": sized(b"429 Too Many Requests", b"Retry-After: 1", b"WWW-Authenticate: a, b"),
    "500": sized(b"500 Internal Server Error", body=b"Internal Server Error"),
    "503": sized(b"503 Service Unavailable", b"Retry-After: Mon, 01 Jan 2029 00:00:00 GMT"),
    "status nobody knows": sized(b"799 Own", body=b"?"),
    "no reason phrase": sized(b"200 ", body=b"x"),
    "reason phrase beyond ASCII": sized(b"200 Caf\xe9 \xc3\xa9", body=b"x"),
    "repeated reply headers": sized(
        b"200 OK", b"Set-Cookie: a=1; Path=/", b"set-cookie: b=2", b"Server: one", b"Server: two", body=b"x"
    ),
    "Date and Server of the upstream": sized(b"200 OK", b"date: yesterday", b"SERVER: uvicorn", body=b"x"),
    "bytes beyond ASCII in reply headers": sized(b"200 OK", b"X-L: \xe9\xff", b"X-U: \xc3\xa9", body=b"x"),
    "no Content-Type, no Date, no Server": sized(b"200 OK", body=b"\x00\x01\xff"),
    "empty body": sized(b"200 OK"),
    "hop-by-hop reply headers": sized(
        b"200 OK", b"Connection: X-Gone", b"X-Gone: 1", b"Keep-Alive: timeout=1", b"X-Kept: 1", body=b"x"
    ),
    "gzip stays gzip": sized(b"200 OK", b"Content-Encoding: gzip", b"Vary: *", body=b"\x1f\x8b\x08\x00not really\xff"),
    "deflate that cannot be decoded": sized(b"200 OK", b"Content-Encoding: deflate", body=b"\x00broken"),
    "huge reply": sized(b"200 OK", body=bytes(range(256)) * 32768),
    "chunked reply": reply(
        b"200 OK", b"Transfer-Encoding: chunked", body=chunked(b"a", b"bc" * 5000, b"\r\n0\r\n\r\n")
    ),
    "chunked empty reply": reply(b"200 OK", b"transfer-encoding: Chunked", body=chunked()),
    "chunked reply with trailers": reply(
        b"200 OK",
        b"Transfer-Encoding: chunked",
        b"Trailer: X-Sum",
        body=chunked(b"abc", trailers=(b"X-Sum: 1",)),
    ),
    "reply that ends by close": reply(b"200 OK", b"Connection: close", body=b"until the end\n" * 1000),
    "reply of HTTP/1.0": b"HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nold",
    "reply headers with blanks and tabs": sized(b"200 OK", b"X-A:   a\tb   c  ", b"X-Empty:", body=b"x"),
    "103 before the reply": reply(b"103 Early Hints", b"Link: </x>") + sized(b"200 OK", body=b"hinted"),
    "102 twice before the reply": reply(b"102 Processing") * 2 + sized(b"200 OK", body=b"done"),
}

BODIES = {
    "small JSON": post(b'{"event_type":"x","data":{"to_agent":"b"}}', b"Content-Type: application/json"),
    "empty with length zero": post(b""),
    "no length at all": get(b"/event/store", method=b"POST"),
    "no Content-Type": post(b"\x00\xff\r\n\r\n"),
    "huge": post(bytes(range(256)) * 32768, b"Content-Type: application/octet-stream"),
    "gzip untouched": post(b"\x1f\x8b\x08\x00nope", b"Content-Encoding: gzip"),
    "chunked": get(b"/x", b"Transfer-Encoding: chunked", method=b"POST") + chunked(b"a", b"b" * 70000, b"\r\n"),
    "chunked and empty": get(b"/x", b"Transfer-Encoding: chunked", method=b"PUT") + chunked(),
    "chunked with trailers": get(b"/x", b"Trailer: X-T", b"Transfer-Encoding: chunked", method=b"POST")
    + chunked(b"abc", trailers=(b"X-T: 1",)),
    "a body in GET": post(b"why not", method=b"GET"),
    "a body in DELETE": post(b"{}", method=b"DELETE"),
    "multipart": post(
        b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--b--\r\n",
        b"Content-Type: multipart/form-data; boundary=b",
    ),
}

METHODS = (b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"PURGE", b"PROPFIND", b"REPORT", b"QUERY")

SIMPLE = (
    *(case(f"target: {name}", get(target), OK) for name, target in TARGETS.items()),
    *(case(f"request: {name}", get(b"/h", *fields), OK) for name, fields in REQUEST_FIELDS.items()),
    *(case(f"reply: {name}", get(b"/r"), answer) for name, answer in REPLIES.items()),
    *(case(f"body: {name}", request, OK) for name, request in BODIES.items()),
    *(case(f"method: {method.decode()}", get(b"/m?x", method=method), OK) for method in METHODS),
    case("method: OPTIONS *", get(b"*", method=b"OPTIONS"), sized(b"200 OK", b"Allow: GET")),
    case("HEAD with a length", get(b"/h", method=b"HEAD"), reply(b"200 OK", b"Content-Length: 1234")),
    case("HEAD without a length", get(b"/h", method=b"HEAD"), reply(b"200 OK", b"X-A: 1")),
    case("HEAD of a chunked resource", get(b"/", method=b"HEAD"), reply(b"200 OK", b"Transfer-Encoding: chunked")),
    case("HTTP/1.0 agent", get(b"/old", version=b"1.0"), OK),
    case(
        "HTTP/1.0 agent and a chunked reply",
        get(b"/old", version=b"1.0"),
        reply(b"200 OK", b"Transfer-Encoding: chunked", body=chunked(b"a", b"b")),
    ),
    case("three requests on one connection", get(b"/1") + get(b"/2") + get(b"/3"), OK, sized(b"404 No"), OK),
    case("a body and then another request", post(b"abc") + get(b"/2"), OK, OK),
    case("agent asks to close", get(b"/c", b"Connection: close"), OK),
)
