"""On which line of a TOML file each key stands.

`tomllib` gives values without places, so this scanner walks the same text again. It expects a text that
`tomllib` has accepted and only looks for keys, never at values; line numbers count from 1.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Final

Path2 = tuple[str, ...]
"""The first one or two parts of a dotted key: the section, and the key in it."""

_TOKEN: Final = re.compile(
    r'''
      """(?:\\.|[^\\])*?"{3,5}      # multi-line text, which may end with two quotes of its own
    | \'\'\'.*?'{3,5}
    | "(?:\\.|[^"\\\n])*"
    | '[^'\n]*'
    | \#[^\n]*
    | [\[\]{}=\n]
    | [^"'\#\[\]{}=\n]+
    | .
    ''',
    re.VERBOSE | re.DOTALL,
)
_BARE: Final = re.compile(r"[A-Za-z0-9_\-. \t]+")
_OPENING: Final = frozenset("[{")
_CLOSING: Final = frozenset("]}")


def _key_path(text: str) -> Path2:
    if _BARE.fullmatch(text):
        return tuple(part.strip() for part in text.split("."))
    # Quoted parts may hold dots, escapes and equal signs; the parser itself knows best.
    node: object = tomllib.loads(f"{text} = 0")
    parts: list[str] = []
    while isinstance(node, dict):
        ((part, node),) = node.items()
        parts.append(part)
    return tuple(parts)


class _Scanner:
    """Takes token after token and remembers where keys begin."""

    __slots__ = ("_depth", "_in_value", "_key", "_line", "_start", "_table", "found")

    def __init__(self) -> None:
        self.found: dict[Path2, int] = {}
        self._table: Path2 = ()
        self._key = ""
        self._start = 0
        self._line = 1
        self._in_value = False
        self._depth = 0

    def take(self, piece: str) -> None:
        if self._in_value:
            self._take_value(piece)
        else:
            self._take_key(piece)
        self._line += piece.count("\n")

    def _take_value(self, piece: str) -> None:
        if piece in _OPENING:
            self._depth += 1
        elif piece in _CLOSING:
            self._depth -= 1
        elif piece == "\n" and self._depth == 0:
            self._in_value = False

    def _take_key(self, piece: str) -> None:
        if piece == "=":
            self._note((*self._table, *_key_path(self._key.strip())))
            self._key = ""
            self._in_value = True
        elif piece == "\n":
            self.end_header()
        elif not piece.startswith("#"):
            if not self._key.strip():
                self._start = self._line
            self._key += piece

    def end_header(self) -> None:
        """Close the line of a table header, if this was one."""
        header, self._key = self._key.strip(), ""
        if header:
            brackets = 2 if header.startswith("[[") else 1
            self._table = _key_path(header[brackets:-brackets].strip())
            self._note(self._table)

    def _note(self, path: Path2) -> None:
        # The first mention counts; a section that exists only through dotted keys begins with the first of them.
        self.found.setdefault(path[:1], self._start)
        self.found.setdefault(path[:2], self._start)


def index_lines(text: str) -> Mapping[Path2, int]:
    """Line of every section and every key in it, for a text that `tomllib` accepts."""
    scanner = _Scanner()
    for match in _TOKEN.finditer(text):
        scanner.take(match.group())
    scanner.end_header()
    return scanner.found


def line_of(lines: Mapping[Path2, int], *path: str) -> int:
    """Line of a key; keys of an inline table get the line of the table. 0 if nothing is known."""
    return lines.get(path[:2]) or lines.get(path[:1], 0)
