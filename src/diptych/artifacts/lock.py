"""One process at a time in a folder: a lock that the kernel lets go of when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.artifacts.store import json_text
from diptych.errors import ArtifactError

NAME = ".lock"


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[int]:
    """Hold a folder's lock while the block runs.

    Args:
        folder: one that is there; the file `.lock` in it says who holds it.
        doing: what for, as whoever is refused will read it, such as `training`.

    Yields:
        The lock's file descriptor. A child process that inherits it holds the lock too, until it ends.

    Raises:
        ArtifactError: another process holds it; says which, on which machine and since when.
    """
    path = folder / NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ArtifactError(f"Cannot lock '{folder}': {error.strerror}.") from error
    try:
        _take(folder, descriptor)
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "doing": doing}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{json_text(holder)}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ArtifactError(
            f"'{folder}' is in use: {_holder(descriptor)}. Wait until it ends, or end it, and try again."
        ) from error
    except OSError as error:
        raise ArtifactError(f"Cannot lock '{folder}': {error.strerror}.") from error


def _holder(descriptor: int) -> str:
    """Who wrote the lock file, in words."""
    return os.pread(descriptor, 1000, 0).decode(errors="replace").strip()
