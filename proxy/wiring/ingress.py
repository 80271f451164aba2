"""Builds the doors of a sidecar that stands in front of the Bridge."""

from proxy.config.schema import Config
from proxy.downstream.gate import Gate
from proxy.downstream.ingress import IngressDoors
from proxy.downstream.sse_endpoint import SseDoors
from proxy.flows.answer_rights import AnswerRights
from proxy.ports import Recorder
from proxy.wiring.mcp_rooms import tool_names
from proxy.wiring.outside import Outside


def open_ingress(
    config: Config, outside: Outside, gate: Gate, sse: SseDoors, *, recorder: Recorder
) -> IngressDoors | None:
    """The doors in front of the Bridge; None for a sidecar beside an agent."""
    if config.listen.role != "ingress":
        return None
    return IngressDoors(
        relay=outside.relay,
        mcp=outside.mcp.relay,
        sse=sse,
        rights=AnswerRights(gate.admission, outside.rest),
        names=tool_names(config),
        recorder=recorder,
        clock=outside.clock,
    )
