"""The conformance server, and what the suite finds when it is run against it directly."""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.conformance.compare import Check, run_suite
from tests.support.peers import Room, peer_room

Direct = Callable[[str], Counter[Check]]


@pytest.fixture(scope="session")
def room() -> Iterator[Room]:
    """Where the peers run."""
    with peer_room() as opened:
        yield opened


@pytest.fixture(scope="session")
def direct(room: Room, tmp_path_factory: pytest.TempPathFactory) -> Direct:
    """What a direct run for a revision finds; each is run once."""
    known: dict[str, Counter[Check]] = {}

    def find(revision: str) -> Counter[Check]:
        if revision not in known:
            known[revision] = run_suite(room.server("conformance").url, revision, tmp_path_factory.mktemp("direct"))
        return known[revision]

    return find
