"""The demo's story: one question in the legacy cohort, the same agents once more in the elicitation cohort.

Nothing is played: Bridge, sidecar and both agents are processes of their own, and the times are their own clocks.
Between the two halves only the flags change, through the admin port.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aiohttp
import orjson

from proxy.config.shapes import Address, parse_address
from proxy.core.elicitation import REQUEST_MESSAGE
from proxy.core.errors import OurFault
from proxy.demo.board import Board, Said
from proxy.demo.children import Household
from proxy.demo.story import Exchange, Places, Plan, Show, Tale

READY_S: Final = 20.0
"""Longest start of one process. Source: ours; a busy machine takes 2 s."""

EXCHANGE_S: Final = 20
"""Longest exchange, in seconds. Source: ours; the legacy way takes about one."""

FLAGS_S: Final = 5.0
"""Longest change of flags. Source: ours."""

BOB_WAIT_S: Final = 2
"""Time-out of bob's waits; a flag takes effect with his next one. Source: ours."""

ALICE_WAIT_S: Final = 20
"""Time-out of alice's waits. Source: ours."""

ASK_AGAIN_S: Final = 15
"""Pause between alice's questions while the demo serves. Source: ours; four a minute, far from the Bridge's limit."""

LEGACY_QUESTION: Final = "Deploy build 41 to production?"
ELICITATION_QUESTION: Final = "Deploy build 42 to production?"
LATER_QUESTION: Final = "Is everything still fine?"

SCHEMA: Final = orjson.dumps(
    {
        "type": "object",
        "properties": {
            "approved": {"type": "boolean"},
            "window": {"type": "string", "enum": ["now", "tonight"]},
        },
        "required": ["approved"],
    }
).decode()

LEGACY_FLAGS: Final[Mapping[str, object]] = {
    "elicitation_enabled": False,
    "elicitation_percentage": 0,
    "elicitation_whitelist": [],
    "elicitation_denylist": [],
    "legacy_fallback": True,
    "legacy_support": True,
    "reason": "demo: first the legacy way",
}
ELICITATION_FLAGS: Final[Mapping[str, object]] = {
    "elicitation_enabled": True,
    "elicitation_percentage": 100,
    "reason": "demo: everybody to elicitation",
}


async def run_demo(plan: Plan, show: Show, stop: asyncio.Event) -> None:
    """Tell the story, then serve until `stop` is set; every child has ended when this returns.

    Raises:
        OurFault: a child died, or no answer came.
    """
    narrator = _Narrator(plan, show)
    async with asyncio.TaskGroup() as group:
        house = Household(plan.folder, narrator.board, group)
        try:
            async with asyncio.TaskGroup() as acts:
                story = acts.create_task(narrator.tell(house, stop), name="story")
                acts.create_task(_end_when(stop, story), name="stop")
        finally:
            await house.stop()
    if narrator.fault is not None:
        raise narrator.fault


async def _end_when(stop: asyncio.Event, story: "asyncio.Task[None]") -> None:
    await stop.wait()
    story.cancel()


