"""The way to the Bridge."""
