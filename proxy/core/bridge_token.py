"""What can be read from a token of the Bridge, and from what the Bridge says of one.

Whether it is genuine is the Bridge's to say: a name read here may be believed only of a token that it has accepted.
"""

from typing import Final

import orjson

from proxy.core.secret import Secret

_NOT_THE_SPEAKERS: Final = "Invalid agent session token"
"""What the Bridge says, with status 500, to an answer whose token is not the answering agent's, or no longer.

Source: BRIDGE.md 2.5 (agent bob, mallory's token), 2.4 (wrapped errors: the real status may stand before it).
"""


def issued_to(credential: Secret) -> str | None:
    """Name of the agent whose session the token belongs to, None when the credential has no such form.

    Source: BRIDGE.md 2.1 (`Bearer SESSION:AGENT:TIME:HMAC`; the Bridge reads the second field as the agent).
    """
    scheme, _, token = credential.reveal().partition(" ")
    fields = token.split(":")
    if scheme.lower() != "bearer" or len(fields) < 2:
        return None
    return fields[1]


def is_not_the_speakers(status: int, body: bytes) -> bool:
    """Whether a reply of the Bridge refuses the token because it does not belong to the agent named in the call."""
    try:
        reply = orjson.loads(body) if status == 500 else None
    except orjson.JSONDecodeError:
        return False
    words = reply.get("detail") if isinstance(reply, dict) else None
    return isinstance(words, str) and words.endswith(_NOT_THE_SPEAKERS)
