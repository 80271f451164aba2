"""The legacy way as it was meant, alone: percentiles, throughput and resource use of `wait_for_messages`."""

import sys

from bench.arms import Arm
from bench.single_arm import run_alone

if __name__ == "__main__":
    sys.exit(run_alone("baseline_wait_for_messages", "the legacy wait as meant, straight at the Bridge", (Arm.LEGACY,)))
