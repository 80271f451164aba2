"""Gathers what a report of security is made of: the configuration, the files that it names, and the audit trail.

Nothing here needs a running sidecar. Reads files: not on the event loop.
"""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from yarl import URL

from proxy import __version__
from proxy.config.exposure import check_exposure
from proxy.config.keys import read_key_ring, variable_of
from proxy.config.problems import ConfigError
from proxy.config.render import to_plain
from proxy.config.schema import Config
from proxy.config.shapes import Address
from proxy.config.tls import ADMIN, DATA, Made, bridge_context, listener_context
from proxy.config.tokens import Role, Token, read_tokens
from proxy.core.audit import Trail
from proxy.core.audit_check import Broken, describe, verify
from proxy.core.errors import StateUnavailable
from proxy.core.key_ring import KeyRing
from proxy.downstream.admin_auth import is_loopback
from proxy.reports.facts import (
    BridgeWay,
    Guarded,
    KeyFact,
    Listener,
    Posture,
    SecurityFacts,
    Shown,
    TrailFacts,
)
from proxy.stores.audit_file import Unreadable, read_audit

_OWNER: Final = stat.S_IRUSR | stat.S_IWUSR
_OWNER_AND_GROUP: Final = _OWNER | stat.S_IRGRP
_NOT_WRITABLE: Final = 0o777 & ~(stat.S_IWGRP | stat.S_IWOTH)

Read = TypeVar("Read")


def security_facts(config: Config, trail: TrailFacts, *, wall: float) -> SecurityFacts:
    """Everything that a report of security is made of; `wall` is now, in seconds since the epoch."""
    return SecurityFacts(made_at=wall, version=__version__, posture=_posture(config, wall), trail=trail)


def trail_of_file(config: Config) -> TrailFacts:
    """The trail in the state file."""
    path = config.state.sqlite_path
    if path is None:
        return TrailFacts(verdict="the state is in memory: only the running sidecar can tell of it")
    try:
        found = read_audit(path)
    except StateUnavailable as error:
        return TrailFacts(verdict=error.detail)
    if isinstance(found, Unreadable):
        return TrailFacts(verdict=f"unreadable behind entry {found.behind}: {found.why}", is_whole=False)
    return judged_trail(found)


def judged_trail(trail: Trail) -> TrailFacts:
    """A trail that was read, and what a check says of it."""
    found = verify(trail.entries, trail.head)
    losses = 0 if isinstance(found, Broken) else len(found.losses)
    is_whole = not isinstance(found, Broken)
    return TrailFacts(entries=trail.entries, verdict=describe(found), is_whole=is_whole, losses=losses)


def _posture(config: Config, wall: float) -> Posture:
    problems: list[str] = []
    listen, bridge = config.listen, config.bridge
    made = (
        _gathered(lambda: listener_context(listen, DATA), problems, None),
        _gathered(lambda: listener_context(listen, ADMIN), problems, None),
        _gathered(lambda: bridge_context(bridge), problems, None),
    )
    token_file = config.admin.token_file
    no_tokens: tuple[Token, ...] = ()
    tokens = _gathered(lambda: read_tokens(Path(token_file)) if token_file else no_tokens, problems, no_tokens)
    ring = _gathered(lambda: read_key_ring(config), problems, KeyRing())
    _gathered(lambda: check_exposure(config), problems, None)
    plain = to_plain(config)
    # Of two ways up the one that shows the most tells.
    urls = {"url": bridge.url, **({"mcp_url": bridge.mcp_url} if bridge.mcp_url else {})}
    in_the_clear = (name for name, url in urls.items() if url.startswith("http:") and not _is_here_url(url))
    way = next(in_the_clear, "url")
    roles = [token.role for token in tokens]
    return Posture(
        listeners=(
            _listener("data", listen.data, is_tls=bool(listen.tls_cert_file)),
            _listener("admin", listen.admin, is_tls=bool(listen.admin_tls_cert_file)),
        ),
        bridge=BridgeWay(
            url=str(plain["bridge"][way]),
            is_loopback=_is_here_url(urls[way]),
            is_tls=urls[way].startswith("https:"),
            has_own_authorities=bool(bridge.ca_file),
            shows_certificate=bool(bridge.client_cert_file),
        ),
        identity=config.identity.mode,
        signatures=config.signatures.mode,
        signs=config.signatures.sign,
        has_key_file=bool(config.signatures.keys_file),
        agent=config.agent.id,
        limits=[(name, str(rate)) for name, rate in plain["limits"].items()],
        keys=[
            KeyFact(key_id=key.key_id, agent_id=key.agent_id, state=key.state, age_s=key.age_s(wall))
            for key in ring.keys
        ],
        certificates=tuple(shown for each in made if (shown := _shown(each)) is not None),
        files=tuple(_files(config)),
        operators=roles.count(Role.OPERATOR),
        viewers=roles.count(Role.VIEWER),
        state=str(plain["state"]["url"]),
        outlives=config.state.url != "memory:",
        problems=problems,
    )


def _gathered(read: Callable[[], Read], problems: list[str], otherwise: Read) -> Read:
    try:
        return read()
    except ConfigError as error:
        problems.extend(map(str, error.problems))
        return otherwise


def _listener(name: str, address: Address, *, is_tls: bool) -> Listener:
    return Listener(name=name, address=str(address), is_loopback=_is_here(address.host), is_tls=is_tls)


def _is_here_url(url: str) -> bool:
    return _is_here(URL(url).host or "")


def _is_here(host: str) -> bool:
    return host == "localhost" or is_loopback(host)


def _shown(made: Made | None) -> Shown | None:
    if made is None or made.certificate is None:
        return None
    return Shown(by=made.shown_by, not_after=made.certificate.not_after)


def _files(config: Config) -> Iterator[Guarded]:
    path, keys_file = config.state.sqlite_path, config.signatures.keys_file
    if path is not None:
        for name in (path.name, f"{path.name}-wal"):
            part = path.with_name(name)
            if name == path.name or part.exists():
                yield _guarded("state file", part, _OWNER)
        yield _guarded("folder of the state file", path.parent, _NOT_WRITABLE, is_secret=False)
    for what, name, allowed in (
        ("token file", config.admin.token_file, _OWNER),
        ("key file", "" if variable_of(keys_file) else keys_file, _OWNER),
        ("TLS key of the data port", config.listen.tls_key_file, _OWNER_AND_GROUP),
        ("TLS key of the admin port", config.listen.admin_tls_key_file, _OWNER_AND_GROUP),
        ("TLS key for the Bridge", config.bridge.client_key_file, _OWNER_AND_GROUP),
    ):
        if name:
            yield _guarded(what, Path(name), allowed)


def _guarded(what: str, path: Path, allowed: int, *, is_secret: bool = True) -> Guarded:
    try:
        mode: int | None = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        mode = None
    return Guarded(what=what, path=str(path), mode=mode, allowed=allowed, is_secret=is_secret)
