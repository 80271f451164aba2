"""What differs between two configurations, and which of it a running sidecar can take up."""

from dataclasses import dataclass
from typing import Final

from proxy.config.render import to_plain
from proxy.config.schema import GROUPS, Config

LIVE_SECTIONS: Final = frozenset({GROUPS, "breaker", "log"})
"""Tables whose every key takes effect at once."""

LIVE_KEYS: Final = frozenset(
    {
        "wait.redeliver_s",
        "wait.max_parked",
        "wait.max_parked_per_agent",
        "bridge.poll_fast_ms",
        "bridge.poll_idle_ms",
        "bridge.poll_budget_per_min",
        "bridge.poll_burst",
    }
)
"""Single keys that take effect at once, the pace of polls for tokens that come from then on."""

SEED_SECTION: Final = "flags"
"""Only a fresh state begins with these; a running sidecar's flags change through the admin port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Dotted keys that differ, by what becomes of them."""

    live: tuple[str, ...]
    """Taken up at once."""
    at_restart: tuple[str, ...]
    """Taken up at the next start."""
    at_first_start: tuple[str, ...]
    """Flags: taken up only where no state is yet."""

    def __bool__(self) -> bool:
        return bool(self.live or self.at_restart or self.at_first_start)


def changes_between(old: Config, new: Config) -> Changes:
    """Compare two configurations key by key."""
    before, after = to_plain(old), to_plain(new)
    differing = [
        f"{section}.{key}"
        for section in after
        for key in sorted(before[section].keys() | after[section].keys())
        if before[section].get(key) != after[section].get(key)
    ]
    live = [key for key in differing if key in LIVE_KEYS or key.partition(".")[0] in LIVE_SECTIONS]
    seeds = [key for key in differing if key.partition(".")[0] == SEED_SECTION]
    rest = [key for key in differing if key not in live and key not in seeds]
    return Changes(live=tuple(live), at_restart=tuple(rest), at_first_start=tuple(seeds))
