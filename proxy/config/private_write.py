"""Writes a file of secrets: whole or not at all, and never readable by anybody else, not even for a moment.

A link is followed, so that the file it leads to is replaced and not the link. A file that is replaced keeps its owner,
so that an administrator's command leaves it readable for the sidecar. Blocks: not on the event loop.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_MODE: Final = 0o600


@contextmanager
def folder_of(path: Path) -> Iterator[int]:
    """The folder in which the file itself lies, as a descriptor, ours alone until it is left.

    So two commands that read a file, change it and write it come one after the other.

    Raises:
        OSError: there is no such folder, or it cannot be read.
    """
    folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)


def replace_private_text(path: Path, text: str, folder: int) -> None:
    """Put this text in place of the file, with mode 0600; on the disk when it returns.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    name = path.resolve().name
    made = f".{name[:200]}.{secrets.token_hex(8)}"
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE, dir_fd=folder)
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123  # a descriptor, not a path
            os.fchmod(stream.fileno(), _MODE)  # whatever the umask takes away
            _keep_owner(stream.fileno(), name, folder)
            stream.write(text.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(made, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(made, dir_fd=folder)
        raise
    os.fsync(folder)


def _keep_owner(descriptor: int, name: str, folder: int) -> None:
    try:
        old = os.stat(name, dir_fd=folder)
    except FileNotFoundError:
        return
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
