"""The door of the audit trail: its entries, as they stand there."""

from typing import Final

import orjson
from aiohttp import web

from proxy.core.audit import line_of
from proxy.downstream.admin_body import read_limit, read_number
from proxy.downstream.admin_reply import json_reply
from proxy.flows.audit_keeper import AuditKeeper

MAX_ENTRIES: Final = 1_000
"""Most entries in one reply. Source: ours; some 400 kB."""

MAX_AFTER: Final = 2**53 - 1
"""Highest number of an entry. Source: RFC 8259 section 6, the range in which every reader agrees."""


class AuditDoors:
    """One method per operation of the table."""

    __slots__ = ("_audit",)

    def __init__(self, audit: AuditKeeper) -> None:
        self._audit = audit

    async def audit(self, request: web.Request) -> web.Response:
        """Entries behind a number, or the last ones; with the head, which is worth to be kept elsewhere."""
        after = read_number(request, "after", most=MAX_AFTER)
        limit = read_limit(request, default=100, most=MAX_ENTRIES)
        entries, head = await self._audit.read(after=after, limit=limit)
        return json_reply(
            {
                "entries": [orjson.Fragment(line_of(entry)) for entry in entries],
                "head": {"number": head.number, "digest": head.digest.hex()},
                "has_more": bool(entries) and entries[-1].number < head.number,
            }
        )
