"""What can be wrong with a configuration, and how a value is shown without its secrets.

Rule of this file: nothing that came from outside is printed before it went through `show` or `escape`,
which clip it, escape control characters and blank out passwords.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_PROBLEMS: Final = 100
"""Problems reported at once. Source: ours; more than a screen helps nobody, and the work stays bounded."""

_MAX_SHOWN_CHARS: Final = 60
_MAX_SHOWN_BITS: Final = 200
_CREDENTIALS: Final = re.compile(r":(//)?.*@", re.DOTALL)
_SECRET_QUERY: Final = re.compile(r"([?&;][^=&;]*(?:pass|pwd|secret|token|key)[^=&;]*=)[^&;]*", re.IGNORECASE)
_USER_INFO: Final = re.compile(r"(://)[^/?#\s]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that stops the start.

    `line` and `column` count from 1 in the file; 0 where the problem has no place in it.
    """

    key: str
    """Dotted path (`flags.salt`), or empty when the whole file is meant."""
    source: str
    """`config.toml:12`, `environment ELICIT_SIDECAR_...`, `command line` or `default`."""
    expected: str
    got: str
    hint: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        # The source of an unknown variable already ends with its name.
        is_named = not self.key or self.source.endswith(f" {self.key}")
        place = self.source if is_named else f"{self.source}: {self.key}"
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}: expected {self.expected}, got {self.got}{hint}"


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` holds everything that is wrong with it.

    It never reaches a peer, so it has no place in the table of `core/errors.py`.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        kept = tuple(problems)
        if len(kept) > MAX_PROBLEMS:
            left = len(kept) - MAX_PROBLEMS
            more = Problem(key="", source="and", expected="no more problems", got=f"{left} more not shown")
            kept = (*kept[:MAX_PROBLEMS], more)
        self.problems: tuple[Problem, ...] = kept
        super().__init__("\n".join(str(problem) for problem in kept))


class Unfit(Exception):
    """A value does not fit its key; `hint` says what to do, `got` replaces the whole value in the message."""

    def __init__(self, hint: str = "", *, got: str = "") -> None:
        super().__init__(hint)
        self.hint = hint
        self.got = got


def escape(text: str) -> str:
    """The text on one line and clipped at 60 characters, control characters escaped."""
    clipped = text if len(text) <= _MAX_SHOWN_CHARS else text[: _MAX_SHOWN_CHARS - 3] + "..."
    return escape_whole(clipped)


def escape_whole(text: str) -> str:
    """The text on one line, control characters escaped; for names that must stay recognisable, such as paths."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def show(value: object) -> str:
    """A refused TOML value in words that fit on a line, without any password it may hold."""
    if isinstance(value, str):
        bare = _SECRET_QUERY.sub(r"\1***", _CREDENTIALS.sub(r":\1***@", value))
        return f"'{escape(bare)}'"
    if isinstance(value, int | float):
        return _show_number(value)
    if isinstance(value, list):
        return f"a list of {len(value)}"
    # The only other values of TOML 1.0.0 are dates and times.
    return "a table" if isinstance(value, dict) else "a date or time"


def _show_number(value: float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > _MAX_SHOWN_BITS:
        # CPython refuses to print integers of more than 4300 digits, and nobody wants to read them.
        return f"a whole number of {value.bit_length()} bits"
    return str(value)


def redact(text: str) -> str:
    """An accepted value for display: the user information of a URL becomes `***`."""
    return _SECRET_QUERY.sub(r"\1***", _USER_INFO.sub(r"\1***@", text)) if "://" in text else text
