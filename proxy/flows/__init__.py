"""Use cases: where a decision meets an effect."""
