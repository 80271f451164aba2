"""From file, environment and command line to one frozen value, or to everything that is wrong with them.

The command line wins over the environment, the environment over the file, the file over the default.
A value that is overruled is still judged: a wrong line in the file is a mistake even while a flag hides it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from msgspec.structs import replace

from proxy.config.cross import Clash, find_clashes
from proxy.config.problems import ConfigError, Problem, Unfit, escape, show
from proxy.config.schema import GROUPS, KEYS, Config, sections
from proxy.config.shapes import parse_agent_name
from proxy.config.sources import Gathered, Setting, gather_environment, gather_file, gather_overrides


@dataclass(frozen=True, slots=True)
class Loaded:
    """The effective configuration and where each of its values came from."""

    config: Config
    origins: Mapping[str, str]
    """Dotted key to `default`, `file:12`, `environment X` or `command line`."""


def parse_overrides(settings: Iterable[str]) -> dict[str, str]:
    """Read `KEY=VALUE` words as `--set` takes them; of two for the same key the last counts.

    Raises:
        ConfigError: a word without an equal sign or without a key.
    """
    overrides: dict[str, str] = {}
    problems: list[Problem] = []
    for word in settings:
        key, equals, value = word.partition("=")
        if equals and key.strip():
            overrides[key.strip()] = value
        else:
            # The word is not shown: without its equal sign nobody knows whether it is a secret.
            problems.append(
                Problem(key="--set", source="command line", expected="KEY=VALUE", got="a word without key or '='")
            )
    if problems:
        raise ConfigError(problems)
    return overrides


def load_config(path: Path | None, *, env: Mapping[str, str], overrides: Mapping[str, str]) -> Loaded:
    """Read the configuration; without a path only defaults, environment and command line count.

    `overrides` maps dotted keys (`bridge.url`) to text values; both mappings are read once, here.

    Raises:
        ConfigError: with every problem found.
    """
    gathered = [gather_environment(env), gather_overrides(overrides)]
    if path is not None:
        gathered.insert(0, gather_file(path))
    return build(gathered)


def build(gathered: Iterable[Gathered]) -> Loaded:
    """Judge what was gathered, later over earlier.

    Raises:
        ConfigError: with every problem found.
    """
    draft = _Draft()
    for part in gathered:
        draft.problems.extend(part.problems)
        for setting in part.settings:
            draft.take(setting)
    config = draft.config()
    # A clash with a value that could not be read, or with a file that could not, would be a guess.
    unread = frozenset(problem.key for problem in draft.problems)
    if "" not in unread:
        clashes = (clash for clash in find_clashes(config) if unread.isdisjoint(clash.keys))
        draft.problems.extend([draft.blame(clash) for clash in clashes])
    if draft.problems:
        # Problems of the file in the order of its lines, then the others as they came.
        raise ConfigError(sorted(draft.problems, key=lambda problem: (problem.line == 0, problem.line)))
    return Loaded(config=config, origins=draft.origins())


@dataclass(frozen=True, slots=True)
class _Draft:
    """Values that passed, by section and name, with the setting each came from."""

    values: dict[str, dict[str, object]] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def take(self, setting: Setting) -> None:
        """Judge one setting; keep its value or note the problem."""
        key = setting.key
        try:
            if key.section == GROUPS:
                self.groups[_group_name(key.name)] = _names(_judge(setting))
            else:
                self.values.setdefault(key.section, {})[key.name] = _judge(setting)
            self.settings[key.path] = setting
        except Unfit as error:
            got = error.got or show(setting.value)
            problem = Problem(
                key=escape(key.path),
                source=setting.source,
                line=setting.line,
                expected=key.rule.expected,
                got=got,
                hint=error.hint,
            )
            self.problems.append(problem)

    def config(self) -> Config:
        """The defaults with every kept value in its place."""
        default = Config()
        changed: dict[str, object] = {
            name: replace(section, **self.values[name])
            for name, section in sections(default).items()
            if name in self.values
        }
        return replace(default, groups=MappingProxyType(self.groups), **changed)

    def origins(self) -> Mapping[str, str]:
        """Where each value came from, in the order of the schema, groups last."""
        found = dict.fromkeys((key.path for key in KEYS), "default")
        found.update((path, setting.origin) for path, setting in self.settings.items())
        return MappingProxyType(found)

    def blame(self, clash: Clash) -> Problem:
        """Turn a clash into a problem at the key that somebody wrote."""
        first, second = clash.keys
        key = second if first not in self.settings and second in self.settings else first
        setting = self.settings.get(key)
        return Problem(
            key=key,
            source=setting.source if setting else "default",
            line=setting.line if setting else 0,
            expected=clash.expected,
            got=clash.got,
            hint=clash.hint,
        )


def _judge(setting: Setting) -> object:
    rule = setting.key.rule
    return rule.from_text(str(setting.value)) if setting.is_text else rule.from_value(setting.value)


def _group_name(name: str) -> str:
    try:
        return parse_agent_name(name)
    except Unfit as error:
        raise Unfit(error.hint, got=f"the name {show(name)}") from error


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, tuple) else ()
