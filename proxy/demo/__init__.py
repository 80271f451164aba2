"""The narrated demonstration."""
