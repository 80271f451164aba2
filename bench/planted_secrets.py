"""Secrets that are planted in calls, and the search for them in whatever is written.

A secret is looked for as it is and in the forms in which it might have been written down: percent-encoded, in hex, in
base64 at any offset, escaped, and its two ends, as a text that was cut short still tells too much.
"""

import base64
import random
import string
import urllib.parse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

END_CHARS: Final = 14
"""Length of an end that is looked for. Source: ours; of random letters 80 bits, so that it is nowhere by chance."""

SHOWN: Final = 10
"""Hits that are kept to be told."""

_ODD: Final = "%+&=\"'\\<ü"
"""Characters that are written in several ways."""


def made_up(chance: random.Random, label: str, *, is_plain: bool = True) -> str:
    """A secret that occurs nowhere else; one that is not plain holds characters which are written in several ways."""
    letters = string.ascii_letters + string.digits
    ends = ["".join(chance.choices(letters, k=END_CHARS + 4)) for _ in range(2)]
    return f"{ends[0]}-{label}-{ends[1]}" if is_plain else f"{ends[0]}{_ODD}{label}{ends[1]}"


def forms_of(secret: str) -> frozenset[str]:
    """How a secret may have been written down."""
    raw = secret.encode()
    aligned = {base64.b64encode(raw[offset : offset + (len(raw) - offset) // 3 * 3]).decode() for offset in range(3)}
    return frozenset(
        {
            secret,
            secret[:END_CHARS],
            secret[-END_CHARS:],
            urllib.parse.quote(secret, safe=""),
            urllib.parse.quote_plus(secret),
            raw.hex(),
            *aligned,
            *(each.replace("+", "-").replace("/", "_") for each in aligned),
            repr(secret)[1:-1],
            secret.encode("ascii", "backslashreplace").decode("ascii"),
        }
    )


@dataclass(slots=True)
class Search:
    """Looks for secrets in texts, and counts what it has seen."""

    secrets: Mapping[str, str]
    """By what they are."""
    texts: Counter[str] = field(default_factory=Counter)
    """Texts by the place they were found in."""
    size_chars: int = 0
    hits: list[tuple[str, str, str]] = field(default_factory=list)
    """Secret, place, and where in its text it stands; ten at most."""
    found: int = 0
    _forms: list[tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        self._forms = [(name, form) for name, secret in self.secrets.items() for form in forms_of(secret)]

    def also(self, secrets: Mapping[str, str]) -> "Search":
        """A search for some more, which has seen nothing yet."""
        return Search({**self.secrets, **secrets})

    def add(self, other: "Search") -> None:
        """Take over what another one has seen."""
        self.texts.update(other.texts)
        self.size_chars += other.size_chars
        self.found += other.found
        self.hits = [*self.hits, *other.hits][:SHOWN]

    def look(self, place: str, text: str) -> None:
        """Look into one text."""
        self.texts[place] += 1
        self.size_chars += len(text)
        told = {name: text.find(form) for name, form in self._forms if form in text}
        self.found += len(told)
        for name, at in told.items():
            if len(self.hits) < SHOWN:
                self.hits.append((name, place, text[max(0, at - 80) : at + 20]))


@dataclass(slots=True)
class SearchedLog:
    """A stream of log lines that are looked into as they come, and not kept."""

    search: Search
    lines: int = 0
    _begun: str = ""

    def write(self, text: str) -> int:
        """Take a piece of the stream."""
        whole, end, rest = (self._begun + text).rpartition("\n")
        self._begun = rest
        if end:
            self.lines += whole.count("\n") + 1
            self.search.look("log", whole)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back but a line that has not ended."""

    def isatty(self) -> bool:
        """It is no terminal."""
        return False
