"""Which Host and Origin headers are ours, so that a page of a foreign site cannot reach us through its own name.

Against DNS rebinding it is the name that counts, not the address it resolves to: allowed are the names of the
loopback interface and what the operator configured. Anything that cannot be read is refused.

Source: RFC 9110 section 7.2 (Host), RFC 6454 section 7 (Origin); the rule itself is ours.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})]|(?P<name>[A-Za-z0-9_.-]{1,253}))(?::(?P<port>[0-9]{1,5}))?"
)
_SCHEMES: Final = ("http://", "https://")
_MAX_PORT: Final = 65_535
_LOOPBACK_V6: Final = IPv6Address("::1")


def is_allowed_host(host_header: str, allowed: frozenset[str]) -> bool:
    """Whether a Host header names this sidecar: `localhost`, 127.0.0.0/8, `[::1]`, or a configured name.

    `allowed` holds names in lower case (IPv6 without brackets), which match any port, or `name:port`
    (`[IPv6]:port`), which match that port only.
    """
    match = _AUTHORITY.fullmatch(host_header)
    if match is None:
        return False
    port = match["port"]
    if port is not None and int(port) > _MAX_PORT:
        return False
    name = _canonical_v6(match["v6"]) if match["v6"] else match["name"].lower()
    if name is None:
        return False
    written = f"[{name}]" if match["v6"] else name
    return _is_loopback(name) or name in allowed or (port is not None and f"{written}:{int(port)}" in allowed)


def is_allowed_origin(origin: str, allowed: frozenset[str]) -> bool:
    """Whether an Origin header is http or https on a host that `is_allowed_host` allows; `null` never is."""
    for scheme in _SCHEMES:
        if origin.lower().startswith(scheme):
            return is_allowed_host(origin[len(scheme) :], allowed)
    return False


def _canonical_v6(text: str) -> str | None:
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        return None


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return IPv6Address(name) == _LOOPBACK_V6 if ":" in name else IPv4Address(name).is_loopback
    except AddressValueError:
        return False
