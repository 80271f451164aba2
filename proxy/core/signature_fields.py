"""How our strict profile of HTTP Message Signatures looks on the wire: fields, grammar, and what the bytes signed are.

One signature of the label `sig1` by `hmac-sha256`, in the canonical spelling of RFC 8941 and nothing else: no second
member, no blanks a parser could drop, no parameter or component we do not know. What is read is therefore, byte for
byte, what was signed.

`@target-uri` is an origin (scheme and authority) followed by the request target exactly as it stands on the wire
between the two that sign and verify: percent-encodings, dot segments and the query are left alone. The signer takes
the origin from the URL that it sends to. The verifier takes it from its own configuration, as a list of the origins
by which it is called, and never from Host or a forwarding header: these are the caller's to write, and a call that
was signed for another server must not become valid here by naming it. A balancer between the two may end TLS and
rewrite Host; it must leave the target alone.

The agent is named in the field `X-Agent-Id`. Ids may hold any printable character and fields may not, so all but
visible ASCII, and `%`, `"`, `#`, `,` and a few more, are percent-encoded UTF-8, in one canonical way.

Source: RFC 9421 sections 2.2.1 to 2.3, 2.5 and 4; RFC 8941 section 4.1; the profile is ours (ARCHITECTURE.md 4).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from proxy.core.errors import InvalidInput
from proxy.core.ids import MAX_AGENT_ID_CHARS, AgentId, parse_agent_id

ALGORITHM: Final = "hmac-sha256"
"""Source: RFC 9421 section 3.3.3."""

LABEL: Final = b"sig1"
"""Source: ours; a label is not signed, so there is nothing to choose by it."""

TAG: Final = "elicit-sidecar"
"""Keeps our signatures apart from those of another application with the same key. Source: RFC 9421 section 2.3."""

AGENT_FIELD: Final = b"X-Agent-Id"
DIGEST_FIELD: Final = b"Content-Digest"
INPUT_FIELD: Final = b"Signature-Input"
SIGNATURE_FIELD: Final = b"Signature"

OUR_FIELDS: Final = frozenset({b"x-agent-id", b"content-digest", b"signature-input", b"signature"})
"""Fields that a signer sets and nobody else may add to, in lower case."""

COVERED: Final = ("@method", "@target-uri", "x-agent-id")
"""What a signature of a call without a body covers, in this order."""

COVERED_WITH_BODY: Final = ("@method", "@target-uri", "content-digest", "x-agent-id")
"""What a signature of a call with a body covers, in this order."""

MAX_INPUT_BYTES: Final = 1_024
"""Longest Signature-Input that is looked at. Source: ours; the longest of this grammar has about 600."""

MAX_TARGET_BYTES: Final = 65_536
"""Longest target that is signed. Source: ours; HTTP servers refuse far shorter ones."""

MAX_AGENT_FIELD_BYTES: Final = MAX_AGENT_ID_CHARS * 4 * 3
"""Every character of an id in four bytes, each percent-encoded."""

KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What the id of a key looks like. Source: ours."""

NONCE: Final = re.compile(r"[A-Za-z0-9+/=_-]{16,64}")
"""What a nonce looks like: base64 in either alphabet. Source: ours; 16 characters are 96 bits."""

MAX_TIME: Final = 10**11 - 1
"""Latest `created` and `expires`, seconds since the epoch. Source: ours; the year 5138."""

_PLAIN_IN_AGENT: Final = "!$&'()*+:;=@/"
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_TARGET: Final = re.compile(rb"/[!\"$-~]*")  # visible ASCII without "#"
_AGENT: Final = re.compile(rb"[!-~]+")
_TIME: Final = "[1-9][0-9]{0,10}"
# Six parameters of six kinds, so each once where each was seen, in whatever order.
_INPUT: Final = re.compile(
    rf'{LABEL.decode()}=(\(([ -\'*-~]*)\)(?:;(?:created=({_TIME})|expires=({_TIME})|nonce="({NONCE.pattern})"'
    rf'|keyid="({KEY_ID.pattern})"|alg="({ALGORITHM})"|tag="({TAG})")){{6}})'.encode("ascii")
)
_NAME: Final = re.compile(r"\"([^\"]*)\"")
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})]|(?P<name>[A-Za-z0-9_.-]{1,253}))(?::(?P<port>[0-9]{1,5}))?/?",
    re.IGNORECASE | re.ASCII,
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme and authority of a server in canonical spelling, as they begin a signed `@target-uri`."""

    text: str
    """Such as `https://bridge.example` or `http://[::1]:8765`; no path, no slash at the end."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a signature says of itself; times are whole seconds since the epoch."""

    created: int
    expires: int
    nonce: str

    @staticmethod
    def at(now: float, nonce: str, *, life_s: int) -> "Terms":
        """The terms of a signature made at wall time `now` that lives for `life_s` seconds."""
        created = int(now)
        return Terms(created=created, expires=created + life_s, nonce=nonce)

    def is_writable(self) -> bool:
        """Whether these terms are within the grammar."""
        return 0 < self.created < self.expires <= MAX_TIME and NONCE.fullmatch(self.nonce) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureInput:
    """A Signature-Input field that is in order."""

    params: bytes
    """The value of `@signature-params`, as it came."""
    names: tuple[str, ...]
    """The components it says it covers, each a plain name, in its order."""
    terms: Terms
    key_id: str


