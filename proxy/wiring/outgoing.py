"""Builds what signs for our agents: the calls and events that are sent; or what keeps signatures from the Bridge."""

from dataclasses import dataclass
from secrets import token_bytes

from yarl import URL

from proxy.config.schema import Config
from proxy.core.call_signer import CallSigner
from proxy.core.event_seal import EventSeal
from proxy.core.ids import AgentId
from proxy.core.signature_fields import parse_origin
from proxy.downstream.outgoing_head import OutgoingHead
from proxy.ports import Clock
from proxy.wiring.keys import Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """Keys, and what is done with them on the way out."""

    keys: Keys
    signer: CallSigner | None
    """Of calls; None where none is signed."""
    seal: EventSeal
    """Of elicitations that travel as events."""
    is_ingress: bool

    def head(self, upstream: URL) -> OutgoingHead | None:
        """What a relayed call has of signatures; None where they pass as they come.

        At an ingress they have done their service: the Bridge is shown none.
        """
        if self.signer is None and not self.is_ingress:
            return None
        return OutgoingHead(self.signer, parse_origin(str(upstream.origin())))


async def open_signing(config: Config, machine: Clock) -> Signing:
    """Read the keys; `machine` is the clock by which signatures are made.

    Raises:
        ConfigError: the key file is not in order.
    """
    keys = Keys(config)
    await keys.open()
    rules, signer = config.signatures, None
    if rules.sign:
        agent_id = AgentId(config.agent.id) if config.agent.id else None
        signer = CallSigner(lambda: keys.ring, wall=machine.wall, chance=token_bytes, configured=agent_id)
    seal = EventSeal(lambda: keys.ring, mode=rules.events_mode, signer=signer)
    return Signing(keys=keys, signer=signer, seal=seal, is_ingress=config.listen.role == "ingress")
