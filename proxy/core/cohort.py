"""Sticky rollout buckets: which cohort an agent is in.

A bucket depends on the rollout's salt and the agent's id, never on the percentage, so a growing percentage only
adds agents and a shrinking one removes only those who came last. Buckets run from 0 to 99_999, a thousandth of
a percent each.
"""

from enum import StrEnum
from typing import Final

import xxhash

BUCKETS: Final = 100_000
"""Number of buckets. Source: ours; percentages have three decimals."""


class Cohort(StrEnum):
    """Which way an agent's waits go."""

    ELICITATION = "elicitation"
    LEGACY = "legacy"


def bucket_of(salt: str, agent_id: str) -> int:
    """The agent's sticky bucket, 0 to 99_999.

    The upper 32 bits of XXH3-64 are scaled by multiplication: an even spread without the cost of a division. Every
    text has a bucket: lone surrogates, which UTF-8 cannot hold, are hashed as the three bytes they would have.

    Source: XXH3 (xxHash specification 0.2); Lemire 2019, "Fast Random Integer Generation in an Interval", eq. 1.
    """
    hashed = f"{salt}\x00{agent_id}".encode("utf-8", "surrogatepass")
    digest = xxhash.xxh3_64_intdigest(hashed)
    return ((digest >> 32) * BUCKETS) >> 32


def cohort_of(bucket: int, threshold: int) -> Cohort:
    """The cohort of a bucket under a threshold (`FlagSet.threshold`): elicitation when strictly below."""
    return Cohort.ELICITATION if bucket < threshold else Cohort.LEGACY
