"""The file of operator and viewer tokens: one `ROLE TOKEN` per line.

Blank lines and lines that begin with `#` are skipped. No message ever shows a token or a part of one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from proxy.config.private_file import read_private_text
from proxy.config.problems import ConfigError, Problem
from proxy.core.secret import Secret

MIN_TOKEN_CHARS: Final = 16
"""Source: ours; 16 random characters of base64 are 96 bits."""

MAX_TOKEN_FILE_BYTES: Final = 64 * 1024
"""Source: ours; each admin call is compared with every token."""

_KEY: Final = "admin.token_file"
_TOKEN: Final = re.compile(r"[!-~]+")


class Role(StrEnum):
    """What the holder of a token may do: look, or look and change."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Token:
    """One credential of the admin port."""

    role: Role
    secret: Secret


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Read and check a token file; its mode must be 0600 (or 0400, which is stricter).

    Raises:
        ConfigError: with every problem of the file.
    """
    text = read_private_text(path, key=_KEY, most_bytes=MAX_TOKEN_FILE_BYTES)
    name = text.name
    lines = _Lines(name)
    tokens = tuple(lines.read(text.content))
    problems = [*text.problems, *lines.problems]
    if not tokens and not problems:
        hint = "write a line such as: operator TOKEN"
        problems.append(Problem(key=_KEY, source=name, expected="at least one token", got="none", hint=hint))
    if problems:
        raise ConfigError(problems)
    return tokens


class _Lines:
    """Reads line after line, keeping problems aside."""

    __slots__ = ("_name", "_seen", "problems")

    def __init__(self, name: str) -> None:
        self.problems: list[Problem] = []
        self._name = name
        self._seen: dict[str, int] = {}

    def read(self, text: str) -> Iterator[Token]:
        for number, line in enumerate(text.split("\n"), start=1):
            words = line.split()
            if words and not words[0].startswith("#"):
                yield from self._one(number, words)

    def _one(self, number: int, words: list[str]) -> Iterator[Token]:
        if len(words) != 2:
            self._problem(number, "ROLE TOKEN", f"{len(words)} words")
            return
        role, token = words
        before = len(self.problems)
        if role not in tuple(Role):
            self._problem(number, "the role viewer or operator", "another word", "the role comes first")
        if len(token) < MIN_TOKEN_CHARS:
            self._problem(number, f"a token of at least {MIN_TOKEN_CHARS} characters", f"{len(token)}")
        elif _TOKEN.fullmatch(token) is None:
            self._problem(number, "a token of visible ASCII characters", "others")
        elif token in self._seen:
            self._problem(number, "each token once", f"the token of line {self._seen[token]} again")
        self._seen.setdefault(token, number)
        if len(self.problems) == before:
            yield Token(Role(role), Secret(token))

    def _problem(self, number: int, expected: str, got: str, hint: str = "") -> None:
        source = f"{self._name}:{number}"
        self.problems.append(Problem(key=_KEY, source=source, line=number, expected=expected, got=got, hint=hint))
