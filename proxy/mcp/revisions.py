"""The MCP revisions and what differs between them, as one table.

Each row names only what changed against the row before. Nothing else compares revision names.
The specification says "legacy era" and "modern era"; here "legacy" is the wait, so the eras are called by
what makes them different: a handshake once, or an envelope of metadata around every request.

Source: PROTOCOL.md 1.1, 1.3, 2.1, 2.7 and 3.1.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Era(StrEnum):
    """How the two ends learn of each other."""

    HANDSHAKE = "handshake"
    """`initialize` once per session: the specification's legacy era."""
    ENVELOPE = "envelope"
    """Metadata around every request: the specification's modern era."""


class Mode(StrEnum):
    """How an elicitation is shown."""

    FORM = "form"
    URL = "url"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One revision and what it has."""

    name: str
    """Its date, as it travels."""
    era: Era
    has_back_channel: bool
    """A server may send requests to its client."""
    has_batch: bool
    """Several messages may travel as one array."""
    has_one_endpoint: bool
    """Streamable HTTP; before it a stream and a separate address for messages."""
    sends_revision_header: bool
    """Every HTTP request after the handshake names the revision in `MCP-Protocol-Version`."""
    modes: frozenset[Mode]
    """How a server may ask; empty where it cannot."""
    names_mode: bool
    """A question says its mode."""
    sends_url_elicitation_id: bool
    """A question in url mode has an `elicitationId`, and its end may be notified."""
    has_question_meta: bool
    """The parameters of a question may have `_meta`."""
    has_schema_dialect: bool
    """A requested schema may have `$schema`."""
    has_all_defaults: bool
    """Every field of a form may have a default; before, only booleans."""
    has_titled_enums: bool
    """A choice may be `oneOf` constants with titles; before, `enum` with `enumNames`."""
    has_multi_select: bool
    """A field of a form may be an array of choices."""
    may_prime: bool
    """A stream may begin with an event that has an id and no data."""
    cancels_by_http_notification: bool
    """`notifications/cancelled` travels over HTTP; over standard input and output it always does."""
    disconnect_is_cancel: bool
    """A client that closes the HTTP response cancels its request."""
    needs_result_type: bool
    """Every result has `resultType`."""
    needs_cache_hints: bool
    """Lists, discovery and resources have `ttlMs` and `cacheScope`."""

    @property
    def has_elicitation(self) -> bool:
        """Whether a server can ask at all."""
        return bool(self.modes)


R2024_11_05: Final = Revision(
    name="2024-11-05",
    era=Era.HANDSHAKE,
    has_back_channel=True,
    has_batch=False,
    has_one_endpoint=False,
    sends_revision_header=False,
    modes=frozenset(),
    names_mode=False,
    sends_url_elicitation_id=False,
    has_question_meta=False,
    has_schema_dialect=False,
    has_all_defaults=False,
    has_titled_enums=False,
    has_multi_select=False,
    may_prime=False,
    cancels_by_http_notification=True,
    disconnect_is_cancel=False,
    needs_result_type=False,
    needs_cache_hints=False,
)
R2025_03_26: Final = replace(R2024_11_05, name="2025-03-26", has_one_endpoint=True, has_batch=True)
R2025_06_18: Final = replace(
    R2025_03_26,
    name="2025-06-18",
    has_batch=False,
    sends_revision_header=True,
    modes=frozenset({Mode.FORM}),
)
R2025_11_25: Final = replace(
    R2025_06_18,
    name="2025-11-25",
    modes=frozenset({Mode.FORM, Mode.URL}),
    names_mode=True,
    sends_url_elicitation_id=True,
    has_question_meta=True,
    has_schema_dialect=True,
    has_all_defaults=True,
    has_titled_enums=True,
    has_multi_select=True,
    may_prime=True,
)
R2026_07_28: Final = replace(
    R2025_11_25,
    name="2026-07-28",
    era=Era.ENVELOPE,
    has_back_channel=False,
    sends_url_elicitation_id=False,
    has_question_meta=False,
    may_prime=False,
    cancels_by_http_notification=False,
    disconnect_is_cancel=True,
    needs_result_type=True,
    needs_cache_hints=True,
)

REVISIONS: Final = (R2024_11_05, R2025_03_26, R2025_06_18, R2025_11_25, R2026_07_28)
"""All revisions, the oldest first."""

_BY_NAME: Final = MappingProxyType({revision.name: revision for revision in REVISIONS})
_HANDSHAKES: Final = frozenset(revision.name for revision in REVISIONS if revision.era is Era.HANDSHAKE)


def revision_of(name: str) -> Revision | None:
    """The revision of this name, if there is one."""
    return _BY_NAME.get(name)


def era_of_header(version: str | None) -> Era:
    """The era that one HTTP request belongs to, by its `MCP-Protocol-Version`; None where it has no such header.

    Any name that is not one of the handshake revisions means the envelope, known or not.

    Source: PROTOCOL.md, "Era test for one HTTP request".
    """
    return Era.HANDSHAKE if version is None or version in _HANDSHAKES else Era.ENVELOPE


def governing(version: str | None, agreed: Revision | None = None) -> Revision | None:
    """The revision that one HTTP request is written in; None where its header names one that we do not know.

    `agreed` is what the handshake of its MCP session ended with; it counts where the header is missing.

    Source: PROTOCOL.md 2.9, "absent -> server assumes 2025-03-26".
    """
    return _BY_NAME.get(version) if version is not None else agreed or R2025_03_26


def negotiated(answered: str) -> Revision | None:
    """What a handshake ended with, by the `protocolVersion` of the server's answer.

    None where that is no handshake revision we know: such a session can only be relayed.
    """
    return _BY_NAME[answered] if answered in _HANDSHAKES else None


def counter_offer(offered: str) -> Revision:
    """What to answer to the `protocolVersion` of a client's `initialize`: the same, or else our latest.

    Source: PROTOCOL.md 2.9, "server echoes it or offers another".
    """
    return negotiated(offered) or R2025_11_25
