"""Who may use which door of the admin port: the names it answers to, tokens, roles and peers.

Without configured tokens a peer on the loopback interface may look, and nobody may change anything. With tokens
every look needs a viewer or operator and every change an operator; only the probes and the metrics stay open to
loopback, because supervisors and scrapers carry no token. Forwarding headers are never believed.

A browser is told from other callers by what it cannot leave out (Origin, Sec-Fetch-Site): another site may not call at
all, and no page may send what a form could. Runbooks send JSON with curl's form type, and no browser.

Source: ARCHITECTURE.md 3.2; RFC 6750 section 2.1 (Bearer); WHATWG Fetch 3.2 (Origin); W3C Fetch Metadata 2.3.
"""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Final

from aiohttp import web

from proxy.config.tokens import Role, Token
from proxy.core.errors import Forbidden, HostRefused, InvalidInput, Unauthenticated
from proxy.core.hosts import is_allowed_host, is_allowed_origin

MAX_AUTHOR_CHARS: Final = 100
"""Longest name in `X-Author`. Source: ours; it goes into the history."""

_SHOWN_CHARS: Final = 80

_OWN_SITES: Final = frozenset({"same-origin", "none"})
"""What a browser says of a call by a page of ours, or by its user. Source: W3C Fetch Metadata 2.3."""

_LOOKING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_JSON: Final = "application/json"


class Need(StrEnum):
    """What a door asks of its caller."""

    PROBE = "probe"
    """Anybody on loopback, else a viewer."""
    LOOK = "look"
    """A viewer."""
    CHANGE = "change"
    """An operator."""
    CHANGE_HERE = "change_here"
    """An operator on loopback."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An admitted caller of the admin port."""

    role: Role
    peer: str
    """The address it calls from."""

    def author(self, claimed: str | None) -> str:
        """The name under which a change is kept: role and peer, which we know, after the name the caller claims.

        Raises:
            InvalidInput: a claimed name that is empty, too long or not printable.
        """
        known = f"{self.role}@{self.peer}"
        if claimed is None:
            return known
        if not 0 < len(claimed) <= MAX_AUTHOR_CHARS or not claimed.isprintable():
            raise InvalidInput(f"X-Author: expected 1 to {MAX_AUTHOR_CHARS} printable characters")
        return f"{claimed} ({known})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The rules of one admin port."""

    tokens: tuple[Token, ...]
    allowed_hosts: frozenset[str]

    def check_names(self, request: web.Request) -> None:
        """Refuse a page that reaches us through a foreign name.

        Raises:
            HostRefused: Host is missing, repeated or not ours, or Origin is not.
        """
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not is_allowed_host(hosts[0], self.allowed_hosts):
            raise HostRefused(
                f"expected Host to be a loopback name or one of listen.allowed_hosts, got {_shown(', '.join(hosts))}"
            )
        for origin in request.headers.getall("Origin", []):
            if not is_allowed_origin(origin, self.allowed_hosts):
                raise HostRefused(
                    f"expected Origin to be a loopback name or one of listen.allowed_hosts, got {_shown(origin)}"
                )

    def check_site(self, request: web.Request) -> None:
        """Refuse what a browser sends for a page that is none of ours, and what any page could send by a form.

        Raises:
            HostRefused: the browser says that another site calls, or a page sends something else than JSON.
        """
        sites = request.headers.getall("Sec-Fetch-Site", [])
        foreign = [site for site in sites if site.strip().lower() not in _OWN_SITES]
        if foreign and not _is_navigation(request):
            raise HostRefused(
                f"expected a call by a page of this port or by no page, got Sec-Fetch-Site {_shown(foreign[0])}"
            )
        is_page = bool(sites) or "Origin" in request.headers
        if is_page and request.method not in _LOOKING and request.content_type != _JSON:
            raise HostRefused(
                f"expected a page to send {_JSON}, got {_shown(request.headers.get('Content-Type', 'nothing'))}"
            )

    def admit(self, request: web.Request, need: Need) -> Caller:
        """The caller, if it may use a door with this need.

        Raises:
            Unauthenticated: a token is needed and none, or a wrong one, was given.
            Forbidden: the token's role, or the place it is used from, does not suffice.
        """
        peer = request.remote or "unknown"
        is_local = is_loopback(request.remote)
        given = _bearer(request)
        role = None if given is None else self._role_of(given)
        if role is None and is_local and (need is Need.PROBE or (need is Need.LOOK and not self.tokens)):
            role = Role.VIEWER
        if role is None:
            raise Unauthenticated(self._what_is_missing(given))
        if need in {Need.CHANGE, Need.CHANGE_HERE} and role is not Role.OPERATOR:
            raise Forbidden("expected the token of an operator, got one of a viewer")
        if need is Need.CHANGE_HERE and not is_local:
            raise Forbidden(f"expected a call from the loopback interface, got one from {peer}")
        return Caller(role, peer)

    def _role_of(self, given: str) -> Role | None:
        # No early end: the time tells nothing of which token came near.
        roles = [token.role for token in self.tokens if token.secret.matches(given)]
        return Role.OPERATOR if Role.OPERATOR in roles else next(iter(roles), None)

    def _what_is_missing(self, given: str | None) -> str:
        if not self.tokens:
            return (
                "expected a token, but none is configured, so only loopback may look and nobody may change anything:"
                ' write a line "operator TOKEN" into a file of mode 0600, name the file in admin.token_file, restart'
            )
        if given is None:
            return (
                "expected the header `Authorization: Bearer TOKEN` with a token of admin.token_file, got none; "
                "on the command line give --token-file"
            )
        return "expected a token of admin.token_file, got another one"


def _is_navigation(request: web.Request) -> bool:
    """Whether the user follows a link to here, which changes nothing and shows the other site nothing."""
    return request.method in _LOOKING and request.headers.get("Sec-Fetch-Mode") == "navigate"


def _bearer(request: web.Request) -> str | None:
    values = request.headers.getall("Authorization", [])
    if len(values) != 1:
        return None
    scheme, _, token = values[0].partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def is_loopback(remote: str | None) -> bool:
    """Whether a peer's address belongs to the loopback interface; one that cannot be read does not."""
    try:
        address = ip_address(remote or "")
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _shown(text: str) -> str:
    return repr(text)[:_SHOWN_CHARS]
