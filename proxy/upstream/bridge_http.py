"""The Bridge over its REST interface: one method per call, every foreign exception translated.

Bodies are bounded, every call ends within its own time-out, and nothing is retried here: what to do about a
failure is the flows' business. Source: BRIDGE.md 2.
"""

import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from math import ceil
from typing import Final
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from proxy.core.bus import Ask
from proxy.core.contact import Contact
from proxy.core.elicitation import (
    Answer,
    BridgeStatus,
    Elicitation,
    parse_created,
    parse_pending,
    parse_status,
    respond_body,
)
from proxy.core.errors import (
    BadBridgeReply,
    BridgeRefused,
    BridgeTimeout,
    BridgeUnavailable,
    BridgeUntrusted,
    InvalidInput,
)
from proxy.core.ids import AgentId, ElicitationId, parse_sequence
from proxy.core.legacy import Message, parse_wait_reply
from proxy.core.secret import Secret
from proxy.core.tls_trouble import Peer, hint_in, trouble_in

MAX_REPLY_BYTES: Final = 16 * 1024 * 1024
"""Largest reply read from the Bridge: ten messages of the Bridge's 1 MiB limit, with room. Source: BRIDGE.md 2.2."""

MIN_HOLD_S: Final = 1
"""The Bridge does not look into its log for a wait of 0 seconds. Source: BRIDGE.md 2.3."""

_TOKEN: Final = re.compile(r"[!-~]{1,8000}", re.ASCII)
"""Visible characters only, so that a token cannot end the header field. Source: RFC 9110 section 5.5; length ours."""

_CONTENT_TYPE: Final = re.compile(r"[ -~]{1,200}", re.ASCII)
"""A media type that can be handed on in a reply of ours. Source: RFC 9110 section 5.5, narrowed; length ours."""

_DOTS: Final = frozenset({".", ".."})
"""Ids that no quoting keeps from walking the path, and no Bridge gives. Source: RFC 3986 sections 3.3 and 5.2.4."""


