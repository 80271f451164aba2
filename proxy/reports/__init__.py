"""Facts in, documents out: pure, so that a report of a dead sidecar reads like that of a living one."""
