"""The doors that only a development Bridge has: its switches and its counters, without any token."""

from proxy.devbridge.door import Call
from proxy.devbridge.state import BridgeState
from proxy.devbridge.wire import WireError, object_of


async def read_switches(bridge: BridgeState, _call: Call) -> object:
    """All switches as they are now."""
    return bridge.switches.as_json()


async def set_switches(bridge: BridgeState, call: Call) -> object:
    """Change the switches named in the body; all or none."""
    try:
        bridge.set_switches(object_of(call.body, loose=True))
    except ValueError as error:
        raise WireError(400, str(error)) from error
    return bridge.switches.as_json()


async def counters(bridge: BridgeState, _call: Call) -> object:
    """How many requests arrived by method and path pattern, and how many waits are parked now."""
    return {"requests": dict(bridge.arrived), "parked_waits": bridge.parked_waits}
