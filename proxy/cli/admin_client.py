"""How commands talk to the admin port of a running sidecar."""

import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click
import orjson

from proxy.config.load import load_config
from proxy.config.problems import ConfigError
from proxy.config.tls import pinned_context
from proxy.config.tokens import Role, read_tokens
from proxy.core.printable import printable
from proxy.core.secret import Secret

TIMEOUT_S: Final = 5.0
"""Longest wait for an answer of the admin port. Source: ours; its doors answer in milliseconds."""

CHALLENGE: Final = 'Bearer realm="elicit-sidecar"'
"""With what an admin port alone, of all ports, refuses a call without a token."""

SERVICE: Final = "elicit-sidecar"
"""What the health of an admin port calls itself."""

Decorated = TypeVar("Decorated", bound=Callable[..., object])


def admin_options(function: Decorated) -> Decorated:
    """The options by which a command finds the admin port and its token."""
    for option in (
        click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="The sidecar's TOML file."),
        click.option("--admin", metavar="HOST:PORT", help="Admin port; default: listen.admin of the configuration."),
        click.option("--token-file", type=click.Path(dir_okay=False, path_type=Path), help="Lines `ROLE TOKEN`."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    ):
        function = option(function)
    return function


class AdminClient:
    """One running sidecar, from the command line."""

    def __init__(self, config: Path | None, admin: str | None, token_file: Path | None) -> None:
        try:
            overrides = {} if admin is None else {"listen.admin": admin}
            loaded = load_config(config, env=os.environ, overrides=overrides).config
            named = token_file or (Path(loaded.admin.token_file) if loaded.admin.token_file else None)
            self._token = _operator_token(named)
            self._handlers, scheme = _tls(loaded.listen.admin_tls_cert_file)
        except ConfigError as error:
            for problem in error.problems:
                click.echo(str(problem), err=True)
            sys.exit(2)
        self._base = f"{scheme}://{loaded.listen.admin}"

    def call(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
        """Call one door; an error ends the command with exit code 1 and the door's own words."""
        try:
            if self._token is not None and not self._is_admin_port():
                click.echo(
                    f"{method} {path}: no admin port of a sidecar answers at {self._base}, and the token was not sent: "
                    "is this the data port? see --admin",
                    err=True,
                )
                sys.exit(1)
            with self._open(method, path, body, self._token) as reply:
                told = _object(reply.read())
            if told is not None:
                return told
            click.echo(f"{method} {path}: expected JSON from {self._base}, got something else; see --admin", err=True)
        except urllib.error.HTTPError as error:
            with error:
                detail = (_object(error.read()) or {}).get("detail", error.reason)
            click.echo(printable(f"{method} {path}: {error.code}: {detail}"), err=True)
        except (OSError, http.client.HTTPException) as error:
            # The text of the others quotes what came, which may be anything.
            said = error if isinstance(error, OSError) else type(error).__name__
            click.echo(printable(f"no sidecar answers at {self._base}: {said}; is it running? see --admin"), err=True)
        sys.exit(1)

    def _is_admin_port(self) -> bool:
        """Whether the port says of itself, asked without a token, that it is a sidecar's own.

        The data port passes what it does not know on to the Bridge, which must never see an operator's token.
        """
        try:
            with self._open("GET", "/health", None, None) as reply:
                told = _object(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                if error.code == http.HTTPStatus.UNAUTHORIZED:  # from elsewhere it says nothing without a token
                    return error.headers.get("WWW-Authenticate") == CHALLENGE
                told = _object(error.read())  # 503 where it is not well
        return told is not None and told.get("service") == SERVICE

    def _open(
        self, method: str, path: str, body: dict[str, object] | None, token: Secret | None
    ) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._base + path, method=method)  # noqa: S310  # the base is http or https by construction
        if token is not None:
            request.add_header("Authorization", f"Bearer {token.reveal()}")
        data = None
        if body is not None:
            request.add_header("Content-Type", "application/json")
            data = orjson.dumps(body)
        # Never through a proxy of the environment: the token is for the sidecar alone.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *self._handlers)
        reply: http.client.HTTPResponse = opener.open(request, data, timeout=TIMEOUT_S)
        return reply


def _tls(cert_file: str) -> tuple[tuple[urllib.request.HTTPSHandler, ...], str]:
    """How the port is called, and by which scheme: with TLS where the sidecar's configuration names a certificate."""
    if not cert_file:
        return (), "http"
    return (urllib.request.HTTPSHandler(context=pinned_context(cert_file)),), "https"


def _operator_token(path: Path | None) -> Secret | None:
    if path is None:
        return None
    tokens = read_tokens(path)
    best = next((token for token in tokens if token.role is Role.OPERATOR), tokens[0] if tokens else None)
    return best.secret if best else None


def _object(body: bytes) -> dict[str, object] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
