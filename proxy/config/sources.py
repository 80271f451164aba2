"""The three places settings come from: the file, the environment, the command line.

Each gatherer returns what it found under known keys, and a problem for everything else; values are judged
later (`load.py`).
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from proxy.config.lines import Path2, index_lines, line_of
from proxy.config.problems import MAX_PROBLEMS, Problem, escape, escape_whole, show
from proxy.config.schema import ENVIRONMENT_PREFIX, GROUPS, KEYS, SECTION_NAMES, Key, group_key

MAX_FILE_BYTES: Final = 1024 * 1024
"""Largest configuration file. Source: ours; thirty thousand agent ids still fit."""

_SYNTAX_PLACE: Final = re.compile(r" \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)$")
_GROUP_VARIABLE: Final = f"{ENVIRONMENT_PREFIX}{GROUPS}_".upper()
_BY_PATH: Final = tuple((key.path, key) for key in KEYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value for one key, with the place it came from."""

    key: Key
    value: object
    origin: str
    """`file:12`, `environment X` or `command line`."""
    source: str
    """The same for messages: `config.toml:12`."""
    line: int = 0
    is_text: bool = False
    """Whether the value is text from outside TOML, to be read by the rule of its key."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What one place gave."""

    settings: list[Setting] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def find_key(path: str) -> Key | None:
    """The key of a dotted path, or None; a group's name may hold dots of its own."""
    section, dot, name = path.partition(".")
    if section == GROUPS:
        return group_key(name) if dot else None
    return dict(_BY_PATH).get(path)


def _nearest(wanted: str, known: Sequence[str]) -> str:
    return difflib.get_close_matches(wanted[:100].lower(), known, n=1, cutoff=0.0)[0]


def _nearest_key(section: str, name: str) -> str:
    """The known key that was most likely meant; the same name in another section wins."""
    namesakes = [key.path for key in KEYS if key.name == name]
    if namesakes:
        return _nearest(f"{section}.{name}", namesakes)
    siblings = [key.name for key in KEYS if key.section == section]
    close = difflib.get_close_matches(name[:100].lower(), siblings, n=1)
    if close:
        return f"{section}.{close[0]}"
    return _nearest(f"{section}.{name}", [path for path, _ in _BY_PATH])


def gather_file(path: Path) -> Gathered:
    """Read the file; what stops the reading is one problem, what is unknown in it is one problem each."""
    name = escape_whole(str(path))
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _unusable(name, "a readable file", reason)
    if len(content) > MAX_FILE_BYTES:
        return _unusable(name, f"at most {MAX_FILE_BYTES} bytes", "more")
    return parse_document(name, content)


def _unusable(name: str, expected: str, got: str, hint: str = "") -> Gathered:
    return Gathered(problems=[Problem(key="", source=name, expected=expected, got=got, hint=hint)])


