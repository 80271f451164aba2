"""The wire words of MCP, old and new, as pure functions and machines."""
