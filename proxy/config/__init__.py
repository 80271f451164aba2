"""The configuration: one TOML file, environment and command line, read once into one frozen value."""
