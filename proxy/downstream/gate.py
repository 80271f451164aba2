"""What stands before all doors of the data port: who calls, whether it is signed, within its limits.

A head is judged before anything of the body is read. A small body is read then, and compared with its digest; a large
one is compared on its way up, see `signed_body`. Where nothing is asked for, nothing is looked at.
"""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from proxy.core.bridge_token import issued_to
from proxy.core.claims import claims_in_body, claims_in_query, names_agent_in_body, names_agent_in_query
from proxy.core.hop import upstream_target
from proxy.core.identity import NO_CLAIMS, Claims, Identity
from proxy.core.limits import LimitName
from proxy.core.routing import Owner
from proxy.core.secret import Secret
from proxy.core.signing import Call, Refusal, Verdict
from proxy.downstream.body import READ_BODY, is_readable, read_body
from proxy.downstream.signed_body import SIGNED_BODY, SignedBody
from proxy.flows.admission import Admission, Entrant

CALLER: Final = web.RequestKey("caller", Identity)
"""Who makes the call; missing where nothing vouches for anybody."""

CALLS, BYTES, WAITS, QUESTIONS, ANSWERS = map(LimitName, ("calls", "bytes", "waits", "questions", "answers"))
_OF_OWNER: Final = {Owner.WAIT: WAITS, Owner.CREATE: QUESTIONS, Owner.RESPOND: ANSWERS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Lets calls in, or refuses them with an error."""

    admission: Admission
    wait_paths: frozenset[str]

    async def let_in(self, request: web.Request, path: str, owner: Owner) -> None:
        """Judge one call; `path` is decoded, as the Bridge will see it.

        Raises:
            SidecarError: it may not come in.
        """
        rules = self.admission.rules
        identity = None
        if rules.looks_at_calls:
            identity = await self._identify(request, path)
        elif rules.limits:
            identity = self.admission.vouched_for(_token(request))
        if identity is not None:
            request[CALLER] = identity
        if rules.limits:
            await self._limit(request, identity, owner)

    async def _identify(self, request: web.Request, path: str) -> Identity | None:
        verdict = self.admission.judge_signature(_call(request))
        body = await self._body(request, path, verdict)
        if verdict is not None:
            verdict = self._compared(request, verdict, body)
        claims = self._claims(request, path, body)
        return await self.admission.admit(Entrant(token=_token(request), claims=claims), verdict)

    async def _body(self, request: web.Request, path: str, verdict: Verdict | None) -> bytes | None:
        """The body, where it has to be looked into now and is small enough for that."""
        is_wanted = verdict is not None and verdict.digest is not None
        if self.admission.rules.identity != "off" and names_agent_in_body(request.method, path):
            is_wanted = True
        if not (is_wanted and request.body_exists and is_readable(request)):
            return None
        if request.content_length is None and not names_agent_in_body(request.method, path):
            return None  # of unknown length: compared on its way
        body = request[READ_BODY] = await read_body(request)
        return body

    def _compared(self, request: web.Request, verdict: Verdict, body: bytes | None) -> Verdict | None:
        """The verdict, unless the body is another one; one that comes later is compared on its way up."""
        if verdict.digest is None:
            return verdict
        if body is None and request.body_exists:
            request[SIGNED_BODY] = SignedBody(verdict.digest.checker())
            return verdict
        if verdict.digest.matches(body or b""):
            return verdict
        self.admission.refuse_signature(Refusal.DIGEST_MISMATCH, verdict.agent_id)
        return None

    def _claims(self, request: web.Request, path: str, body: bytes | None) -> Claims:
        if names_agent_in_query(request.method, path, self.wait_paths):
            return claims_in_query(request.raw_path.partition("?")[2])
        if names_agent_in_body(request.method, path):
            # A body that is too large to be looked into is refused by the Bridge, or by whoever comes next.
            return Claims(is_readable=not request.body_exists) if body is None else claims_in_body(path, body)
        return NO_CLAIMS

    async def _limit(self, request: web.Request, identity: Identity | None, owner: Owner) -> None:
        names = [CALLS, *([_OF_OWNER[owner]] if owner in _OF_OWNER else [])]
        await self.admission.take(names, identity)
        if request.content_length:
            await self.admission.take([BYTES], identity, cost=request.content_length)


def _call(request: web.Request) -> Call:
    return Call(
        method=request.method.encode("ascii", "replace"),
        target=upstream_target(request.raw_path.encode("utf-8", "surrogateescape")),
        headers=request.raw_headers,
        has_body=request.body_exists,
    )


def _token(request: web.Request) -> str | None:
    """The agent that the call's Bridge token names, None where there is no such token."""
    text = request.headers.get("Authorization", "")
    return issued_to(Secret(text)) if text else None
