"""The admin port with the real board, recorder and metrics behind it, and callers of each role."""

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web
from aiohttp.test_utils import TestClient

from proxy.config.schema import Config
from proxy.config.tokens import Role, Token
from proxy.core.outcome import Outcome
from proxy.core.questions import QuestionBook
from proxy.core.routing import Way
from proxy.core.secret import Secret
from proxy.downstream.admin_http import AdminParts
from proxy.flows.audit_keeper import AuditKeeper
from proxy.flows.flags import FlagBoard
from proxy.observe.metrics import Metrics
from proxy.observe.recorder import OutcomeRecorder
from proxy.ports import Alarm
from proxy.stores.memory import MemoryFlagStore
from proxy.stores.memory_audit import MemoryAuditTrail
from proxy.wiring.audit import security_facts_of

Client = TestClient[web.Request, web.Application]

VIEW, OPERATE = "viewer-token-0123456", "operator-token-01234"
TOKENS = (Token(Role.VIEWER, Secret(VIEW)), Token(Role.OPERATOR, Secret(OPERATE)))
VIEWER = {"Authorization": f"Bearer {VIEW}"}
OPERATOR = {"Authorization": f"Bearer {OPERATE}"}
PROBLEM = "application/problem+json"


@dataclass
class SetClock:
    """Stands still until it is set."""

    at: float = 0.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return 1_000_000.0 + self.at

    def alarm(self, at: float, ring: object) -> Alarm:
        raise NotImplementedError(at, ring)


class KeepingRecorder(OutcomeRecorder):
    """The real one, that also keeps what it was told."""

    def __init__(self, metrics: Metrics, clock: SetClock) -> None:
        super().__init__(metrics, clock)
        self.outcomes: list[Outcome] = []

    def record(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        super().record(outcome)


class AdminHouse:
    """Everything behind the doors."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.metrics = Metrics(version="0.1")
        self.recorder = KeepingRecorder(self.metrics, self.clock)
        self.board = FlagBoard(
            MemoryFlagStore(), self.clock, salt="s", groups={"pilots": frozenset({"ann"}), "all/of them": frozenset()}
        )
        self.audit = AuditKeeper(MemoryAuditTrail(), self.clock, self.board.history, defect=self.recorder.defect)
        self.board.hear(self.audit.flags_changed)
        self.book = QuestionBook(redeliver_s=5.0)
        self.health: dict[str, object] = {"status": "healthy", "reasons": []}
        self.ready: dict[str, object] = {"ready": True, "reasons": []}
        self.shutdowns = 0
        self.parts = AdminParts(
            board=self.board,
            recorder=self.recorder,
            clock=self.clock,
            audit=self.audit,
            security_facts=security_facts_of(self.audit, Config, self.clock),
            tokens=TOKENS,
            allowed_hosts=frozenset({"sidecar.internal"}),
            version="0.1",
            health=lambda: self.health,
            ready=lambda: self.ready,
            metrics=self.metrics,
            elicitation_metrics=self.recorder.snapshot,
            agents=self.recorder.agents,
            exchanges=self.book,
            way=lambda: Way.OPEN,
            clear_caches=lambda: {"credentials": 3},
            request_shutdown=self._shutdown,
            config_dump=lambda: {"admin": {"token_file": "/etc/tokens"}},
        )

    def _shutdown(self) -> None:
        self.shutdowns += 1


async def ask(client: Client, method: str, path: str, **more: object) -> tuple[int, Mapping[str, object]]:
    """Status and JSON of one call, by an operator unless `headers` say otherwise; checks the shape of a problem."""
    headers = more.pop("headers", OPERATOR)
    response = await client.request(method, path, headers=headers, **more)  # type: ignore[arg-type]  # passed through
    document = await response.json(content_type=None)
    assert isinstance(document, dict)
    if response.status >= 400 and "code" in document:
        assert response.content_type == PROBLEM
        assert document["status"] == response.status
    return response.status, document
