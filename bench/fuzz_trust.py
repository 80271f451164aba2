"""The parsers of what says who speaks: names, paths, signatures, digests, keys, canonical JSON, limits, the audit."""

from contextlib import suppress
from typing import Final

import orjson
import trustme

from bench.fuzz_bridge import NOW, text_of
from bench.fuzz_run import Target
from proxy.core.audit import lines_of, read_lines
from proxy.core.audit_check import verify
from proxy.core.canonical_json import canonical, parse_strict
from proxy.core.certificate import first_of_pem, parse_certificate
from proxy.core.claims import claims_in_body, claims_in_path, claims_in_query, is_token_judged, plain_path
from proxy.core.content_digest import parse_digest, write_digest
from proxy.core.errors import InvalidInput, InvalidState
from proxy.core.event_signing import SignedEvent, sign_event, verify_event
from proxy.core.hop import end_to_end, is_chunked, is_websocket_upgrade, list_members, upstream_target
from proxy.core.hosts import is_allowed_host, is_allowed_origin
from proxy.core.ids import AgentId
from proxy.core.key_file import parse_keys, write_keys
from proxy.core.key_ring import ENTROPY_BYTES, KeyRing, new_key
from proxy.core.lenient_json import objects_in, parse_lenient
from proxy.core.limit_fields import limit_fields
from proxy.core.limits import CALLS, Decision
from proxy.core.rate import parse_rate
from proxy.core.signature_fields import Terms, is_method, is_target, parse_input, parse_origin, read_agent, write_agent
from proxy.core.signing import Call, Verdict, Verifier, sign_call
from proxy.mcp.mrtr import HANDLE_BYTES, SealKey, open_state, seal
from tests.support.audit_chain import chain

_KEY: Final = new_key(AgentId("agent_17"), entropy=bytes(range(ENTROPY_BYTES)), created_at=NOW - 100)
_RING: Final = KeyRing([_KEY])
_ORIGIN: Final = parse_origin("https://bridge.example:8443")
_TERMS: Final = Terms(created=int(NOW), expires=int(NOW) + 300, nonce="abcdefghijklmnopqrstuv")
_BODY: Final = b'{"agent_id":"agent_17","n":1}'
_VERIFIER: Final = Verifier(_RING, origins=[_ORIGIN])
_FIELDS: Final = sign_call(
    _KEY, method=b"POST", target=b"/event/store", origin=_ORIGIN, terms=_TERMS, digest=write_digest(_BODY)
)
_HEAD: Final = b"\n".join(b"%b: %b" % pair for pair in [(b"Host", b"bridge.example:8443"), *_FIELDS])
_EVENT: Final = {"kind": "elicitation_request", "n": 1}
_SIGNED: Final = orjson.dumps(sign_event(_EVENT, key=_KEY, terms=_TERMS))
_SEAL: Final = SealKey(key_id="k1", secret=bytes(32))
_STATE: Final = seal(bytes(HANDLE_BYTES), expires_at=int(NOW) + 60, ring=[_SEAL], binding=b"bob").encode("ascii")
_ENTRIES: Final = chain(3)
_EXPORT: Final = b"".join(lines_of(_ENTRIES))
_PEM: Final = trustme.CA().issue_cert("bridge.example", "127.0.0.1").cert_chain_pems[0].bytes()
_LIMITS: Final = [Decision(CALLS, parse_rate("10/min+3"), 0)]


_PATH: Final = 20_000


def _headers(given: bytes) -> list[tuple[bytes, bytes]]:
    """A head of HTTP that was taken apart."""
    lines = [line.partition(b":") for line in given.split(b"\n")]
    return [(name.strip(), value.strip()) for name, _, value in lines]


def _verify(given: bytes) -> None:
    call = Call(method=b"POST", target=b"/event/store", headers=_headers(given), has_body=True)
    verdict = _VERIFIER.verify_whole(call, _BODY, NOW)
    if isinstance(verdict, Verdict) and verdict.nonce != _TERMS.nonce:
        raise ValueError("a signature counts that nobody has made")


def _verify_event(given: bytes) -> None:
    found = verify_event(given, ring=_RING, speaker=_KEY.agent_id, now=NOW)
    if isinstance(found, SignedEvent) and found.data != orjson.loads(_SIGNED):
        raise ValueError("a signature of an event counts that nobody has made")


def _strict(given: bytes) -> None:
    text = canonical(parse_strict(given))
    if canonical(parse_strict(text)) != text:
        raise ValueError("the canonical form of the canonical form is another one")


def _agent(given: bytes) -> None:
    agent_id = read_agent(given)
    if agent_id is not None and write_agent(agent_id) != given:
        raise ValueError("an agent has two spellings")


def _digest(given: bytes) -> None:
    digest = parse_digest(given)
    if digest is not None:
        digest.matches(given)


def _input(given: bytes) -> None:
    found = parse_input(given)
    if found is not None and not found.terms.is_writable():
        raise ValueError("terms are taken that could not be written")


def _keys(given: bytes) -> None:
    ring = parse_keys(text_of(given))
    if not isinstance(ring, KeyRing):
        return
    text = write_keys(ring)
    again = parse_keys(text)
    if not isinstance(again, KeyRing) or write_keys(again) != text:
        raise ValueError("the keys that were read are others when they are written and read again")


