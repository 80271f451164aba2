"""The table of the matrix: agents, Bridges and events, and for each cell what both sides have to see, in words.

The words are those of tests/support/matrix_agents.py; numbers in comments are sections of PROTOCOL.md. No cell fails
as expected: where the protocol leaves something to the client or the server, the table says what comes of it.
Source: PROTOCOL.md 4.
"""

from dataclasses import dataclass, replace
from enum import Enum
from itertools import product
from typing import Final

from tests.support.matrix import Kind
from tests.support.matrix_agents import CONTENT

HANDSHAKE, ENVELOPE = "handshake", "envelope"
HTTP, UNASKED = "http", "no-elicitation"

ROWS: Final = {
    HTTP: ("",),
    UNASKED: ("mcp-1.30", "mcp-2.3", "ts-2"),
    "2025-06-18": ("mcp-1.22",),
    "2025-11-25": ("mcp-1.30", "mcp-2.3 legacy", "fastmcp-3", "ts-1", "ts-2 legacy"),
    "2026-07-28": ("mcp-2.3", "fastmcp-4", "ts-2"),
}
"""Agents by row: the client peers and their modes; all of them accept, the first one does all the rest too."""

COLUMNS: Final = {
    "bus": Kind(source="bus", server="mcp-2.3", bridge_words=("--no-elicitation",)),
    "rest": Kind(source="rest", server="mcp-2.3"),
    "mcp-handshake": Kind(source="mcp", server="mcp-1.30", server_words=("--asks",)),
    "mcp-mrtr": Kind(source="mcp", server="modern", server_words=("--asks",)),
}
"""Kinds of Bridge: where questions come from, and the MCP server beside it. The last two ask by themselves."""

SHORT_OF_PATIENCE: Final = {
    name: replace(kind, keys={"bridge.park_s": "2"}) for name, kind in COLUMNS.items() if kind.source == "mcp"
}
"""The same with a sidecar that holds a call for two seconds at most, for the event `expiry`."""

ACCEPT, DECLINE, CANCEL = "accept", "decline", "cancel"
TIME_OUT, DISCONNECT, DUPLICATE = "time-out", "disconnect", "duplicate"
EVENTS: Final = (ACCEPT, DECLINE, CANCEL, TIME_OUT, DISCONNECT, DUPLICATE)

EXPIRY: Final = "expiry"
"""The question is not answered at all, where a call of the sidecar at the server waits for it."""


class Way(Enum):
    """How a question reaches the agent."""

    RESULT = "the sidecar serves the wait, and the question is in its result"
    ASKED = "the sidecar serves the wait, and puts the question to the client"
    RELAY = "the server asks its client; the sidecar relays"
    BRIDGED = "the server asks its client; the sidecar translates between the eras"


WAYS: Final = {
    # Nobody can be asked but by the result of the wait: A0 and A1 of every column.
    **dict.fromkeys(product((HTTP, UNASKED), COLUMNS), Way.RESULT),
    # A2 and A3 before B0 and B1.
    **dict.fromkeys(product(list(ROWS)[2:], ("bus", "rest")), Way.ASKED),
    ("2025-06-18", "mcp-handshake"): Way.RELAY,
    ("2025-11-25", "mcp-handshake"): Way.RELAY,
    ("2026-07-28", "mcp-handshake"): Way.BRIDGED,
    ("2025-06-18", "mcp-mrtr"): Way.BRIDGED,
    ("2025-11-25", "mcp-mrtr"): Way.BRIDGED,
    ("2026-07-28", "mcp-mrtr"): Way.RELAY,
}
"""The way of each cell."""

IN_RESULT: Final = {
    ACCEPT: "told, taken",
    DECLINE: "told, taken",
    CANCEL: "told, taken",
    # Asked while nobody waits, so it stays open until the next wait; that a wait passes answers nothing (4.1).
    TIME_OUT: "empty, told, taken",
    DISCONNECT: "left, told, taken",
    # The same answer again is taken without a second call upstream, another one is refused (4.1).
    DUPLICATE: "told, taken, taken, refused",
}
"""What an agent of the way RESULT sees."""

WHEN_ASKED: Final = {
    ACCEPT: "asked, answered accept",
    DECLINE: "asked, answered decline",
    CANCEL: "asked, answered cancel",
    DISCONNECT: "asked, left, asked, answered accept",
    DUPLICATE: "asked, answered accept, again {again}",
}
"""What one of the other ways sees."""

