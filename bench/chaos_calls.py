"""The calls of one agent of a chaos run, and how it reads what a wait brings."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from bench.chaos_records import AnyRecord, Heard, Odd, Told
from bench.http_client import BadReplyError, Client, Reply, encode

CALL_S: Final = 4.0
"""Longest short call. Source: ours; longer than the sidecar's own time for one."""

RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 0.8
"""Pauses before a call is repeated, from and up to. Source: ours."""

SESSION_LOST: Final = frozenset({401, 403})
EXPECTED: Final = frozenset({502, 503, 504})
"""What is said while something is broken; only after 503 a call surely had no effect. Source: RFC 9110 15.6."""

FAILURES: Final = (OSError, TimeoutError, BadReplyError, ValueError)

Item = Mapping[str, object]


class Line:
    """One agent's way to the Bridge, with its session."""

    __slots__ = ("_client", "_name", "_opening", "_token")

    def __init__(self, name: str, client: Client) -> None:
        self._name = name
        self._client = client
        self._token = ""
        self._opening = asyncio.Lock()

    async def call(self, method: str, target: str, body: object = None, *, timeout_s: float = CALL_S) -> Reply:
        """One call with a session; one that is lost is opened anew for the next call.

        Raises:
            OSError, TimeoutError, BadReplyError: no reply.
        """
        token = self._token or await self._open_session()
        reply = await self._client.call(encode(method, target, body=body, token=token), timeout_s=timeout_s)
        if reply.status in SESSION_LOST and self._token == token:
            self._token = ""
        return reply

    async def _open_session(self) -> str:
        async with self._opening:
            if not self._token:
                body = {"agent_id": self._name, "ip_address": "127.0.0.1", "user_agent": "chaos"}
                try:
                    said = await self._client.json("POST", "/session/create", body=body)
                except BadReplyError as error:
                    raise ConnectionError("no session") from error
                self._token = str(said["session_token"]) if isinstance(said, dict) else ""
        return self._token


async def pause(tries: int) -> None:
    """Rest before the next try, after so many."""
    await asyncio.sleep(min(LAST_RETRY_S, RETRY_S * 2 ** min(tries, 6)))


@dataclass(slots=True)
class Reading:
    """What one wait brought to an agent."""

    numbers: list[int] = field(default_factory=list)
    """Of all items but questions under their id."""
    mine: list[tuple[int, str]] = field(default_factory=list)
    """Number and id of each message for this agent."""
    ids: dict[str, int] = field(default_factory=dict)
    """Number of each message that has an id."""
    records: list[AnyRecord] = field(default_factory=list)
    """Questions and answers, and what is odd."""
    is_closing: bool = False
    """The last message of the run is there."""


def read_reply(agent: str, body: bytes) -> Reading:
    """Read the reply of a wait.

    Raises:
        ValueError, BadReplyError: it is none.
    """
    value = orjson.loads(body)
    events = value.get("events") if isinstance(value, dict) else None
    if not isinstance(events, list):
        raise BadReplyError(f"expected the reply of a wait, got {body[:200]!r}")
    reading = Reading()
    for item in events:
        _read(agent, item, reading)
    return reading


def _read(agent: str, item: Item, reading: Reading) -> None:
    data, sequence, sender = item.get("data"), item.get("sequence"), item.get("source_agent")
    if not isinstance(data, dict) or not isinstance(sequence, int):
        reading.records.append(Odd(agent, f"an item like {item}"))
        return
    if item["event_type"] == "elicitation_request":
        reading.records.append(_told(agent, data, str(data["elicitation_id"]), 0))
        return
    reading.numbers.append(sequence)
    reading.is_closing = reading.is_closing or bool(data.get("closing"))
    known = data.get("id")
    if isinstance(known, str):
        reading.ids[known] = sequence
        if known.split(".")[0] != sender:
            reading.records.append(Odd(agent, f"message {known} came as from {sender}"))
        if data.get("to_agent") == agent:
            reading.mine.append((sequence, known))
    if data.get("elicitation_type") == "elicitation_requested":
        if data.get("to_agent") == agent:
            reading.records.append(_told(agent, data, "", sequence))
        return
    reading.records.extend(_heard(agent, item, data, sequence))


def _told(agent: str, data: Item, elicitation: str, sequence: int) -> Told:
    expires_at = data.get("expires_at")
    deadline = float(expires_at) if isinstance(expires_at, int | float) else 0.0
    return Told(agent, str(data["message"]), elicitation, sequence, deadline)


def _heard(agent: str, item: Item, data: Item, sequence: int) -> Sequence[Heard]:
    """An answer to this agent, if the item is one: under its question's id, as the Bridge's note, or as a message."""
    content, elicitation = data.get("content"), ""
    if item["event_type"] == "elicitation_response":
        content, elicitation = data.get("data"), str(data["elicitation_id"])
    elif data.get("elicitation_type") == "elicitation_accepted":
        content = data.get("response_data")
    elif data.get("to_agent") != agent:
        return ()
    question = content.get("question") if isinstance(content, dict) else None
    # An answer under an id is told whoever asked, so that the ledger sees one that went astray.
    if not isinstance(question, str) or not (elicitation or question.split(".")[0] == agent):
        return ()
    return (Heard(agent, question, elicitation, sequence, str(item.get("source_agent"))),)
