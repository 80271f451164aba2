"""The doors agents and operators come through."""