class HttpBridge:
    """The Bridge port over HTTP."""

    __slots__ = ("_contact", "_request_timeout_s", "_session", "_url")

    def __init__(
        self, session: aiohttp.ClientSession, url: URL, *, request_timeout_s: float, contact: Contact | None = None
    ) -> None:
        self._session = session
        self._url = url
        self._contact = contact or Contact("the Bridge", time.monotonic)
        self._request_timeout_s = request_timeout_s

    async def wait(self, agent_id: AgentId, credential: Secret, *, since: int, hold_s: float) -> tuple[Message, ...]:
        """The legacy wait, held at the Bridge for `hold_s` seconds (at least one); see the port."""
        held = max(MIN_HOLD_S, int(hold_s))
        url = (self._url / "event/wait").with_query(
            agent_id=agent_id, since_sequence=str(since), timeout_seconds=str(held)
        )
        body = await self._call("GET", url, credential, timeout_s=held + self._request_timeout_s)
        return parse_wait_reply(body)

    async def pending(self, agent_id: AgentId, credential: Secret) -> tuple[Elicitation, ...]:
        """Questions that wait for this agent; see the port."""
        url = (self._url / "elicitation/pending").with_query(agent_id=agent_id)
        return parse_pending(await self._call("GET", url, credential), agent_id)

    async def respond(self, answer: Answer, agent_id: AgentId, credential: Secret) -> None:
        """Give one answer; see the port."""
        await self._call("POST", self._url / "elicitation/respond", credential, body=respond_body(answer, agent_id))

    async def status(self, elicitation_id: ElicitationId, credential: Secret) -> BridgeStatus | None:
        """State of one elicitation; see the port."""
        if elicitation_id in _DOTS:
            return None
        try:
            # Quoted whole: an id that a peer chose must not walk to another path.
            url = self._url.with_path("/elicitation/status/" + quote(elicitation_id, safe=""), encoded=True)
            body = await self._call("GET", url, credential)
        except BridgeRefused as error:
            if error.bridge_status == 404:
                return None
            raise
        return parse_status(body)

    async def open_session(self, agent_id: AgentId) -> Secret:
        """Open a session in the agent's name; see the port."""
        asked = orjson.dumps({"agent_id": agent_id, "ip_address": "127.0.0.1", "user_agent": "elicit-sidecar"})
        body = await self._call("POST", self._url / "session/create", None, body=asked)
        try:
            token = orjson.loads(body)["session_token"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise BadBridgeReply("expected `session_token` in the session reply") from error
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise BadBridgeReply("expected `session_token` to be text that fits a header field")
        return Secret(f"Bearer {token}")

    async def create(self, ask: Ask, credential: Secret) -> Elicitation:
        """Put one question; see the port."""
        asked = orjson.dumps(
            {
                "from_agent": ask.from_agent,
                "to_agent": ask.to_agent,
                "message": ask.message,
                "schema": ask.schema,
                "timeout_seconds": ceil(ask.timeout_s),  # the Bridge takes whole ones
            }
        )
        body = await self._call("POST", self._url / "elicitation/create", credential, body=asked)
        question = parse_created(asked, body, now=0.0)
        if question is None:
            raise BadBridgeReply("expected `elicitation_id` and `expires_at` in the reply to a created elicitation")
        # Like its end by the Bridge's own clock.
        return replace(question, created_at=question.expires_at - ceil(ask.timeout_s))

    async def store_event(self, agent_id: AgentId, data: Mapping[str, object], credential: Secret) -> int:
        """Store one event in an agent's name; its sequence.

        Raises:
            BridgeFault: as of the port's methods.
        """
        # An event of a type that the Bridge does not know would be stored as another. Source: BRIDGE.md 2.2.
        event = orjson.dumps({"event_type": "custom", "agent_id": agent_id, "data": data})
        body = await self._call("POST", self._url / "event/store", credential, body=event)
        try:
            return parse_sequence(orjson.loads(body)["sequence"])
        except (orjson.JSONDecodeError, KeyError, TypeError, InvalidInput) as error:
            raise BadBridgeReply("expected `sequence` in the reply to a stored event") from error

    async def _call(
        self, method: str, url: URL, credential: Secret | None, *, body: bytes | None = None, timeout_s: float = 0.0
    ) -> bytes:
        headers = {"Accept": "application/json"}
        if credential is not None:
            headers["Authorization"] = credential.reveal()
        if body is not None:
            headers["Content-Type"] = "application/json"
        # A time-out of one call replaces the session's as a whole, and with it the bound on connecting.
        connect_s = self._session.timeout.sock_connect
        timeout = aiohttp.ClientTimeout(total=timeout_s or self._request_timeout_s, sock_connect=connect_s)
        with self._contact.watched():
            async with (
                translated(url),
                self._session.request(
                    method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
                ) as reply,
            ):
                received = await _bounded_body(reply)
                if reply.status >= 300:
                    raise BridgeRefused(
                        f"the Bridge answered {url.path} with status {reply.status}",
                        bridge_status=reply.status,
                        body=received,
                        content_type=_content_type(reply),
                    )
                return received


@asynccontextmanager
async def translated(url: URL) -> AsyncIterator[None]:
    """Turn aiohttp's exceptions into ours; their texts name no credential."""
    try:
        yield
    except TimeoutError as error:
        raise BridgeTimeout(f"no answer from {url.path} in time") from error
    except aiohttp.ClientResponseError as error:
        # Not from it: its repr shows the headers that were sent, and the credential among them.
        raise _unavailable(url, error) from None
    except (aiohttp.ClientError, OSError) as error:
        raise _unavailable(url, error) from error


def _unavailable(url: URL, error: Exception) -> BridgeUnavailable:
    peer = Peer(str(url.origin()), url.host or "")
    trouble = trouble_in(error, peer)
    if trouble:
        return BridgeUntrusted(trouble)
    hint = hint_in(error, peer)
    return BridgeUnavailable(f"{url.path}: {type(error).__name__}; is the Bridge running at {peer.origin}?{hint}")


def _content_type(reply: aiohttp.ClientResponse) -> str:
    given = reply.headers.get("Content-Type", "")
    return given if _CONTENT_TYPE.fullmatch(given) else "application/json"


async def _bounded_body(reply: aiohttp.ClientResponse) -> bytes:
    chunks = bytearray()
    async for chunk in reply.content.iter_any():
        chunks += chunk
        if len(chunks) > MAX_REPLY_BYTES:
            raise BadBridgeReply(f"expected a reply of at most {MAX_REPLY_BYTES} bytes")
    return bytes(chunks)
