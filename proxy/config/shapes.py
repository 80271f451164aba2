"""The shapes of texts in the configuration: addresses, URLs, paths and names.

Each `parse_` function returns the value as the house uses it, or raises `Unfit` with what to do instead.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from proxy.config.problems import Unfit
from proxy.core.errors import InvalidInput
from proxy.core.ids import MAX_AGENT_ID_CHARS, parse_agent_id
from proxy.core.rate import Rate, parse_byte_rate, parse_rate
from proxy.core.signature_fields import parse_origin as parse_call_origin

MAX_SALT_CHARS: Final = 200
"""Source: ours; a salt is a word or two, and it is hashed with every agent id."""

MAX_PATH_CHARS: Final = 500
"""Longest HTTP path we compare calls with. Source: ours."""

MAX_TOOL_CHARS: Final = 128
"""Source: MCP 2025-11-25, server/tools, Tool Names."""

MAX_FILE_PATH_CHARS: Final = 4096
"""Source: Linux, PATH_MAX in limits.h."""

SQLITE_PREFIX: Final = "sqlite://"
"""What stands before the absolute path of a state file."""

MEMORY_URL: Final = "memory:"
"""State that ends with the process."""

_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_WITH_PORT: Final = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*):[^:]*")
_VISIBLE: Final = re.compile(r"[!-~]*")
_LATER_STATE: Final = ("redis:", "rediss:", "redis+unix:")


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen: host name or IP address (IPv6 without brackets) and port; port 0 picks a free one."""

    host: str
    port: int

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of the machine."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_host(text: str) -> str:
    """Check a host name or IP address; IPv6 stands in brackets and comes back without them."""
    if text.startswith("[") or ":" in text:
        try:
            return str(ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]")))
        except ValueError as error:
            raise Unfit("an IPv6 address stands in brackets, for example [::1]:8766") from error
    if _HOST.fullmatch(text) is None:
        raise Unfit("name a host, for example 127.0.0.1")
    if re.fullmatch(r"[0-9.]+", text):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError as error:
            raise Unfit("an IPv4 address has four numbers from 0 to 255") from error
    return text.lower()


def parse_address(text: str) -> Address:
    """Read HOST:PORT, with IPv6 hosts in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or _PORT.fullmatch(port) is None or int(port) > 65535:
        raise Unfit("end it with a port from 0 to 65535, for example 127.0.0.1:8766")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise Unfit("an IPv6 address stands in brackets, for example [::1]:8766")
    return Address(parse_host(host), int(port))


def parse_host_name(text: str) -> str:
    """Read a name that may stand in a Host or Origin header, for every port or with one, without scheme."""
    if "/" in text:
        raise Unfit("give the host name alone, without scheme and path")
    return str(parse_address(text)) if _WITH_PORT.fullmatch(text) else parse_host(text)


def _split_http(text: str) -> SplitResult:
    if _VISIBLE.fullmatch(text) is None:
        raise Unfit("a URL holds visible ASCII characters only")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise Unfit("the host or the port of the URL cannot be read") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unfit("begin with http:// or https:// and a host")
    if "@" in parts.netloc:
        raise Unfit("leave out user name and password")
    if port == 0 or parts.netloc.endswith(":"):
        raise Unfit("give a port from 1 to 65535, or none")
    parse_host(f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname)
    return parts


def parse_origin(text: str) -> str:
    """Read an http or https URL that ends after host and port; one slash at the end is dropped."""
    parts = _split_http(text)
    if parts.path not in {"", "/"} or "?" in text or "#" in text:
        raise Unfit("leave out path, query and fragment; bridge.mcp_path holds the MCP path")
    return f"{parts.scheme}://{parts.netloc}"


def parse_optional_origin(text: str) -> str:
    """As `parse_origin`, or nothing."""
    return parse_origin(text) if text else ""


def parse_signed_origin(text: str) -> str:
    """Read a URL with host and port only, into the spelling in which it is signed."""
    return parse_call_origin(text).text


def parse_some_rate(text: str) -> Rate | None:
    """A rate of calls, or none."""
    return parse_rate(text) if text else None


def parse_some_byte_rate(text: str) -> Rate | None:
    """A rate of bytes, or none."""
    return parse_byte_rate(text) if text else None


def parse_http_url(text: str) -> str:
    """Read any http or https URL without user information."""
    _split_http(text)
    if len(text) > MAX_PATH_CHARS:
        raise Unfit(f"a URL has at most {MAX_PATH_CHARS} characters")
    return text


def parse_path(text: str) -> str:
    """Read the path of an HTTP call, without query."""
    if not text.startswith("/") or text.startswith("//"):
        raise Unfit("begin with one slash")
    if _VISIBLE.fullmatch(text) is None or "?" in text or "#" in text:
        raise Unfit("leave out spaces, query and fragment; percent-encode what is not ASCII")
    if len(text) > MAX_PATH_CHARS:
        raise Unfit(f"a path has at most {MAX_PATH_CHARS} characters")
    return text


def parse_tool_name(text: str) -> str:
    """Read the name of an MCP tool."""
    if not 1 <= len(text) <= MAX_TOOL_CHARS or not text.isprintable() or " " in text:
        raise Unfit(f"a tool name has 1 to {MAX_TOOL_CHARS} visible characters")
    return text


def parse_client_name(text: str) -> str:
    """Read the name of an MCP client, as its `clientInfo` has it."""
    if not 1 <= len(text) <= MAX_TOOL_CHARS or not text.isprintable():
        raise Unfit(f"a client name has 1 to {MAX_TOOL_CHARS} printable characters")
    return text


def parse_agent_name(text: str) -> str:
    """Read an agent id or the name of a group of them."""
    try:
        return parse_agent_id(text)
    except InvalidInput as error:
        raise Unfit(f"a name has 1 to {MAX_AGENT_ID_CHARS} printable characters") from error


def parse_optional_agent_name(text: str) -> str:
    """Read an agent id, or nothing."""
    return parse_agent_name(text) if text else ""


def parse_salt(text: str) -> str:
    """Read the salt of the rollout; empty is allowed."""
    if len(text) > MAX_SALT_CHARS or not text.isprintable():
        raise Unfit
    return text


def parse_file_path(text: str) -> str:
    """Read the path of a file, or nothing; whether the file exists is asked later."""
    if len(text) > MAX_FILE_PATH_CHARS or not text.isprintable():
        raise Unfit(f"a path has at most {MAX_FILE_PATH_CHARS} printable characters")
    return text


def parse_state_url(text: str) -> str:
    """Read `memory:` or `sqlite:///ABSOLUTE/PATH`; everything after the second slash is the path, as it is."""
    if text == MEMORY_URL:
        return text
    if text.lower().startswith(_LATER_STATE):
        raise Unfit("Redis is not available in this release; use memory: or sqlite:///ABSOLUTE/PATH")
    path = text.removeprefix(SQLITE_PREFIX)
    if path == text:
        raise Unfit("begin with sqlite:/// or write memory:")
    if not path.startswith("/") or path.startswith("//"):
        raise Unfit("three slashes, then the absolute path: sqlite:///var/lib/x.db is the file /var/lib/x.db")
    if path.endswith("/") or "?" in path or "#" in path:
        raise Unfit("name a file, without options after ? or #")
    parse_file_path(path)
    return text