def parse_document(name: str, content: bytes) -> Gathered:
    """Gather the settings of a TOML document; `name` stands for it in messages."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem(
            key="",
            source=f"{name}:{line}",
            line=line,
            expected="UTF-8 text",
            got=f"byte 0x{content[error.start]:02x} at offset {error.start}",
        )
        return Gathered(problems=[problem])
    if text.startswith("\ufeff"):
        return _unusable(name, "UTF-8 text without byte order mark", "a byte order mark at the start")
    try:
        document = tomllib.loads(text)
        lines = index_lines(text)
    except tomllib.TOMLDecodeError as error:
        return Gathered(problems=[_syntax_problem(name, text, str(error))])
    except RecursionError:
        return _unusable(name, "brackets nested a few levels deep", "far too many levels")
    except ValueError:
        # CPython refuses to read decimal numbers of more than 4300 digits.
        return _unusable(name, "numbers of a sensible length", "a number with thousands of digits")
    return _Document(name, lines).gather(document)


def _syntax_problem(name: str, text: str, message: str) -> Problem:
    match = _SYNTAX_PLACE.search(message)
    if match is not None and match[1]:
        line, column = int(match[1]), int(match[2])
    else:
        line, column = text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1
    what = message if match is None else message[: match.start()]
    return Problem(
        key="",
        source=f"{name}:{line}:{column}",
        line=line,
        column=column,
        expected="valid TOML",
        got=f"an error: {escape(what)}",
    )


@dataclass(frozen=True, slots=True)
class _Document:
    """Sorts a parsed document into settings and problems."""

    name: str
    lines: Mapping[Path2, int]
    gathered: Gathered = field(default_factory=Gathered)

    def gather(self, document: Mapping[str, object]) -> Gathered:
        for section, content in document.items():
            if section not in SECTION_NAMES:
                self._unknown_section(section, content)
            elif isinstance(content, dict):
                for name, value in content.items():
                    self._take(section, name, value)
            else:
                hint = f"write [{section}] on its own line and its keys below"
                self._problem(section, "", expected="a table", got=show(content), hint=hint)
        return self.gathered

    def _take(self, section: str, name: str, value: object) -> None:
        key = find_key(f"{section}.{name}")
        if key is None:
            hint = "" if self._is_full else f"did you mean {_nearest_key(section, name)}?"
            self._problem(section, name, expected="a known key", got="an unknown one", hint=hint)
            return
        line = line_of(self.lines, section, name)
        setting = Setting(key=key, value=value, origin=f"file:{line}", source=f"{self.name}:{line}", line=line)
        self.gathered.settings.append(setting)

    def _unknown_section(self, section: str, content: object) -> None:
        hint = ""
        if not self._is_full and isinstance(content, dict):
            hint = f"did you mean [{_nearest(section, SECTION_NAMES)}]?"
        elif not self._is_full:
            hint = f"did you mean {_nearest_key('', section)}?"
        expected = "a known table" if isinstance(content, dict) else "a known key in a table"
        self._problem(section, "", expected=expected, got="an unknown one", hint=hint)

    @property
    def _is_full(self) -> bool:
        # Looking for the nearest key costs a millisecond; a file of a hundred thousand wrong keys must not.
        return len(self.gathered.problems) >= MAX_PROBLEMS

    def _problem(self, section: str, name: str, *, expected: str, got: str, hint: str) -> None:
        line = line_of(self.lines, section, name) if name else line_of(self.lines, section)
        problem = Problem(
            key=escape(f"{section}.{name}" if name else section),
            source=f"{self.name}:{line}",
            line=line,
            expected=expected,
            got=got,
            hint=hint,
        )
        self.gathered.problems.append(problem)


def gather_environment(env: Mapping[str, str]) -> Gathered:
    """Take every variable that begins with our prefix; group names are lower case here."""
    found = Gathered()
    by_variable = {key.variable: key for key in KEYS}
    for variable in sorted(name for name in env if name.startswith(ENVIRONMENT_PREFIX)):
        source = f"environment {escape_whole(variable)}"
        key = by_variable.get(variable)
        if key is None and len(variable) > len(_GROUP_VARIABLE) and variable.startswith(_GROUP_VARIABLE):
            key = group_key(variable.removeprefix(_GROUP_VARIABLE).lower())
        if key is None:
            found.problems.append(_unknown_variable(variable, source, tuple(by_variable)))
        else:
            found.settings.append(Setting(key=key, value=env[variable], origin=source, source=source, is_text=True))
    return found


def _unknown_variable(variable: str, source: str, known: Sequence[str]) -> Problem:
    wanted = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
    names = [name.removeprefix(ENVIRONMENT_PREFIX).lower() for name in known]
    nearest = ENVIRONMENT_PREFIX + _nearest(wanted, names).upper()
    return Problem(
        key=escape_whole(variable),
        source=source,
        expected="a variable that names a key",
        got="an unknown one",
        hint=f"did you mean {nearest}?",
    )


def gather_overrides(overrides: Mapping[str, str]) -> Gathered:
    """Take dotted keys with text values, as flags and `--set` give them."""
    found = Gathered()
    for path, value in overrides.items():
        key = find_key(path)
        if key is not None:
            found.settings.append(
                Setting(key=key, value=value, origin="command line", source="command line", is_text=True)
            )
            continue
        section, _, name = path.partition(".")
        nearest = _nearest_key(section, name) if name else _nearest_key("", section)
        problem = Problem(
            key=escape(path),
            source="command line",
            expected="a known key",
            got="an unknown one",
            hint=f"did you mean {nearest}?",
        )
        found.problems.append(problem)
    return found
