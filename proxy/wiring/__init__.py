"""Builds the whole house from a configuration: the only room that names concrete classes together."""
