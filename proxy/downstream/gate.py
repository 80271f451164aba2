"""What stands before all doors of the data port: who calls, whether it is signed, within its limits.

A head is judged before anything of the body is read. A small body is read then, and compared with its digest; a large
one is compared on its way up, see `signed_body`. Where nothing is asked for, nothing is looked at. What a call says
is judged by what the most lenient server may take its path for; its door is found by the path as it is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from aiohttp import web

from proxy.core.bridge_token import issued_to
from proxy.core.claims import (
    claims_in_body,
    claims_in_path,
    claims_in_query,
    is_token_judged,
    names_agent_in_body,
    names_agent_in_query,
    plain_path,
)
from proxy.core.hop import upstream_target
from proxy.core.identity import Claims, Identity, Witness
from proxy.core.limits import ANSWERS, BYTES, CALLS, QUESTIONS, WAITS, LimitName
from proxy.core.secret import Secret
from proxy.core.signing import Call, Refusal, Verdict
from proxy.downstream.body import READ_BODY, is_coded, is_readable, read_body
from proxy.downstream.limit_reply import GRANTED
from proxy.downstream.relay import RELAY_OUTCOME
from proxy.downstream.signed_body import SIGNED_BODY, SignedBody
from proxy.flows.admission import Admission, Entrant
from proxy.mcp.inbound import ToolNames
from proxy.mcp.jsonrpc import parse
from proxy.mcp.tool_claims import read_tools

CALLER: Final = web.RequestKey("caller", Identity)
"""Who makes the call; missing where nothing vouches for anybody."""

SIGNER: Final = web.RequestKey("signer", str)
"""Who has signed the call, after a blank; only where it is refused what is another's."""

SPENDER: Final = web.RequestKey("spender", Identity)
"""Whose allowance the call spends; only where limits are in force."""

