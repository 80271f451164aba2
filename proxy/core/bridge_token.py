"""What can be read from a token of the Bridge.

Whether it is genuine is the Bridge's to say: a name read here may be believed only of a token that it has accepted.
"""

from proxy.core.secret import Secret


def issued_to(credential: Secret) -> str | None:
    """Name of the agent whose session the token belongs to, None when the credential has no such form.

    Source: BRIDGE.md 2.1 (`Bearer SESSION:AGENT:TIME:HMAC`; the Bridge reads the second field as the agent).
    """
    scheme, _, token = credential.reveal().partition(" ")
    fields = token.split(":")
    if scheme.lower() != "bearer" or len(fields) < 2:
        return None
    return fields[1]
