"""How many file descriptors this process may have: as many as the system lets it."""

import resource
from contextlib import suppress
from typing import Final

ENOUGH: Final = 1 << 20
"""Where the system knows no limit. Source: ours, a hundred for each wait of the default `wait.max_parked`."""


def raise_descriptor_limit() -> int:
    """Raise the limit as far as the system lets us, and tell it.

    A parked wait takes three descriptors, and the usual soft limit of 1,024 is there for programs that use select().
    Source: setrlimit(2), RLIMIT_NOFILE.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # some systems have a lower limit than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return descriptor_limit()


def descriptor_limit() -> int:
    """Most descriptors that this process may have; 0 where there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if soft == resource.RLIM_INFINITY else soft
