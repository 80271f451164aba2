"""The text of a key file: one key a line, `AGENT KEY-ID STATE CREATED SECRET`.

    agent_17 k3f2a9c0d1e4b5a67 active 2026-11-23T06:52:00Z c2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXMtb3ItbW8=
    agent_17 k0a81b7c6d5e4f392 revoked 2026-08-01T09:00:00Z -

AGENT is spelled as in X-Agent-Id, STATE is one of `active`, `retiring`, `revoked`, CREATED is UTC to the second,
SECRET is 32 to 128 bytes in base64, or `-` where the key is revoked. Blank lines and lines that begin with `#` are
skipped. The same text may stand in the environment. That nobody else can read the file is checked where it is read.
No problem that is told of it shows a secret or a part of one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from proxy.core.errors import InvalidInput
from proxy.core.key_ring import KEY_BYTES, MAX_KEY_BYTES, MAX_KEYS, Key, KeyRing, KeyState, is_key_text
from proxy.core.secret import Secret
from proxy.core.signature_fields import KEY_ID, read_agent

MAX_KEY_FILE_BYTES: Final = 4 * 1024 * 1024
"""Longest text that is read. Source: ours; 10,000 keys of agents with long names."""

MAX_PROBLEMS: Final = 20
"""Problems that are told of one text. Source: ours; one screen."""

_HEAD: Final = "# Keys by which agents sign: AGENT KEY-ID STATE CREATED SECRET. Mode 0600; see `elicit-sidecar keys`.\n"
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_NOTHING: Final = "-"


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """Why a text is no key file."""

    line: int
    """The line it is about, from 1; 0 for the text as a whole."""
    expected: str
    got: str


def parse_keys(text: str) -> KeyRing | tuple[KeyProblem, ...]:
    """The ring that a key file describes, or its problems, 20 at most; a text without a key is an empty ring."""
    if len(text) > MAX_KEY_FILE_BYTES:
        return (KeyProblem(0, f"at most {MAX_KEY_FILE_BYTES} bytes", "more"),)
    keys: list[Key] = []
    problems: list[KeyProblem] = []
    for number, words in _lines(text):
        found = _parse_line(number, words)
        if isinstance(found, Key):
            keys.append(found)
        else:
            problems.append(found)
        if len(keys) > MAX_KEYS or len(problems) == MAX_PROBLEMS:
            break
    if problems:
        return tuple(problems)
    try:
        return KeyRing(keys)
    except InvalidInput as error:
        return (KeyProblem(0, "keys that fit together", error.detail),)


def write_keys(ring: KeyRing) -> str:
    """The text that `parse_keys` reads as this ring. It holds the secrets."""
    return _HEAD + "".join(_write_line(key) for key in ring.keys)


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield number, words


def _parse_line(number: int, words: list[str]) -> Key | KeyProblem:
    if len(words) != 5:
        return KeyProblem(number, "AGENT KEY-ID STATE CREATED SECRET", f"{len(words)} words")
    name, key_id, state, created, written = words
    agent_id = read_agent(name.encode("utf-8", "surrogatepass"))
    if agent_id is None:
        return KeyProblem(number, "the name of an agent as X-Agent-Id spells it", "another word")
    created_at = _read_date(created)
    if created_at is None:
        return KeyProblem(number, "a date such as 2026-11-23T06:52:00Z", "another word")
    wrong = _expected_instead(key_id, state, written)
    if wrong is not None:
        return KeyProblem(number, wrong, "another word")
    secret = None if written == _NOTHING else Secret(written)
    return Key(key_id=key_id, agent_id=agent_id, state=KeyState(state), created_at=created_at, secret=secret)


def _expected_instead(key_id: str, state: str, written: str) -> str | None:
    if KEY_ID.fullmatch(key_id) is None:
        return "a key id of 1 to 64 letters, digits, dots, hyphens and underscores"
    if state not in tuple(KeyState):
        return "the state active, retiring or revoked"
    if state == KeyState.REVOKED:
        return None if written == _NOTHING else "- in place of the secret of a revoked key"
    is_key = is_key_text(Secret(written))
    return None if is_key else f"a secret of {KEY_BYTES} to {MAX_KEY_BYTES} bytes in base64"


def _write_line(key: Key) -> str:
    created = datetime.fromtimestamp(key.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    written = _NOTHING if key.secret is None else key.secret.reveal()
    return f"{key.agent_field.decode('ascii')} {key.key_id} {key.state} {created} {written}\n"


def _read_date(text: str) -> int | None:
    if _DATE.fullmatch(text) is None:
        return None
    try:
        seconds = int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        return None
    return seconds if seconds >= 0 else None
