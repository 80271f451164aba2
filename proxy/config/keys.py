"""The keys by which agents sign, from their file or the environment; see `proxy.core.key_file` for the lines.

No message ever shows a secret or a part of one.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from proxy.config.private_file import read_private_text
from proxy.config.problems import ConfigError, Problem, escape_whole, show
from proxy.config.schema import Config
from proxy.core.ids import AgentId
from proxy.core.key_file import MAX_KEY_FILE_BYTES, parse_keys
from proxy.core.key_ring import KeyRing, KeyState

_KEY: Final = "signatures.keys_file"
_VARIABLE: Final = "env:"


def read_key_ring(config: Config) -> KeyRing:
    """The keys of the configured file; none where there is no such file. Reads the file: not on the event loop.

    Raises:
        ConfigError: with every problem of the file, or it has no key for what has to be signed.
    """
    rules = config.signatures
    if not rules.keys_file:
        return KeyRing()
    variable = variable_of(rules.keys_file)
    ring = read_keys(Path(rules.keys_file)) if variable is None else _read_variable(variable)
    if rules.sign and not _can_sign(ring, config.agent.id):
        whose = f"agent {show(config.agent.id)}" if config.agent.id else "the agents that call"
        raise ConfigError(
            [
                Problem(
                    key=_KEY,
                    source=escape_whole(rules.keys_file),
                    expected=f"an active key of {whose}, as signatures.sign is true",
                    got="none",
                    hint="make one with `elicit-sidecar keys new AGENT`",
                )
            ]
        )
    return ring


def variable_of(keys_file: str) -> str | None:
    """The environment variable that holds the keys, where `env:NAME` stands in place of a path."""
    return keys_file.removeprefix(_VARIABLE) if keys_file.startswith(_VARIABLE) else None


def _read_variable(name: str) -> KeyRing:
    source = f"environment {escape_whole(name)}"
    content = os.environ.get(name)
    if content is None:
        raise ConfigError(
            [Problem(key=_KEY, source=source, expected="a variable with the lines of a key file", got="none")]
        )
    return _ring(content, source, ())


def _can_sign(ring: KeyRing, agent_id: str) -> bool:
    if agent_id:
        return ring.signer_of(AgentId(agent_id)) is not None
    return any(key.state is KeyState.ACTIVE for key in ring.keys)


def read_keys(path: Path) -> KeyRing:
    """Read and check a key file; its mode must be 0600 (or 0400, which is stricter).

    Raises:
        ConfigError: with every problem of the file.
    """
    text = read_private_text(path, key=_KEY, most_bytes=MAX_KEY_FILE_BYTES)
    return _ring(text.content, text.name, text.problems)


def _ring(content: str, name: str, found: Sequence[Problem]) -> KeyRing:
    ring = parse_keys(content)
    problems = list(found)
    if not isinstance(ring, KeyRing):
        problems += [
            Problem(key=_KEY, source=f"{name}:{each.line}", line=each.line, expected=each.expected, got=each.got)
            for each in ring
        ]
    if problems or not isinstance(ring, KeyRing):
        raise ConfigError(problems)
    return ring
