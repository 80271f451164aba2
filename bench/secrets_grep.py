"""Plants secrets in calls of all kinds, and looks for them in 100,000 log lines and in all that is told or kept.

The sidecar enforces identities, signatures and limits, and logs from debug on. Tokens, keys and contents are looked
for in the log, the documents of the admin port, the metrics and the state file; tokens and keys in the bodies of
errors, too. Exit code 1 where one is found.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast
from typing import TextIO as Text

import uvloop

from bench.facts import describe, facts, write_result
from bench.planted_secrets import Search, SearchedLog
from bench.secrets_load import Load, contents_of, credentials_of, look_into_files
from proxy.observe.logs import configure
from tests.support.fort import AGENTS, fort, key_of
from tests.support.house import OPERATOR, VIEWER

NAME: Final = "secrets_grep"

LIFE_LINES: Final = 5_000
"""Log lines of one life of the sidecar; then it starts anew, over the same state file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    lines: int
    seed: int
    json: Path | None


def main() -> int:
    """Plant and look; the exit code."""
    given = _arguments()
    known = facts()
    print(f"secrets: {given.lines} log lines under load, seed {given.seed}", flush=True)
    print(describe(known), flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="elicit-secrets-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        public, replies, log, calls = runner.run(look(given.lines, given.seed, Path(folder)))
    found = public.found + replies.found
    print(
        f"{calls} calls, {log.lines} log lines, "
        f"{sum(replies.texts.values())} error bodies of {len(replies.texts)} kinds, "
        f"{sum(public.texts.values())} other texts, {(public.size_chars + replies.size_chars) / 2**20:.0f} MiB in all; "
        f"{len(public.secrets)} secrets: {found} found"
    )
    for name, place, text in (*public.hits, *replies.hits):
        print(f"FAILED: the {name} stands in {place}: {text!r}", file=sys.stderr)
    result: dict[str, object] = {
        "seed": given.seed,
        "is_clean": not found,
        "calls": calls,
        "lines": log.lines,
        "secrets": sorted(public.secrets),
        "texts": dict(public.texts),
        "error_bodies": dict(replies.texts),
        "hits": [(name, place) for name, place, _ in (*public.hits, *replies.hits)],
    }
    print(f"all figures: {write_result(NAME, known, result, given.json)}")
    return 1 if found else 0


def _arguments() -> _Given:
    parser = argparse.ArgumentParser(description="Planted secrets, looked for in everything that is written.")
    parser.add_argument("--lines", type=int, default=100_000, help="log lines that are looked into (100000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the calls (1)")
    parser.add_argument("--json", type=Path, help="where the result goes (bench/results/NAME-TIME.json)")
    given = parser.parse_args()
    if given.lines < 1:
        parser.error("expected at least 1 line")
    return _Given(lines=given.lines, seed=given.seed, json=given.json)


async def look(lines: int, seed: int, folder: Path) -> tuple[Search, Search, SearchedLog, int]:
    """Play calls until there are so many log lines.

    Returns what was searched for everything, what was searched for credentials, the log, and the number of calls.
    """
    chance = random.Random(seed)  # noqa: S311 - a run has to be repeatable
    contents, shown = contents_of(chance), credentials_of(chance)
    keys = {f"key of {agent}": key.secret.reveal() for agent in AGENTS if (key := key_of(agent)).secret is not None}
    credentials = {**shown, **keys, "operator token": OPERATOR, "viewer token": VIEWER}
    public, replies = Search({**credentials, **contents}), Search(credentials)
    log = SearchedLog(public)
    configure("debug", "json", cast("Text", log))
    logging.getLogger("aiohttp").setLevel(logging.DEBUG)
    calls = 0
    overrides = {"state.url": f"sqlite://{folder}/state.db", "limits.questions": "60/min+30"}
    while log.lines < lines:
        end = min(lines, log.lines + LIFE_LINES)
        async with fort(folder, overrides) as made:
            tokens = {f"token of {agent}": token for agent, token in made.tokens.items()}
            load = Load(made, chance, shown, contents, replies.also(tokens), public.also(tokens))
            log.search = load.public
            while log.lines < end:
                await load.play()
            calls += load.calls
            public.add(load.public)
            replies.add(load.replies)
        await asyncio.to_thread(look_into_files, public, folder)
        print(f"  {log.lines} lines, {calls} calls, {public.found + replies.found} found", flush=True)
    return public, replies, log, calls


if __name__ == "__main__":
    sys.exit(main())