def parse_origin(url: str) -> Origin:
    """The canonical origin of an http or https URL without a path, a query and a user.

    Scheme and host become lower case, a default port is left out, an IPv6 address gets its shortest spelling.

    Raises:
        InvalidInput: anything else.

    Source: RFC 9421 section 2.2.3; RFC 9110 section 4.2.3; RFC 5952.
    """
    match = _ORIGIN.fullmatch(url)
    if match is None:
        raise InvalidInput("an origin must be http(s)://HOST or http(s)://HOST:PORT, got another text")
    scheme = match["scheme"].lower()
    port = int(match["port"] or _DEFAULT_PORTS[scheme])
    if not 0 < port <= 65_535:
        raise InvalidInput(f"the port of an origin must be from 1 to 65535, got {port}")
    host = f"[{_shortest_v6(match['v6'])}]" if match["v6"] else match["name"].lower()
    return Origin(f"{scheme}://{host}" if port == _DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{port}")


def _shortest_v6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except AddressValueError as error:
        raise InvalidInput("the host of an origin must be a name or an address, got neither") from error


def is_method(method: bytes) -> bool:
    """Whether these bytes are a method that can be signed; case counts.

    Source: RFC 9110 section 9.1; RFC 9421 section 2.2.1.
    """
    return _METHOD.fullmatch(method) is not None


def is_target(target: bytes) -> bool:
    """Whether these bytes are a request target in origin form that can be signed.

    Source: RFC 9112 section 3.2.1; visible ASCII is ours, as agents send characters that a URL must not have.
    """
    return len(target) <= MAX_TARGET_BYTES and _TARGET.fullmatch(target) is not None


def is_agent_field(value: bytes) -> bool:
    """Whether these bytes may stand as a value of X-Agent-Id at all."""
    return len(value) <= MAX_AGENT_FIELD_BYTES and _AGENT.fullmatch(value) is not None


def write_agent(agent_id: AgentId) -> bytes:
    """The value of X-Agent-Id for an agent: its id, percent-encoded where it must be.

    Source: RFC 3986 section 2.1; the characters that stay are ours.
    """
    return quote(agent_id, safe=_PLAIN_IN_AGENT).encode("ascii")


def read_agent(value: bytes) -> AgentId | None:
    """The agent that a value of X-Agent-Id names; None unless it is spelled as `write_agent` would."""
    if not is_agent_field(value):
        return None
    try:
        agent_id = parse_agent_id(unquote_to_bytes(value).decode("utf-8"))
    except (UnicodeDecodeError, InvalidInput):
        return None
    return agent_id if write_agent(agent_id) == value else None


def write_params(names: Iterable[str], terms: Mapping[str, int | str]) -> bytes:
    """The value of `@signature-params`: covered components and parameters, in the order given.

    Texts must be free of `"` and backslashes, as ours are.

    Source: RFC 9421 section 2.3; RFC 8941 section 4.1.
    """
    written = "".join(
        f";{name}={value}" if isinstance(value, int) else f';{name}="{value}"' for name, value in terms.items()
    )
    return f"({_write_names(names)}){written}".encode("ascii")


def _write_names(names: Iterable[str]) -> str:
    return " ".join(f'"{name}"' for name in names)


def our_params(names: Iterable[str], terms: Terms, key_id: str) -> bytes:
    """The value of `@signature-params` of our profile."""
    return write_params(
        names,
        {
            "created": terms.created,
            "expires": terms.expires,
            "nonce": terms.nonce,
            "keyid": key_id,
            "alg": ALGORITHM,
            "tag": TAG,
        },
    )


def signature_base(components: Sequence[tuple[str, bytes]], params: bytes) -> bytes:
    """The bytes that are signed; values must be free of line ends.

    Source: RFC 9421 section 2.5.
    """
    lines = [b'"%b": %b' % (name.encode("ascii"), value) for name, value in components]
    lines.append(b'"@signature-params": ' + params)
    return b"\n".join(lines)


_ALWAYS: Final = {_write_names(names).encode("ascii"): names for names in (COVERED, COVERED_WITH_BODY)}
"""The lists of components that our signatures have."""


def parse_input(value: bytes) -> SignatureInput | None:
    """Read a Signature-Input field; None for anything but one signature of our grammar.

    Which components are covered is for the caller to judge; a component with parameters reads as none.
    """
    if len(value) > MAX_INPUT_BYTES:
        return None
    match = _INPUT.fullmatch(value)
    if match is None or None in match.groups():
        return None
    params, covered, created, expires, nonce, key_id, _, _ = match.groups()
    names = _ALWAYS.get(covered) or _read_names(covered.decode("ascii"))
    terms = Terms(created=int(created), expires=int(expires), nonce=nonce.decode("ascii"))
    if names is None or terms.expires <= terms.created:
        return None
    return SignatureInput(params=params, names=names, terms=terms, key_id=key_id.decode("ascii"))


def _read_names(text: str) -> tuple[str, ...] | None:
    names = tuple(_NAME.findall(text))
    return names if text == _write_names(names) else None
