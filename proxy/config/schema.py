"""The configuration as one frozen value: every key, its rule and its default.

Durations are seconds (`_s`) or milliseconds (`_ms`). `config.example.toml` explains each key to operators;
a test holds both together.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, cast, get_args

import msgspec

from proxy.config.rules import Choice, Number, Rule, Switch, Text, TextList, Whole
from proxy.config.shapes import (
    SQLITE_PREFIX,
    Address,
    parse_address,
    parse_agent_name,
    parse_client_name,
    parse_file_path,
    parse_host_name,
    parse_http_url,
    parse_optional_agent_name,
    parse_optional_origin,
    parse_origin,
    parse_path,
    parse_salt,
    parse_signed_origin,
    parse_some_byte_rate,
    parse_some_rate,
    parse_state_url,
    parse_tool_name,
)
from proxy.core.identity import Mode
from proxy.core.rate import Rate, parse_rate

ENVIRONMENT_PREFIX: Final = "ELICIT_SIDECAR_"
"""Every variable that begins so is ours; one that names no key is an error."""

GROUPS: Final = "groups"
"""The one table whose keys the operator chooses."""

MAX_GROUP_MEMBERS: Final = 100_000
"""Source: ours; the bound on the size of the file comes first."""

_ADDRESS: Final = Text(parse_address, "HOST:PORT")
_NAMES: Final = TextList(parse_agent_name, "a list of agent ids or group names")
_FILE: Final = Text(parse_file_path, "the path of a file, or nothing")
_ORIGINS: Final = TextList(parse_signed_origin, "a list of http or https URLs without path", most=8)
_OF_EVENTS: Final = Choice(("mode", "off", "observe", "enforce"))
_RATE: Final = Text(parse_rate, "a rate N/(s|min|h)[+BURST]")
_SOME_RATE: Final = Text(parse_some_rate, "a rate N/(s|min|h)[+BURST], or nothing")
_SOME_BYTES: Final = Text(parse_some_byte_rate, "a rate of bytes N(KiB|MiB|GiB)/(s|min|h)[+BURST], or nothing")


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


class ListenConfig(Section, frozen=True, kw_only=True):
    """Where the sidecar listens."""

    data: Annotated[Address, _ADDRESS] = Address("127.0.0.1", 8766)
    admin: Annotated[Address, _ADDRESS] = Address("127.0.0.1", 8767)
    allowed_hosts: Annotated[tuple[str, ...], TextList(parse_host_name, "a list of host names")] = ()
    """What Host and Origin may hold besides our own names: a name (IPv6 without brackets) or name and port."""
    role: Annotated[Literal["sidecar", "ingress"], Choice(("sidecar", "ingress"))] = "sidecar"
    """Beside an agent, or in front of the Bridge, where calls are judged and nothing is served by elicitation."""
    tls_cert_file: Annotated[str, _FILE] = ""
    """With its key: the data port speaks TLS."""
    tls_key_file: Annotated[str, _FILE] = ""
    admin_tls_cert_file: Annotated[str, _FILE] = ""
    """The same for the admin port."""
    admin_tls_key_file: Annotated[str, _FILE] = ""


class BridgeConfig(Section, frozen=True, kw_only=True):
    """The way to the Bridge and how often it is asked."""

    url: Annotated[str, Text(parse_origin, "an http or https URL without path")] = "http://127.0.0.1:8765"
    """Scheme, host and port, without a slash at the end."""
    mcp_path: Annotated[str, Text(parse_path, "a path")] = "/mcp"
    mcp_url: Annotated[str, Text(parse_optional_origin, "an http or https URL without path, or nothing")] = ""
    """Where the MCP server is, when it is not at `url`."""
    mcp_eras: Annotated[Literal["translate", "relay"], Choice(("translate", "relay"))] = "translate"
    """Whether a client meets a server of the other MCP era through us, or is left to the server's refusal."""
    park_s: Annotated[float, Number(1, 86_400)] = 600.0
    """How long a call stays open at the MCP server while its question waits for an answer."""
    max_parked_calls: Annotated[int, Whole(1, 100_000)] = 100
    """Calls of one principal that may be open so."""
    sse_path: Annotated[str, Text(parse_path, "a path")] = "/sse"
    source: Annotated[Literal["auto", "rest", "bus", "mcp"], Choice(("auto", "rest", "bus", "mcp"))] = "auto"
    connect_timeout_s: Annotated[float, Number(0.05, 10)] = 0.5
    request_timeout_s: Annotated[float, Number(0.1, 120)] = 10.0
    hold_s: Annotated[float, Number(1, 300)] = 20.0
    """How long one upstream long poll is held."""
    poll_fast_ms: Annotated[int, Whole(10, 10_000)] = 100
    poll_idle_ms: Annotated[int, Whole(50, 60_000)] = 2000
    poll_budget_per_min: Annotated[int, Whole(6, 100_000)] = 60
    """Polls per minute and agent."""
    poll_burst: Annotated[int, Whole(1, 1000)] = 10
    ca_file: Annotated[str, _FILE] = ""
    """Whom to trust there; empty: whom the system trusts."""
    client_cert_file: Annotated[str, _FILE] = ""
    """What we show there, with its key, when it asks who we are."""
    client_key_file: Annotated[str, _FILE] = ""


