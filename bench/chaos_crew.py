"""A crew of a chaos run: a few agents in one process, which may be killed at any moment and begins again.

    python bench/chaos_crew.py FOLDER NAME

NAME.plan in FOLDER says who is in it and what they do. What they see and do goes to NAME.journal, how far they are to
NAME.progress, once a second. A file `stop` in FOLDER tells them to begin nothing more.
"""

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec
import orjson
import uvloop

from bench.chaos_agent import Agent, Part
from bench.chaos_past import Past, remember
from bench.chaos_records import AnyRecord, Journal, mend, read_records
from bench.http_client import Client, parse_address

TICK_S: Final = 0.5


class CrewPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Who is in a crew, and what they do."""

    agents: dict[str, str]
    """HOST:PORT of the sidecar of each agent."""
    part: Part


class Crew:
    """All agents of this process."""

    def __init__(self, folder: Path, name: str) -> None:
        self._stop = folder / "stop"
        self._progress = folder / f"{name}.progress"
        journal = folder / f"{name}.journal"
        mend(journal)
        self._counts: Counter[str] = Counter()
        pasts = remember(self._counted(record) for record in read_records(journal))
        self._journal = Journal(journal)
        plan = msgspec.json.decode((folder / f"{name}.plan").read_bytes(), type=CrewPlan)
        clients = {address: Client(parse_address(address)) for address in plan.agents.values()}
        self.agents = [
            Agent(agent, clients[address], plan.part, past=pasts.get(agent, Past()), write=self._write)
            for agent, address in plan.agents.items()
        ]

    async def run(self) -> None:
        """Let all agents do their parts, until the run is closed."""
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch())
            async with asyncio.TaskGroup() as agents:
                for agent in self.agents:
                    agents.create_task(agent.run())
            watch.cancel()
        self._tell()

    def _counted(self, record: AnyRecord) -> AnyRecord:
        self._counts[type(record).__name__.lower()] += 1
        return record

    def _write(self, record: AnyRecord) -> None:
        self._journal.write(self._counted(record))

    async def _watch(self) -> None:
        while True:
            is_stopped = self._stop.exists()
            for agent in self.agents:
                agent.is_stopped = is_stopped
            self._tell()
            await asyncio.sleep(TICK_S)

    def _tell(self) -> None:
        working = sum(agent.working + agent.answering for agent in self.agents)
        fresh = self._progress.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(self._counts | {"working": working}))
        fresh.replace(self._progress)


def main() -> int:
    """Run one crew."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    crew = Crew(folder, name)
    print(orjson.dumps({"event": "ready"}).decode(), flush=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(crew.run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
