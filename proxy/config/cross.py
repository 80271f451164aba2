"""What must hold between keys whose single values are fine."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from proxy.config.problems import show
from proxy.config.schema import Config
from proxy.config.shapes import Address

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """Two keys that do not go together; the first is named in the message unless only the second was set."""

    keys: tuple[str, str]
    expected: str
    got: str
    hint: str = ""


def find_clashes(config: Config) -> Iterator[Clash]:
    """Every pair of keys that contradict each other."""
    yield from _addresses(config)
    yield from _bridge_is_somebody_else(config)
    yield from _lists(config)
    yield from _tls(config)
    yield from _signatures(config)
    yield from _ingress(config)
    if config.bridge.poll_idle_ms < config.bridge.poll_fast_ms:
        yield Clash(
            keys=("bridge.poll_idle_ms", "bridge.poll_fast_ms"),
            expected="bridge.poll_idle_ms to be at least bridge.poll_fast_ms",
            got=f"{config.bridge.poll_idle_ms} and {config.bridge.poll_fast_ms}",
        )


def _addresses(config: Config) -> Iterator[Clash]:
    data, admin = config.listen.data, config.listen.admin
    if data.port and data.port == admin.port and _is_same_host(data, admin.host):
        yield Clash(
            keys=("listen.admin", "listen.data"),
            expected="listen.admin and listen.data to differ",
            got=f"{admin} and {data}",
            hint="give them different ports, or port 0 to have one picked",
        )


def _is_same_host(ours: Address, host: str) -> bool:
    if ours.host == host or ours.is_wildcard or host in {"0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound to
        return True
    return "localhost" in {ours.host, host} and {ours.host, host} <= _LOOPBACK


def _bridge_is_somebody_else(config: Config) -> Iterator[Clash]:
    parts = urlsplit(config.bridge.url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for key, ours in (("listen.data", config.listen.data), ("listen.admin", config.listen.admin)):
        is_here = ours.host == host or (host in _LOOPBACK and (ours.is_wildcard or _is_same_host(ours, host)))
        if ours.port == port and is_here:
            yield Clash(
                keys=("bridge.url", key),
                expected=f"the address of the Bridge, not our own {key}",
                got=show(config.bridge.url),
                hint="the sidecar would call itself",
            )


def _tls(config: Config) -> Iterator[Clash]:
    listen, bridge = config.listen, config.bridge
    for cert, key in (
        (("listen.tls_cert_file", listen.tls_cert_file), ("listen.tls_key_file", listen.tls_key_file)),
        (
            ("listen.admin_tls_cert_file", listen.admin_tls_cert_file),
            ("listen.admin_tls_key_file", listen.admin_tls_key_file),
        ),
        (("bridge.client_cert_file", bridge.client_cert_file), ("bridge.client_key_file", bridge.client_key_file)),
    ):
        if bool(cert[1]) != bool(key[1]):
            given, missing = (cert, key) if cert[1] else (key, cert)
            yield Clash(
                keys=(given[0], missing[0]),
                expected=f"{cert[0]} and {key[0]} together",
                got=f"{given[0]} alone",
                hint="one file may hold both: name it twice",
            )
    if not any(url.startswith("https:") for url in (bridge.url, bridge.mcp_url)):
        for name, value in (("bridge.ca_file", bridge.ca_file), ("bridge.client_cert_file", bridge.client_cert_file)):
            if value:
                yield Clash(
                    keys=(name, "bridge.url"),
                    expected=f"bridge.url to begin with https:// where {name} is set",
                    got=show(bridge.url),
                    hint="without TLS the file would be of no use",
                )


def _signatures(config: Config) -> Iterator[Clash]:
    rules = config.signatures
    if not rules.keys_file:
        for key, is_used, got in (
            ("signatures.mode", rules.mode != "off", f'mode = "{rules.mode}"'),
            ("signatures.events", rules.events in {"observe", "enforce"}, f'events = "{rules.events}"'),
            ("signatures.sign", rules.sign, "sign = true"),
        ):
            if is_used:
                yield Clash(
                    keys=(key, "signatures.keys_file"),
                    expected="signatures.keys_file to be set where signatures are made or judged",
                    got=f"{got} without it",
                    hint="make one with `elicit-sidecar keys new AGENT --keys FILE`",
                )
    if rules.mode != "off" and config.listen.data.is_wildcard and not rules.origins:
        yield Clash(
            keys=("signatures.mode", "listen.data"),
            expected="signatures.origins to say by which URLs agents call, as listen.data is every address",
            got="none",
            hint='name them as agents write them, for example "http://bridge.example:8765"',
        )


def _ingress(config: Config) -> Iterator[Clash]:
    if config.listen.role != "ingress":
        return
    if config.identity.mode == config.signatures.mode == "off":
        yield Clash(
            keys=("listen.role", "identity.mode"),
            expected="identity.mode or signatures.mode to be other than off at an ingress",
            got="off and off",
            hint='set both to "enforce", or first to "observe"',
        )
    if config.agent.id:
        yield Clash(
            keys=("agent.id", "listen.role"),
            expected="no agent.id at an ingress",
            got=show(config.agent.id),
            hint="it would vouch for whoever calls",
        )
    if config.signatures.sign:
        yield Clash(
            keys=("signatures.sign", "listen.role"),
            expected="sign = false at an ingress",
            got="true",
            hint="the sidecar beside the agent signs, and the Bridge is shown no signatures",
        )


def _lists(config: Config) -> Iterator[Clash]:
    denied = frozenset(config.flags.elicitation_denylist)
    for name in dict.fromkeys(config.flags.elicitation_whitelist):
        if name in denied:
            yield Clash(
                keys=("flags.elicitation_whitelist", "flags.elicitation_denylist"),
                expected="no name in both elicitation_whitelist and elicitation_denylist",
                got=show(name),
                hint="take it out of one of them",
            )