AGAIN: Final = {
    # An answer that is late or was given already: 202 and dropped (3.5).
    (HANDSHAKE, Way.ASKED): "202",
    (HANDSHAKE, Way.RELAY): "202",
    (HANDSHAKE, Way.BRIDGED): "202",
    # The same answer, the same result; nothing goes upstream a second time (A3 x B1, A3 x B2).
    (ENVELOPE, Way.ASKED): "200 the same",
    (ENVELOPE, Way.BRIDGED): "200 the same",
    # The server's own matter: it is called again, and its Bridge refuses the second answer (2.5).
    (ENVELOPE, Way.RELAY): "200",
}
"""How the second copy of an answer is replied to."""

WHEN_LATE: Final = {
    # The wait ends first and tells what is open; the answer counts all the same until the question ends (3.5).
    (HANDSHAKE, Way.ASKED): "asked, told",
    # Nobody but the client has a time-out here, and it does not tell that it gave up (3.6).
    (HANDSHAKE, Way.RELAY): "asked, gave up",
    (HANDSHAKE, Way.BRIDGED): "asked, gave up",
    # Between two requests nothing runs out but the question itself (3.6).
    (ENVELOPE, Way.ASKED): "asked, answered accept",
    (ENVELOPE, Way.RELAY): "asked, answered accept",
    (ENVELOPE, Way.BRIDGED): "asked, answered accept",
}
"""What one that answers when its wait should be over sees. That time passes answers nothing (4.1)."""

WHEN_EXPIRED: Final = {
    HTTP: "told, too late",
    UNASKED: "told, too late",
    # The round is over, and the server's result says how (A2 x B3).
    "2025-06-18": "asked, answered cancel",
    "2025-11-25": "asked, answered cancel",
    # A retry that comes later is refused as every state that is no longer good (A3 x B2).
    "2026-07-28": "asked, too late",
}
"""What one sees that answers when the sidecar has given a cancel, as the server's call must end some time (4.1)."""

CANCEL_IS_HEARD_AS: Final = {"bus": CANCEL, "rest": DECLINE, "mcp-handshake": DECLINE, "mcp-mrtr": DECLINE}
"""The Bridge's own calls let only the asker cancel; an addressee's travels as a decline. Source: BRIDGE.md 2.5."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell, with the client that is the agent."""

    row: str
    column: str
    event: str
    client: str

    @property
    def way(self) -> Way:
        """How the question reaches the agent."""
        return WAYS[self.row, self.column]

    @property
    def era(self) -> str:
        """The era of an MCP client of this row."""
        return ENVELOPE if self.row == "2026-07-28" else HANDSHAKE

    @property
    def agent(self) -> str:
        """The agent's id."""
        return f"{self.row}_{self.column}_{self.event}_{self.client}".replace(".", "-").replace(" ", "-")

    @property
    def sees(self) -> str:
        """What the agent has to see."""
        if self.event == EXPIRY:
            return WHEN_EXPIRED[self.row]
        if self.way is Way.RESULT:
            return IN_RESULT[self.event]
        if self.event == TIME_OUT:
            return WHEN_LATE[self.era, self.way]
        return WHEN_ASKED[self.event].format(again=AGAIN[self.era, self.way])

    @property
    def action(self) -> str:
        """What the agent answers in the end, or the sidecar in its place."""
        return {DECLINE: DECLINE, CANCEL: CANCEL, EXPIRY: CANCEL}.get(self.event, ACCEPT)

    @property
    def hears(self) -> list[tuple[str, object]]:
        """What the asker has to hear, all of it."""
        match self.action:
            case "accept":
                return [(ACCEPT, CONTENT)]
            case "cancel":
                return [(CANCEL_IS_HEARD_AS[self.column], None)]
            case action:
                return [(action, None)]

    @property
    def answers_sent(self) -> int:
        """How often the Bridge is given an answer. A server without memory gives it twice when it is called twice."""
        is_called_twice = self.event == DUPLICATE and self.era == ENVELOPE and self.way is Way.RELAY
        return 2 if is_called_twice else 1


CELLS: Final = [
    Cell(row, column, event, client)
    for column, row, event in product(COLUMNS, ROWS, EVENTS)
    for client in (ROWS[row] if event == ACCEPT else ROWS[row][:1])
]

EXPIRING: Final = [
    Cell(row, column, EXPIRY, ROWS[row][0])
    for column, row in product(SHORT_OF_PATIENCE, ROWS)
    if WAYS[row, column] in {Way.RESULT, Way.BRIDGED}
]
"""Cells in which the sidecar holds a call; a relayed question is between the client and the server."""

ASKED: Final = [cell.agent for cell in CELLS if cell.way is Way.ASKED]
"""Agents that the operator chose to have asked; of the others questions are in the result."""
