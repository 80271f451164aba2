"""The effective configuration for people and programs to read, without secrets."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from proxy.config.load import Loaded
from proxy.config.problems import redact
from proxy.config.schema import GROUPS, Config, sections

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHORT_ESCAPES: Final = {'"': '\\"', "\\": "\\\\"}

Plain = str | int | float | bool | list[str]
"""What a value is outside the house."""


def _plain(value: object) -> Plain:
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, tuple):
        return [redact(str(item)) for item in value]
    return redact(str(value))


def to_plain(config: Config) -> dict[str, dict[str, Plain]]:
    """The configuration as plain tables, addresses and rates as operators write them."""
    tables: dict[str, dict[str, Plain]] = {}
    fixed = sections(config)
    for table in msgspec.structs.fields(config):
        if table.name == GROUPS:
            tables[GROUPS] = {name: _plain(members) for name, members in config.groups.items()}
            continue
        section = fixed[table.name]
        fields = msgspec.structs.fields(section)
        tables[table.name] = {field.name: _plain(getattr(section, field.name)) for field in fields}
    return tables


def to_toml(loaded: Loaded) -> str:
    """The configuration as TOML that can be loaded again; a comment tells where each value came from."""
    parts: list[str] = []
    for table, values in to_plain(loaded.config).items():
        parts.append(_table(table, values, loaded.origins))
    return "\n".join(parts)


def _table(table: str, values: Mapping[str, Plain], origins: Mapping[str, str]) -> str:
    lines = [f"[{table}]"]
    for name, value in values.items():
        key = name if _BARE_KEY.fullmatch(name) else _quoted(name)
        lines.append(f"{key} = {_literal(value)}  # {origins[f'{table}.{name}']}")
    return "\n".join(lines) + "\n"


def _literal(value: Plain) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(_quoted(item) for item in value)}]"
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    """A TOML basic string; every accepted text is printable, so only quote and backslash need care.

    Source: TOML 1.0.0, String.
    """
    return f'"{"".join(_SHORT_ESCAPES.get(char, char) for char in text)}"'
