"""The doors of reports: documents about this sidecar, as Markdown, HTML or JSON."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final, TypeVar

from aiohttp import web

from proxy.core.errors import InvalidInput
from proxy.reports.checks import Component
from proxy.reports.facts import SecurityFacts
from proxy.reports.forms import Form, write
from proxy.reports.render import CONTENT_SECURITY_POLICY
from proxy.reports.security import judge, to_document, to_plain

FORMS: Final = tuple(form.value for form in Form)
COMPONENTS: Final = tuple(component.value for component in Component)

Choice = TypeVar("Choice", bound=StrEnum)

SecurityFactsNow = Callable[[], Awaitable[SecurityFacts]]
"""Gathers the facts of this moment."""


class ReportDoors:
    """One method per operation of the table."""

    __slots__ = ("_facts", "_turn")

    def __init__(self, facts: SecurityFactsNow) -> None:
        self._facts = facts
        self._turn = asyncio.Lock()

    async def security_report(self, request: web.Request) -> web.Response:
        """What was refused and how the sidecar is set up; one report is made after the other, as it takes a moment."""
        form = _choice(request, "format", Form) or Form.MARKDOWN
        component = _choice(request, "component", Component)
        async with self._turn:
            facts = await self._facts()
            text = await asyncio.to_thread(_written, facts, component, form)
        # A page of ours that shows itself with its own style.
        more = {"Content-Security-Policy": CONTENT_SECURITY_POLICY} if form is Form.HTML else {}
        return web.Response(text=text, content_type=form.media_type, charset="utf-8", headers=more)


def _written(facts: SecurityFacts, component: Component | None, form: Form) -> str:
    report = judge(facts, component)
    return write(to_document(report), to_plain(report), form)


def _choice(request: web.Request, name: str, kind: type[Choice]) -> Choice | None:
    text = request.query.get(name)
    if text is None:
        return None
    if text not in tuple(kind):
        raise InvalidInput(f"{name}: expected {' or '.join(kind)}, got {text[:40]!r}")
    return kind(text)
