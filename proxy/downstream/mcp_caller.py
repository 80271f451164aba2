"""Who calls on the MCP path over HTTP: the session, and whose it is.

Source: PROTOCOL.md 2.1, 3.1, 3.5.
"""

from aiohttp import web

from proxy.core.secret import Secret
from proxy.downstream.gate import SIGNER
from proxy.downstream.mcp_answer import REVISION, SESSION
from proxy.flows.mcp_clients import STATELESS
from proxy.mcp.correlation import Seat
from proxy.mcp.revisions import Era, era_of_header


def era_of(request: web.Request) -> Era:
    """The era of one HTTP request."""
    return era_of_header(request.headers.get(REVISION))


def session_of(request: web.Request) -> str:
    """The MCP session that a call belongs to; the envelope era has none, whatever is sent. Source: PROTOCOL.md 2.1."""
    return STATELESS if era_of(request) is Era.ENVELOPE else request.headers.get(SESSION, STATELESS)


def principal_of(request: web.Request) -> str:
    """Who calls: by the credential, and by the signature where agents are held to it; all others are the same."""
    authorization = request.headers.get("Authorization", "")
    by_credential = Secret(authorization).fingerprint().hex() if authorization else ""
    signer: str = request.get(SIGNER) or ""
    return by_credential + signer


def seat_of(request: web.Request) -> Seat:
    """Whom a question is put to: who it is, and in which session it speaks."""
    return Seat(principal=principal_of(request), session=session_of(request))
