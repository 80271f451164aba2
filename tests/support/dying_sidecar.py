"""A sidecar that kills itself at a commit of the journal: `python dying_sidecar.py N before|after WORDS...`."""

import os
import signal
import sys
from collections.abc import Sequence

from proxy.cli.main import main
from proxy.core.journal import Stamped
from proxy.stores.journal import SqliteJournal


def arm(number: int, *, is_before: bool) -> None:
    """Let the nth commit be the last, or the first that is not made any more."""
    made = 0
    apply = SqliteJournal.apply

    async def counted(self: SqliteJournal, changes: Sequence[Stamped]) -> None:
        nonlocal made
        made += 1
        if made == number and is_before:
            os.kill(os.getpid(), signal.SIGKILL)
        await apply(self, changes)
        if made == number:
            os.kill(os.getpid(), signal.SIGKILL)

    SqliteJournal.apply = counted  # type: ignore[method-assign]  # this is what the test is about


if __name__ == "__main__":
    arm(int(sys.argv[1]), is_before=sys.argv[2] == "before")
    sys.argv[1:] = sys.argv[3:]
    main()
