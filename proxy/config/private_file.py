"""A file of secrets, which nobody else may read."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.config.problems import ConfigError, Problem, escape_whole

_TOO_OPEN: Final = ~(stat.S_IRUSR | stat.S_IWUSR)


@dataclass(frozen=True, slots=True)
class PrivateText:
    """What stands in such a file, how it is named in messages, and what is wrong with its mode."""

    content: str
    name: str
    problems: Sequence[Problem]


def read_private_text(path: Path, *, key: str, most_bytes: int) -> PrivateText:
    """Read such a file; its mode must be 0600 (or 0400, which is stricter). `key` is the one that names it.

    Raises:
        ConfigError: it cannot be read, or is too long.
    """
    name = escape_whole(str(path))
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = stream.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError([Problem(key=key, source=name, expected="a readable file", got=reason)]) from error
    if len(content) > most_bytes:
        raise ConfigError([Problem(key=key, source=name, expected=f"at most {most_bytes} bytes", got="more")])
    problems = []
    if mode & _TOO_OPEN:
        hint = "nobody else may read it: chmod 600"
        problems.append(Problem(key=key, source=name, expected="file mode 0600", got=f"{mode:04o}", hint=hint))
    return PrivateText(content.decode("utf-8", "replace"), name, problems)