class AgentConfig(Section, frozen=True, kw_only=True):
    """The agent this sidecar stands beside."""

    id: Annotated[str, Text(parse_optional_agent_name, "an agent id, or nothing")] = ""
    """Empty: taken from each call."""
    delivery: Annotated[Literal["result", "elicit"], Choice(("result", "elicit"))] = "result"
    elicit_agents: Annotated[tuple[str, ...], _NAMES] = ()
    """Agents and groups whose delivery is "elicit" whatever `delivery` says."""
    elicit_clients: Annotated[tuple[str, ...], TextList(parse_client_name, "a list of MCP client names")] = ()
    """Names that MCP clients give themselves in `clientInfo`; the same for these."""


class WaitConfig(Section, frozen=True, kw_only=True):
    """Which calls are waits, and how waits behave."""

    paths: Annotated[tuple[str, ...], TextList(parse_path, "a list of paths")] = ("/event/wait",)
    tools: Annotated[tuple[str, ...], TextList(parse_tool_name, "a list of tool names")] = (
        "lighthouse_wait_for_messages",
        "wait_for_messages",
    )
    respond_tools: Annotated[tuple[str, ...], TextList(parse_tool_name, "a list of tool names")] = (
        "lighthouse_respond_to_elicitation",
    )
    send_tools: Annotated[tuple[str, ...], TextList(parse_tool_name, "a list of tool names")] = (
        "lighthouse_store_event",
    )
    mcp_hold_s: Annotated[int, Whole(1, 300)] = 55
    """Longest wait of an MCP client that may give up after 60 s."""
    redeliver_s: Annotated[float, Number(0.1, 3600)] = 30.0
    """An unanswered question is offered again after this."""
    max_parked: Annotated[int, Whole(1, 1_000_000)] = 10_000
    max_parked_per_agent: Annotated[int, Whole(1, 1_000_000)] = 100
    """Of these, those of one agent."""
    default_timeout_s: Annotated[float, Number(1, 300)] = 60.0


class DualConfig(Section, frozen=True, kw_only=True):
    """Which legacy sends become questions to agents in the elicitation cohort."""

    sends: Annotated[Literal["asking", "all", "off"], Choice(("asking", "all", "off"))] = "asking"
    life_s: Annotated[float, Number(1, 86_400)] = 300.0
    """How long such a question lives where the send does not say."""


class FlagsConfig(Section, frozen=True, kw_only=True):
    """The feature flags a fresh state begins with, and the salt of the rollout."""

    elicitation_enabled: Annotated[bool, Switch()] = False
    elicitation_percentage: Annotated[float, Number(0, 100, decimals=3)] = 0.0
    elicitation_whitelist: Annotated[tuple[str, ...], _NAMES] = ()
    elicitation_denylist: Annotated[tuple[str, ...], _NAMES] = ()
    ab_testing_enabled: Annotated[bool, Switch()] = False
    legacy_fallback: Annotated[bool, Switch()] = True
    legacy_support: Annotated[bool, Switch()] = True
    deprecation_warnings: Annotated[bool, Switch()] = False
    salt: Annotated[str, Text(parse_salt, "a text of at most 200 printable characters")] = ""


class BreakerConfig(Section, frozen=True, kw_only=True):
    """When the elicitation way is given up for a while."""

    failures: Annotated[int, Whole(1, 1000)] = 5
    cooldown_s: Annotated[float, Number(0.1, 3600)] = 10.0
    incapable_s: Annotated[float, Number(1, 3600)] = 30.0
    """How long a Bridge without elicitation is remembered as such."""


class LegacyConfig(Section, frozen=True, kw_only=True):
    """What is said about the legacy call."""

    guide_url: Annotated[str, Text(parse_http_url, "an http or https URL")] = "https://elicit-sidecar.dev/migration"


