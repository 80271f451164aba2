"""One room of peers for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.support.peers import Room, peer_room


@pytest.fixture(scope="session")
def room() -> Iterator[Room]:
    """Where the peers run."""
    with peer_room() as opened:
        yield opened
