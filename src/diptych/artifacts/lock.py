"""One process at a time in a folder: a lock that the kernel lets go of when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.artifacts.store import refusal
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
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise refusal(path, error) from error
    try:
        _take(folder, descriptor)
        holder = f"process {os.getpid()} on {socket.gethostname()}, {doing} since {time.strftime('%Y-%m-%d %H:%M:%S')}"
        _write(path, descriptor, holder.encode())
        yield descriptor
    finally:
        os.close(descriptor)


def _take(folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        # Its holder may be about to write who it is.
        holder = os.pread(descriptor, 1000, 0).decode(errors="replace") or "another process"
        raise ArtifactError(
            f"'{folder}' is in use: {holder}. Wait until it and all it started end, or end them."
        ) from error
    except OSError as error:
        raise ArtifactError(
            f"Cannot lock '{folder}': {error.strerror}. Write to a file system that has locks."
        ) from error


def _write(path: Path, descriptor: int, holder: bytes) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder, 0)
    except OSError as error:
        raise refusal(path, error, 0, len(holder)) from error