class _Narrator:
    """Starts the players one by one and tells what they do."""

    def __init__(self, plan: Plan, show: Show) -> None:
        self.board = Board()
        self.fault: OurFault | None = None
        """Why the story ended badly, if it did."""
        self._plan = plan
        self._show = show
        self._token = secrets.token_urlsafe(32)
        self._token_file = plan.folder / "tokens"

    async def tell(self, house: Household, stop: asyncio.Event) -> None:
        """The whole story; sets `stop` at its end."""
        try:
            places = await self._set_stage(house)
            legacy = await self._legacy_act(house, places)
            elicitation = await self._elicitation_act(house, places)
            self._show.result(Tale(legacy=legacy, elicitation=elicitation, places=places))
            if not self._plan.is_once:
                await self._ask_now_and_then(house, places)
                self._show.serving(places)
                await self.board.until_fault()
        except OurFault as fault:
            self.fault = fault
        finally:
            stop.set()

    async def _set_stage(self, house: Household) -> Places:
        plan = self._plan
        await asyncio.to_thread(_write_token, self._token_file, self._token)
        await house.start("bridge", ["bridge", "--listen", str(plan.bridge)])
        bridge = _url(await self._ready("bridge"), "listen")
        await house.start("sidecar", self._sidecar_words(bridge))
        ready = await self._ready("sidecar")
        places = Places(
            bridge=bridge,
            data=_url(ready, "data"),
            admin=_url(ready, "admin"),
            token_file=self._token_file,
        )
        await self._set_flags(places, LEGACY_FLAGS)
        bob = ["agent", "--base", places.data, "--agent", "bob", "--role", "answer", "--wait", str(BOB_WAIT_S)]
        await house.start("bob", bob)
        await self._bob_waits_after(0)
        self._show.say(f"A Bridge on {places.bridge}, a sidecar before it on {places.data}, and bob, an agent that")
        self._show.say("knows only the legacy wait: GET /event/wait, again and again. He calls the sidecar.")
        return places

    def _sidecar_words(self, bridge: str) -> list[str]:
        plan = self._plan
        file = [] if plan.config is None else ["--config", str(plan.config)]
        where = ["--listen", str(plan.listen), "--admin", str(plan.admin), "--bridge", bridge]
        state = ["--state", f"sqlite://{plan.folder / 'state.db'}"]
        return ["run", *file, *where, *state, "--set", f"admin.token_file={self._token_file}"]

    async def _legacy_act(self, house: Household, places: Places) -> Exchange:
        self._show.say("")
        self._show.say("1. Legacy cohort. Elicitation is off: the sidecar passes every byte through, and bob's wait")
        self._show.say("   hears of a question when the Bridge looks again, once a second.")
        exchange = await self._exchange(house, places, LEGACY_QUESTION, cohort="legacy")
        if exchange.arrived_as == REQUEST_MESSAGE:
            raise OurFault("expected bob's question to come the legacy way, it came as an elicitation")
        return exchange

    async def _elicitation_act(self, house: Household, places: Places) -> Exchange:
        changed = await self._set_flags(places, ELICITATION_FLAGS)
        # A wait that is parked at the Bridge stays there; the new flags count from bob's next wait on.
        await self._bob_waits_after(changed)
        self._show.say("")
        self._show.say(
            "2. Elicitation cohort. POST /feature_flags said 100 percent; bob is the same process as before,"
        )
        self._show.say("   and alice runs the same code.")
        exchange = await self._exchange(house, places, ELICITATION_QUESTION, cohort="elicitation")
        if exchange.arrived_as != REQUEST_MESSAGE:
            raise OurFault(f"expected bob's question to come as {REQUEST_MESSAGE}, it came as {exchange.arrived_as}")
        return exchange

    async def _exchange(self, house: Household, places: Places, question: str, *, cohort: str) -> Exchange:
        alice = f"alice-{cohort}"
        await house.start(alice, self._alice(places, question, ["--answer-within", str(EXCHANGE_S)]), may_end=True)
        asked = await self._hear(alice, "asked", question=question)
        self._show.say(f'   alice asks bob: "{question}"')
        began = asked.seconds("asked_at")
        seen = await self._hear("bob", "question", question=question)
        seen_ms = _milliseconds(began, seen)
        self._show.say(f"   bob has read it after {seen_ms:.0f} ms, and answers in his legacy way: POST /event/store")
        answer = await self._hear(alice, "answer")
        answer_ms = _milliseconds(began, answer)
        content = answer.fields.get("content")
        shown = orjson.dumps(content).decode()
        self._show.say(f"   alice has read the answer after {answer_ms:.0f} ms: {shown}")
        return Exchange(
            cohort=cohort,
            seen_ms=seen_ms,
            answer_ms=answer_ms,
            arrived_as=seen.text("event_type"),
            content=content,
        )

    async def _ask_now_and_then(self, house: Household, places: Places) -> None:
        again = ["--count", "0", "--every", str(ASK_AGAIN_S), "--answer-within", str(EXCHANGE_S)]
        await house.start("alice", self._alice(places, LATER_QUESTION, again))

    @staticmethod
    def _alice(places: Places, question: str, more: list[str]) -> list[str]:
        who = ["agent", "--base", places.data, "--agent", "alice", "--role", "ask", "--to", "bob"]
        return [*who, "--wait", str(ALICE_WAIT_S), "--message", question, "--schema", SCHEMA, *more]

    async def _hear(self, child: str, what: str, *, question: str | None = None) -> Said:
        def matches(said: Said) -> bool:
            is_it = said.child == child and said.what == what
            return is_it and (question is None or said.text("message") == question)

        return await self.board.until(matches, within_s=EXCHANGE_S, what=f'"{what}" from {child}')

    async def _ready(self, child: str) -> Said:
        def matches(said: Said) -> bool:
            return said.child == child and said.what == "ready"

        return await self.board.until(matches, within_s=READY_S, what=f"the start of {child}")

    async def _bob_waits_after(self, moment: float) -> None:
        def matches(said: Said) -> bool:
            return said.child == "bob" and said.what == "waiting" and said.seconds("at") >= moment

        await self.board.until(matches, within_s=READY_S, what="bob's next wait")

    async def _set_flags(self, places: Places, flags: Mapping[str, object]) -> float:
        """Change the flags; returns the wall-clock second on the sidecar's clock from which they count."""
        headers = {"Authorization": f"Bearer {self._token}"}
        url = f"{places.admin}/feature_flags"
        try:
            async with (
                asyncio.timeout(FLAGS_S),
                aiohttp.ClientSession(headers=headers) as session,
                session.post(url, data=orjson.dumps(flags)) as reply,
            ):
                words = await reply.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OurFault(f"the admin port did not take the flags: {str(error) or type(error).__name__}") from error
        if reply.status != 200:
            raise OurFault(f"expected 200 from POST {url}, got {reply.status}: {words:.300}")
        return time.time()


def _milliseconds(began: float, said: Said) -> float:
    # Never nought, as ratios are made of it; wall clocks may step.
    return max(0.001, (said.seconds("at") - began) * 1000)


def _write_token(path: Path, token: str) -> None:
    """Write the token file for this user's eyes only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        file.write(f"operator {token}\n")


def _url(ready: Said, name: str) -> str:
    """Where a caller on this machine finds what a child listens on."""
    address = parse_address(ready.text(name))
    return f"http://{Address('127.0.0.1', address.port) if address.is_wildcard else address}"
