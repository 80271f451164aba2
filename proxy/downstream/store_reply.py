"""The reply to a stored event on its way to an agent: once the Bridge has numbered anew, in the numbers of the waits.

An agent may take the number of its own event for its next cursor. Until then the reply passes byte for byte; from then
on only the number is changed, whatever the flags say, as waits are mapped whatever they say.

Source: ARCHITECTURE.md 2.2 (Sequences); BRIDGE.md 2.2.
"""

from dataclasses import dataclass

from proxy.core.legacy import numbered_reply
from proxy.core.sequences import SequenceMap
from proxy.downstream.relay_edit import Rewrite


def _as_it_came(frame: bytes) -> bytes:
    return frame


@dataclass(slots=True)
class StoreReply:
    """The reply to one event."""

    sequences: SequenceMap
    came: bytes | None = None
    """What the Bridge has written, where the agent gets something else."""

    def rewrite(self) -> Rewrite | None:
        """How it has to be changed; None where it passes as it comes."""
        return Rewrite(body=self._in_agents_numbers, frame=_as_it_came) if self.sequences.offset else None

    def _in_agents_numbers(self, body: bytes) -> bytes:
        self.came = body
        return numbered_reply(body, self.sequences.to_agent)
