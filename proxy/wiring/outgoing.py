"""Builds what signs the calls that this sidecar sends, or keeps signatures from the Bridge."""

from secrets import token_bytes

from yarl import URL

from proxy.config.schema import Config
from proxy.core.call_signer import CallSigner
from proxy.core.ids import AgentId
from proxy.core.signature_fields import parse_origin
from proxy.downstream.outgoing_head import OutgoingHead
from proxy.ports import Clock
from proxy.wiring.keys import Keys


def call_signer(config: Config, keys: Keys, clock: Clock) -> CallSigner | None:
    """What signs for our agents, where that is asked for."""
    if not config.signatures.sign:
        return None
    agent_id = AgentId(config.agent.id) if config.agent.id else None
    return CallSigner(lambda: keys.ring, wall=clock.wall, chance=token_bytes, configured=agent_id)


def outgoing_head(config: Config, upstream: URL, signer: CallSigner | None) -> OutgoingHead | None:
    """What a relayed call has of signatures; None where they pass as they come.

    At an ingress they have done their service: the Bridge is shown none.
    """
    if signer is None and config.listen.role != "ingress":
        return None
    return OutgoingHead(signer, parse_origin(str(upstream.origin())))
