"""What stands before the doors, without a house: in memory, and with nothing asked for unless a test says what."""

from typing import Final

from proxy.core.limits import QUESTIONS
from proxy.core.rate import Rate
from proxy.flows.admission import Admission, AdmissionRules, Known
from proxy.ports import Clock, LimitStore, NonceStore, Recorder
from proxy.stores.memory_limits import MemoryLimitStore
from proxy.stores.memory_nonces import MemoryNonceStore

NO_RULES: Final = AdmissionRules()

QUESTIONS_ONLY: Final = AdmissionRules(limits={QUESTIONS: Rate(count=10, period_s=60, burst=3)})
"""The limit that holds by default for questions which sends become."""


def admission_of(
    clock: Clock,
    recorder: Recorder,
    rules: AdmissionRules = NO_RULES,
    *,
    nonces: NonceStore | None = None,
    limits: LimitStore | None = None,
    is_known: Known = lambda _agent, _fingerprint: False,
) -> Admission:
    """The judge of one listener."""
    return Admission(
        rules,
        nonces=nonces or MemoryNonceStore(),
        limits=limits or MemoryLimitStore(),
        of_strangers=MemoryLimitStore(),
        clock=clock,
        recorder=recorder,
        is_known=is_known,
    )