_OF_POSTS: Final = {"/elicitation/create": QUESTIONS, "/elicitation/respond": ANSWERS}
_OF_READERS: Final = (CALLS, WAITS)
_ACCEPTED_BY: Final = frozenset({"/event/store", "/elicitation/create", "/elicitation/respond", "/elicitation/pending"})
"""Calls that the Bridge only answers with 200 where it has accepted their token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Called:
    """One call on its way in."""

    request: web.Request
    path: str
    """Decoded, as the Bridge will see it."""
    plain: str
    """As the most lenient server may take it."""
    is_mcp: bool
    """It goes to the door of MCP, which looks into it by itself."""
    is_message: bool
    """It is an MCP message that goes to a server past that door."""
    entrant: Entrant


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Lets calls in, or refuses them with an error."""

    admission: Admission
    wait_paths: frozenset[str]
    """As they are written, and as they are plain."""
    plain_mcp_path: str
    mcp_is_bridge: bool
    """The MCP server is the Bridge, which issued the tokens that come there."""
    names: ToolNames

    async def let_in(self, request: web.Request, path: str, *, is_mcp: bool, is_message: bool) -> None:
        """Judge one call; `path` is decoded, as the Bridge will see it. `is_message`: to a place of an MCP stream.

        Raises:
            SidecarError: it may not come in.
        """
        rules = self.admission.rules
        if not rules.looks_at_calls and not self._may_be_limited(request):
            return
        called = self._read_head(request, path, is_mcp=is_mcp, is_message=is_message)
        identity = await self._identify(called) if rules.looks_at_calls else self.admission.bound(called.entrant)
        if identity is not None:
            request[CALLER] = identity
            if rules.identity == "enforce" and identity.witness is Witness.SIGNATURE:
                request[SIGNER] = f" {identity.agent_id}"
        if rules.limits:
            await self._limit(called, identity)

    def _read_head(self, request: web.Request, path: str, *, is_mcp: bool, is_message: bool) -> _Called:
        plain = plain_path(path)
        to_server = is_mcp or is_message or plain == self.plain_mcp_path
        authorization = request.headers.get("Authorization", "")
        vouches = self.mcp_is_bridge if to_server else is_token_judged(plain)
        token = issued_to(Secret(authorization)) if authorization and vouches else None
        return _Called(
            request=request,
            path=path,
            plain=plain,
            is_mcp=is_mcp,
            is_message=to_server and not is_mcp and request.method == "POST",
            entrant=Entrant(token=token, fingerprint=Secret(authorization).fingerprint() if token else b""),
        )

    async def _identify(self, called: _Called) -> Identity | None:
        request = called.request
        verdict = self.admission.judge_signature(_call(request))
        is_claiming = self.admission.rules.identity != "off" and self._says_who_in_body(called)
        is_compared = verdict is not None and verdict.digest is not None
        body = await self._body(called) if is_claiming or is_compared else None
        if verdict is not None:
            verdict = self._compared(request, verdict, body)
        claims = self._claims(called, body) if self.admission.rules.identity != "off" else Claims()
        return await self.admission.admit(replace(called.entrant, claims=claims), verdict)

    def _says_who_in_body(self, called: _Called) -> bool:
        return called.is_message or names_agent_in_body(called.request.method, called.plain)

    async def _body(self, called: _Called) -> bytes | None:
        """The body, where it can be looked into now.

        Raises:
            BodyTooLarge: it says who makes the call, and came in chunks that grew beyond what is looked into.
            InvalidInput: its framing is broken.
        """
        request = called.request
        if not (request.body_exists and is_readable(request)):
            return None
        if request.content_length is None and not self._says_who_in_body(called):
            return None  # of unknown length: compared on its way
        body = request[READ_BODY] = await read_body(request)
        return body

    def _compared(self, request: web.Request, verdict: Verdict, body: bytes | None) -> Verdict | None:
        """The verdict, unless the body is another one; one that comes later is compared before it goes anywhere."""
        if verdict.digest is None:
            return verdict
        refuse = partial(self.admission.refuse_signature, Refusal.DIGEST_MISMATCH, verdict.agent_id)
        if body is None and request.body_exists:
            request[SIGNED_BODY] = SignedBody(verdict.digest.checker(), refuse)
            return verdict
        if verdict.digest.matches(body or b""):
            return verdict
        refuse()
        return None

    def _claims(self, called: _Called, body: bytes | None) -> Claims:
        """Whom a call names; two credentials are read by some servers as the first and by some as the last."""
        found = self._named(called, body)
        is_plain = len(called.request.headers.getall("Authorization", ())) < 2
        return found if is_plain else replace(found, is_readable=False)

    def _named(self, called: _Called, body: bytes | None) -> Claims:
        request = called.request
        if names_agent_in_query(request.method, called.plain, self.wait_paths):
            return claims_in_query(request.raw_path.partition("?")[2])
        if not self._says_who_in_body(called):
            return claims_in_path(called.path)
        if body is None or is_coded(request):  # not to be looked into, or only by the Bridge
            return Claims(is_readable=not request.body_exists)
        return (
            read_tools(parse(body), body, self.names).claims
            if called.is_message
            else claims_in_body(called.plain, body)
        )

    # Limits

    def _may_be_limited(self, request: web.Request) -> bool:
        """Whether a limit may be in force for a call; what only reads comes under few."""
        limits = self.admission.rules.limits
        is_reading = request.method in {"GET", "HEAD"} and not request.body_exists
        return any(name in limits for name in _OF_READERS) if is_reading else bool(limits)

    async def _limit(self, called: _Called, identity: Identity | None) -> None:
        request = called.request
        names = await self._limits_of(called)
        spender = self.admission.spender(identity, _as_credential(request))
        request[SPENDER] = spender
        request[GRANTED] = await self.admission.take([CALLS, *names], spender)
        if request.body_exists:
            # Of unknown length: a body that begins costs at least a byte, and the rest when it has come.
            cost = request.content_length or 1
            request[GRANTED] += await self.admission.take([BYTES], spender, cost=cost)

    async def _limits_of(self, called: _Called) -> Sequence[LimitName]:
        method = called.request.method
        if called.is_message:
            body = await self._body(called)
            return () if body is None else read_tools(parse(body), body, self.names).limits
        if method in {"GET", "HEAD"} and called.plain in self.wait_paths:
            return (WAITS,)
        return (_OF_POSTS[called.plain],) if method == "POST" and called.plain in _OF_POSTS else ()

    async def answered(self, request: web.Request, path: str, status: int) -> None:
        """Learn whether the Bridge has accepted the token of a call, and how long its body was; status 0: no reply."""
        spender = request.get(SPENDER)
        if spender is not None and request.body_exists and request.content_length is None:
            await self.admission.used_up(BYTES, spender, _bytes_up(request) - 1)
        if spender is None or spender.is_proven or spender.witness is not Witness.TOKEN or status != 200:
            return
        relayed = request.get(RELAY_OUTCOME)
        is_judged = path in _ACCEPTED_BY or (request.method == "GET" and path in self.wait_paths)
        if is_judged and relayed is not None and relayed.status == 200:
            await self.admission.was_accepted(spender)


def _bytes_up(request: web.Request) -> int:
    """How long a body was, as far as it was read."""
    relayed = request.get(RELAY_OUTCOME)
    read: bytes = request.get(READ_BODY) or b""
    return max(len(read), 0 if relayed is None else relayed.bytes_up)


def _as_credential(request: web.Request) -> Claims:
    """Whoever nobody vouches for, by what it calls with: no body is read to learn what it says of itself."""
    authorization = request.headers.get("Authorization", "")
    return Claims((Secret(authorization).fingerprint().hex(),)) if authorization else Claims()


def _call(request: web.Request) -> Call:
    return Call(
        method=request.method.encode("ascii", "replace"),
        target=upstream_target(request.raw_path.encode("utf-8", "surrogateescape")),
        headers=request.raw_headers,
        has_body=request.body_exists,
    )
