"""elicit-sidecar: legacy waits served by elicitation."""

__version__ = "0.1.0"
