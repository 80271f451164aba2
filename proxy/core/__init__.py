"""Pure decisions: what follows from what, without clock, socket or disk."""
