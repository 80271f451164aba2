"""The elicitation way alone, in both topologies: percentiles, throughput and resource use."""

import sys

from bench.arms import Arm
from bench.single_arm import run_alone

if __name__ == "__main__":
    sys.exit(
        run_alone("elicitation_performance", "elicitation through the sidecar", (Arm.BOTH, Arm.RECEIVER)),
    )