def _path(given: bytes) -> None:
    """Three times over, so that only a part of a long one is taken."""
    path = text_of(given[:_PATH])
    plain = plain_path(path)
    is_token_judged(plain)
    claims_in_path(path)
    if plain != "/" and ("//" in plain or "/../" in plain or plain.endswith("/")):
        raise ValueError("a plain path is not plain")


def _hop(given: bytes) -> None:
    headers = _headers(given)
    end_to_end(headers)
    is_chunked(headers)
    is_websocket_upgrade(headers)
    list_members(headers, b"connection")
    upstream_target(given)


def _lenient(given: bytes) -> None:
    with suppress(ValueError, RecursionError):
        list(objects_in(parse_lenient(given)))


def _limits(given: bytes) -> None:
    lines = text_of(given).split("\n")
    upstream = {"ratelimit-policy": lines[:1], "ratelimit": lines[1:2], "retry-after": lines[2:3]}
    limit_fields(_LIMITS, upstream, wall=NOW)


def _export(given: bytes) -> None:
    verify(read_lines(given), _ENTRIES[-1].head)


TARGETS: Final = (
    Target(name="core.lenient_json.parse_lenient", run=_lenient, seeds=(b'{"a": [1, {"a": NaN}], "a": 2}', b"[{}, 7]")),
    Target(name="core.signing.Verifier", run=_verify, seeds=(_HEAD,)),
    Target(name="core.signature_fields.parse_input", run=_input, seeds=(dict(_FIELDS)[b"Signature-Input"],)),
    Target(name="core.signature_fields.read_agent", run=_agent, seeds=(b"agent_17", b"agent%200%2C%20%C3%BC")),
    Target(
        name="core.signature_fields.parse_origin, core.signature_fields.is_target",
        run=lambda given: (is_method(given), is_target(given), parse_origin(text_of(given))),
        seeds=(b"https://bridge.example:8443", b"http://[::1]:8765", b"http://127.0.0.1"),
        refusals=(InvalidInput,),
    ),
    Target(name="core.content_digest.parse_digest", run=_digest, seeds=(write_digest(_BODY), write_digest(b""))),
    Target(name="core.event_signing.verify_event", run=_verify_event, seeds=(_SIGNED,)),
    Target(
        name="core.canonical_json.parse_strict, core.canonical_json.canonical",
        run=_strict,
        seeds=(_SIGNED, b'{"a":1.5,"b":[1e21,0.000001,-0.0],"\\u00e9":"\\ud83d\\ude00","c":{"d":null}}'),
        refusals=(InvalidInput,),
    ),
    Target(name="core.key_file.parse_keys", run=_keys, seeds=(write_keys(_RING).encode("ascii"),), share=8),
    Target(
        name="core.claims.claims_in_query",
        run=lambda given: claims_in_query(text_of(given)),
        seeds=(b"agent_id=bob&since_sequence=1&agent_id=alice", b"agent_id=%62ob;agent_id=x"),
    ),
    Target(
        name="core.claims.claims_in_body",
        run=lambda given: claims_in_body("/event/store", given),
        seeds=(_BODY, b'{"agent_id":"bob","data":{"agent_id":"alice"}}', b'{"agent_id":null}'),
    ),
    Target(
        name="core.claims.plain_path, core.claims.claims_in_path",
        run=_path,
        seeds=(b"/event/../event/wait", b"/ws/bob", b"/Event/%2577ait;x=1/.", b"//event\\wait. "),
    ),
    Target(
        name="core.hosts.is_allowed_host, core.hosts.is_allowed_origin",
        run=lambda given: (
            is_allowed_host(text_of(given), frozenset({"a.example"})),
            is_allowed_origin(text_of(given), frozenset({"a.example"})),
        ),
        seeds=(b"127.0.0.1:8766", b"[::1]:1", b"http://localhost:5", b"a.example"),
    ),
    Target(
        name="core.hop",
        run=_hop,
        seeds=(b"Connection: close, X-A\nX-A: 1\nTransfer-Encoding: chunked", b"/a/b?c", b"http://h/x", b"*"),
    ),
    Target(
        name="core.limit_fields.limit_fields",
        run=_limits,
        seeds=(b'"a";q=10;w=60\n"a";r=3;t=5\n7', b'"b c";q=1\n"b c";r=0\nMon, 23 Nov 2026 07:54:24 GMT'),
    ),
    Target(
        name="core.certificate.first_of_pem, core.certificate.parse_certificate",
        run=lambda given: parse_certificate(first_of_pem(given) if given.startswith(b"-----") else given),
        seeds=(_PEM, first_of_pem(_PEM)),
        refusals=(InvalidInput,),
    ),
    Target(
        name="core.audit.read_lines, core.audit_check.verify",
        run=_export,
        seeds=(_EXPORT, *lines_of(_ENTRIES)),
        share=4,
    ),
    Target(
        name="mcp.mrtr.open_state",
        run=lambda given: open_state(text_of(given), now=NOW, ring=[_SEAL], binding=b"bob"),
        seeds=(_STATE,),
        refusals=(InvalidState,),
    ),
)
"""What is fed to each."""
