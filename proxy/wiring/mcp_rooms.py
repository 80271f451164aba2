"""The rooms of the MCP path, connected: the wait and its questions, the era bridges, and the door before them."""

import secrets
from dataclasses import dataclass
from typing import Final

from proxy import __version__
from proxy.config.schema import Config
from proxy.core.delivery import DeliveryRule
from proxy.downstream.mcp_asking import Asking
from proxy.downstream.mcp_down import DownDoor
from proxy.downstream.mcp_eras import EraDoors
from proxy.downstream.mcp_http import McpDoor
from proxy.downstream.mcp_trust import McpTrust
from proxy.downstream.mcp_up import UpDoor
from proxy.downstream.mcp_wait import McpWaits
from proxy.downstream.relay import Relay
from proxy.downstream.tool_list import ToolList
from proxy.flows.admission import Admission
from proxy.flows.asked_wait import AskedWaits
from proxy.flows.client_answers import ClientAnswers
from proxy.flows.client_questions import ClientQuestions
from proxy.flows.era_up import EraUp
from proxy.flows.errands import Errands
from proxy.flows.flags import FlagBoard
from proxy.flows.mcp_clients import McpClients
from proxy.flows.parked_calls import ParkedCalls
from proxy.flows.suspended_wait import SuspendedWaits
from proxy.flows.tool_call import ToolCalls
from proxy.mcp.ask import Reply
from proxy.mcp.correlation import Asked, Seat
from proxy.mcp.inbound import ToolNames
from proxy.mcp.tool_notes import wait_is_deprecated
from proxy.ports import Clock, ExchangeStore, McpServer, McpUpstream, Recorder, Spawn

SERVER_INFO: Final = {"name": "elicit-sidecar", "version": __version__}
"""How results of our own name whoever gave them. Source: PROTOCOL.md 2.2."""


def tool_names(config: Config) -> ToolNames:
    """The legacy tools, as the operator named them."""
    wait = config.wait
    return ToolNames(wait=frozenset(wait.tools), respond=frozenset(wait.respond_tools), send=frozenset(wait.send_tools))


def mcp_is_bridge(config: Config) -> bool:
    """Whether the MCP server is the Bridge itself, so that a token for the one is a token for the other."""
    return config.bridge.source == "mcp" or config.bridge.mcp_url in {"", config.bridge.url}


@dataclass(frozen=True, slots=True, kw_only=True)
class McpOutside:
    """What the MCP rooms reach for."""

    relay: Relay
    server: McpServer
    upstream: McpUpstream
    exchanges: ExchangeStore


@dataclass(frozen=True, slots=True, kw_only=True)
class McpInside:
    """What they share with the rest of the house."""

    calls: ToolCalls
    board: FlagBoard
    recorder: Recorder
    errands: Errands
    clock: Clock
    spawn: Spawn
    admission: Admission


class McpRooms:
    """Everything behind the MCP path of the data port."""

    def __init__(self, config: Config, outside: McpOutside, inside: McpInside) -> None:
        clock, recorder = inside.clock, inside.recorder
        self._config = config
        self._outside = outside
        self.inside = inside
        self._clients = McpClients()
        self.questions = ClientQuestions(clock, secrets.token_bytes, late=_let_go)
        self._parked = ParkedCalls(
            upstream=outside.upstream,
            store=outside.exchanges,
            clock=clock,
            chance=secrets.token_bytes,
            spawn=inside.spawn,
            defect=recorder.defect,
            park_s=config.bridge.park_s,
            max_parked=config.bridge.max_parked_calls,
        )
        note = wait_is_deprecated(frozenset(config.wait.tools), config.legacy.guide_url)
        self.tools = ToolList(inside.board, note)
        self._down = DownDoor(outside.upstream, self._parked, clock, inside.spawn, edit=self.tools.noted)

    def door(self) -> McpDoor:
        """The door of the MCP path."""
        config = self._config
        return McpDoor(
            relay=self._outside.relay,
            eras=self._eras() if config.bridge.mcp_eras == "translate" else None,
            calls=self.inside.calls,
            waits=self._waits(),
            clients=self._clients,
            questions=self.questions,
            server=self._outside.server,
            names=tool_names(config),
            recorder=self.inside.recorder,
            clock=self.inside.clock,
            default_timeout_s=int(config.wait.default_timeout_s),
            tools=self.tools,
            trust=McpTrust(admission=self.inside.admission, names=tool_names(config)),
            is_in_use=self._is_in_use,
        )

    def _is_in_use(self) -> bool:
        return self.inside.board.flags.elicitation_enabled or bool(self.inside.board.forced())

    def _eras(self) -> EraDoors:
        bridge = self._config.bridge
        flow = EraUp(
            upstream=self._outside.upstream,
            questions=self.questions,
            clients=self._clients,
            clock=self.inside.clock,
            begin=self.inside.errands.begin,
            defect=self.inside.recorder.defect,
            edit=self.tools.noted,
            park_s=bridge.park_s,
            max_parked=bridge.max_parked_calls,
        )
        return EraDoors(upstream=self._outside.upstream, clients=self._clients, up=UpDoor(flow), down=self._down)

    def _waits(self) -> McpWaits:
        config = self._config
        return McpWaits(
            calls=self.inside.calls,
            clients=self._clients,
            asking=self.asking(self.inside.errands),
            clock=self.inside.clock,
            spawn=self.inside.spawn,
            hold_cap_s=config.wait.mcp_hold_s,
            guide_url=config.legacy.guide_url,
            server_asks=config.bridge.source == "mcp",
            is_bridge=mcp_is_bridge(config),
        )

    def asking(self, errands: Errands) -> Asking:
        """How questions reach clients themselves; `errands` are what brings their answers to the Bridge."""
        inside, agent = self.inside, self._config.agent
        answers = ClientAnswers(inside.calls, errands, inside.recorder, inside.admission.take_answer_of)
        return Asking(
            rule=DeliveryRule(
                to_all=agent.delivery == "elicit",
                agents=frozenset(agent.elicit_agents),
                clients=frozenset(agent.elicit_clients),
            ),
            questions=self.questions,
            asked=AskedWaits(inside.calls, self.questions, answers, inside.clock),
            suspended=SuspendedWaits(
                inside.calls,
                answers,
                self._outside.exchanges,
                clock=inside.clock,
                chance=secrets.token_bytes,
                server_info=SERVER_INFO,
            ),
        )

    def drain(self) -> None:
        """The sidecar stops: nobody is asked any more, and what is open only to be heard ends."""
        self.questions.drain()
        self._down.drain()

    def close(self) -> None:
        """Give up the calls that are parked at the server."""
        self._parked.close()


def _let_go(_seat: Seat, _asked: Asked, _reply: Reply) -> None:
    """An answer to a server's question whose call is over: the server has heard a cancel long ago."""
