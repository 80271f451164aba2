"""Builds what stands before the doors of the data port: identities, signatures, limits."""

from collections.abc import Mapping
from typing import Final

from proxy.config.schema import Config
from proxy.config.shapes import Address
from proxy.core.claims import plain_path
from proxy.core.ids import AgentId
from proxy.core.limits import LimitName
from proxy.core.rate import Rate
from proxy.core.signature_fields import Origin, parse_origin
from proxy.downstream.gate import Gate
from proxy.flows.admission import Admission, AdmissionRules, Known
from proxy.ports import Recorder
from proxy.stores.memory_limits import MemoryLimitStore
from proxy.wiring.mcp_rooms import mcp_is_bridge, tool_names
from proxy.wiring.outside import Outside

MAX_STRANGERS: Final = 10_000
"""Names that nobody has proven and that are counted at the same time. Source: ours."""


def open_gate(config: Config, outside: Outside, recorder: Recorder, *, is_known: Known) -> Gate:
    """The gate that this configuration asks for; signatures are judged once it is told by which keys."""
    rules = AdmissionRules(
        identity=config.identity.mode,
        signatures=config.signatures.mode,
        configured=AgentId(config.agent.id) if config.agent.id else None,
        limits=limits_in_force(config),
    )
    admission = Admission(
        rules,
        nonces=outside.kept.nonces,
        limits=MemoryLimitStore(),
        of_strangers=MemoryLimitStore(MAX_STRANGERS),
        clock=outside.machine,
        recorder=recorder,
        is_known=is_known,
    )
    return Gate(
        admission=admission,
        wait_paths=frozenset([*config.wait.paths, *map(plain_path, config.wait.paths)]),
        plain_mcp_path=plain_path(config.bridge.mcp_path),
        mcp_is_bridge=mcp_is_bridge(config),
        names=tool_names(config),
    )


def limits_in_force(config: Config) -> Mapping[LimitName, Rate]:
    """The limits that have a rate."""
    limits = config.limits
    rates = {
        "questions": limits.questions,
        "answers": limits.answers,
        "waits": limits.waits,
        "calls": limits.calls,
        "bytes": limits.bytes,
    }
    return {LimitName(name): rate for name, rate in rates.items() if rate is not None}


def origins(config: Config, bound: Address) -> tuple[Origin, ...]:
    """By which addresses signed calls may have been made to us, who listen there."""
    scheme = "https" if config.listen.tls_cert_file else "http"
    named = config.signatures.origins or (f"{scheme}://{bound}",)
    return tuple(parse_origin(each) for each in named)
