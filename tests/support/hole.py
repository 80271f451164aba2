"""A server that takes every connection and never says a word, as a hung one does."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hole() -> Iterator[str]:
    """Its base URL, for as long as the block lasts.

    Nobody accepts: the system takes the connections into the queue of the socket, and all that is sent on them.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
