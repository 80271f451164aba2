"""The development Bridge: the legacy Bridge's wire contract for demos, tests and benchmarks."""
