"""How the demo tells its story: as text with one table, or as one JSON object."""

from typing import Final, TextIO

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from proxy.demo.story import Places, Tale

SERVING: Final = "serving; stop with Ctrl-C"
"""The last line of a demo that serves on."""


class TextShow:
    """For people: coloured on a terminal, plain elsewhere."""

    __slots__ = ("_console",)

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, emoji=False)

    def say(self, text: str) -> None:
        """One line, never wrapped: it may be copied."""
        self._console.print(text, markup=False, soft_wrap=True)

    def result(self, tale: Tale) -> None:
        """The table of both cohorts."""
        table = Table(box=box.SIMPLE_HEAD if self._console.is_terminal else None)
        table.add_column("from the question being asked")
        for head in ("legacy", "elicitation", "ratio"):
            table.add_column(head, justify="right")
        legacy, elicitation = tale.legacy, tale.elicitation
        rows = (
            ("until bob has read it", legacy.seen_ms, elicitation.seen_ms, tale.seen_ratio()),
            ("until alice has read the answer", legacy.answer_ms, elicitation.answer_ms, tale.answer_ratio()),
        )
        for what, slow, fast, ratio in rows:
            table.add_row(what, f"{slow:.1f} ms", f"{fast:.1f} ms", f"{ratio:.0f} x")
        self.say("")
        self._console.print(table)
        self.say("")
        self.say("One exchange each. The legacy way depends on when the Bridge looks: up to a second a message.")

    def serving(self, places: Places) -> None:
        """Where to go on; the last line says that everything runs."""
        self.say("alice goes on asking bob now and then.")
        self.say("")
        self.say(f"agents call   {places.data}")
        self.say(f"operators     {places.admin}/health")
        self.say(f"metrics       {places.admin}/metrics")
        self.say(f"Bridge        {places.bridge} (development only)")
        self.say(f"logs          {places.token_file.parent}")
        self.say(f"flags         {places.flags_line()}")
        self.say("")
        self.say(SERVING)


class JsonShow:
    """For programs: one JSON object on standard output, and that it serves on standard error."""

    __slots__ = ("_errors", "_stream")

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        self._stream = stream
        self._errors = errors

    def say(self, text: str) -> None:
        """Nothing: the numbers are enough."""

    def result(self, tale: Tale) -> None:
        """The object."""
        self._stream.write(orjson.dumps(tale.as_json()).decode() + "\n")
        self._stream.flush()

    def serving(self, places: Places) -> None:  # noqa: ARG002  # the object has named them already
        """Say that everything runs."""
        self._errors.write(SERVING + "\n")
        self._errors.flush()