class StateConfig(Section, frozen=True, kw_only=True):
    """Where state is kept."""

    url: Annotated[str, Text(parse_state_url, "memory: or sqlite:///ABSOLUTE/PATH")] = (
        "sqlite:///var/lib/elicit-sidecar/state.db"
    )

    @property
    def sqlite_path(self) -> Path | None:
        """The state file, or None when state lives in memory."""
        path = self.url.removeprefix(SQLITE_PREFIX)
        return None if path == self.url else Path(path)


class AdminConfig(Section, frozen=True, kw_only=True):
    """Who may use the admin port."""

    token_file: Annotated[str, _FILE] = ""


class IdentityConfig(Section, frozen=True, kw_only=True):
    """Whether a call may name another agent than the one that is vouched for."""

    mode: Annotated[Mode, Choice(("off", "observe", "enforce"))] = "off"


class SignaturesConfig(Section, frozen=True, kw_only=True):
    """Whether calls are signed and signatures judged."""

    mode: Annotated[Mode, Choice(("off", "observe", "enforce"))] = "off"
    events: Annotated[Literal["mode", "off", "observe", "enforce"], _OF_EVENTS] = "mode"
    """The same for elicitations that travel as events, as an agent that cannot sign its calls may be asked by one."""
    keys_file: Annotated[str, Text(parse_file_path, "the path of a file, or nothing")] = ""
    origins: Annotated[tuple[str, ...], _ORIGINS] = ()
    """Scheme, host and port by which this sidecar is called; empty: `listen.data`."""
    sign: Annotated[bool, Switch()] = False
    """Whether calls to the Bridge are signed in the name of their agent."""

    @property
    def events_mode(self) -> Mode:
        """How events are judged."""
        return self.mode if self.events == "mode" else self.events


class LimitsConfig(Section, frozen=True, kw_only=True):
    """How much an agent may call."""

    questions: Annotated[Rate, _RATE] = Rate(count=10, period_s=60, burst=3)
    answers: Annotated[Rate, _RATE] = Rate(count=20, period_s=60, burst=3)
    waits: Annotated[Rate | None, _SOME_RATE] = None
    calls: Annotated[Rate | None, _SOME_RATE] = None
    bytes: Annotated[Rate | None, _SOME_BYTES] = None
    """Of bodies; one whose length is not told is paid for when it has come."""


class LogConfig(Section, frozen=True, kw_only=True):
    """Log lines."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Choice(("debug", "info", "warning", "error"))] = (
        "info"
    )
    format: Annotated[Literal["auto", "json", "console"], Choice(("auto", "json", "console"))] = "auto"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything the sidecar is told before it starts; made by `load_config`."""

    listen: ListenConfig = ListenConfig()
    bridge: BridgeConfig = BridgeConfig()
    agent: AgentConfig = AgentConfig()
    wait: WaitConfig = WaitConfig()
    dual: DualConfig = DualConfig()
    flags: FlagsConfig = FlagsConfig()
    groups: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Group name to its agent ids."""
    breaker: BreakerConfig = BreakerConfig()
    legacy: LegacyConfig = LegacyConfig()
    state: StateConfig = StateConfig()
    admin: AdminConfig = AdminConfig()
    identity: IdentityConfig = IdentityConfig()
    signatures: SignaturesConfig = SignaturesConfig()
    limits: LimitsConfig = LimitsConfig()
    log: LogConfig = LogConfig()


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration with the rule its values obey."""

    section: str
    name: str
    rule: Rule

    @property
    def path(self) -> str:
        """The dotted path, as in messages and `--set`."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable of this key."""
        return f"{ENVIRONMENT_PREFIX}{self.section}_{self.name}".upper()


def group_key(name: str) -> Key:
    """The key of one group; its name is the operator's, with the bounds of an agent id."""
    return Key(GROUPS, name, TextList(parse_agent_name, "a named list of agent ids", most=MAX_GROUP_MEMBERS))


def sections(config: Config) -> Mapping[str, Section]:
    """The tables with fixed keys, by name, in the order of the file."""
    found = {field.name: getattr(config, field.name) for field in msgspec.structs.fields(config)}
    return {name: value for name, value in found.items() if isinstance(value, Section)}


def _keys() -> Iterator[Key]:
    for section, value in sections(Config()).items():
        for field in msgspec.structs.fields(value):
            rule = get_args(field.type)[1]
            yield Key(section, field.name, cast("Rule", rule))


KEYS: Final = tuple(_keys())
"""Every fixed key, in the order of the file."""

SECTION_NAMES: Final = tuple(field.name for field in msgspec.structs.fields(Config))
"""Every table, in the order of the file."""
