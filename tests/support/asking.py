"""A question from alice to bob through a whole house, and the two legacy ways to answer it."""

from tests.support.house import Heard, Stand
from tests.support.manual_bridge import Json

RED = {"colour": "red"}


async def answer(made: Stand, way: str, token: str, named: object, **changes: object) -> Heard:
    """Bob's answer by one of the two ways; `changes` are those of the respond call."""
    if way == "respond":
        return await made.respond(token, named, **changes)
    data = {"elicitation_id": named, "response_type": changes.get("response_type", "accept")}
    content = changes.get("data", RED)
    inner = {"content": content} if content is not None else {}
    return await made.store(token, {**data, **inner}, agent_id=str(changes.get("responding_agent", "bob")))


class Asked:
    """A question from alice to bob that both the house and the Bridge know."""

    def __init__(self, made: Stand, alice: str, bob: str, asked: Json) -> None:
        self.made, self.alice, self.bob, self.named = made, alice, bob, asked["elicitation_id"]

    async def give(self, way: str, **changes: object) -> Heard:
        """Bob's answer by one of the two ways."""
        return await answer(self.made, way, self.bob, self.named, **changes)

    async def status(self) -> object:
        """How the question stands at the Bridge."""
        return await self.made.status(self.alice, self.named)

    async def outcomes(self) -> dict[str, float]:
        """How often each thing happened to elicitations."""
        prefix = 'elicit_sidecar_elicitations_total{outcome="'
        samples = await self.made.house.metrics()
        return {name[len(prefix) : -2]: value for name, value in samples.items() if name.startswith(prefix) and value}


async def ask_bob(made: Stand, **changes: object) -> Asked:
    """Alice asks through the house."""
    alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
    return Asked(made, alice, bob, await made.ask(alice, **changes))
