"""State that obeys a port."""
