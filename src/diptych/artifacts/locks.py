"""Folders that one process locks at a time (the kernel releases the lock), and folders that appear complete."""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diptych.artifacts.store import make_folder, refusal, sync
from diptych.errors import ArtifactError

LOCK = ".lock"
_STAGING = ".staging-"
_SECONDS_TO_LOCK = 60
_SECONDS_BETWEEN_TRIES = 0.02


@contextmanager
def locked(folder: Path, doing: str, patience: float = 0.0) -> Iterator[int]:
    """Hold a folder's lock while the block runs, and yield its descriptor; a process that gets it holds the lock, too.

    The file `.lock` names the holder and what it is `doing`, such as `training`, as does the ArtifactError that other
    processes raise meanwhile, after `patience` seconds.
    """
    path = folder / LOCK
    with _opened(path, os.O_RDWR | os.O_CREAT, patience) as (descriptor, is_free):
        if not is_free:
            # The holder may not have written who it is yet.
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace") or "another process"
            raise ArtifactError(f"'{folder}' is in use: {holder}. Wait until it and its child processes end.")
        holder = f"process {os.getpid()} on {socket.gethostname()}, {doing} since {time.strftime('%Y-%m-%d %H:%M:%S')}"
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder.encode(), 0)
        except OSError as error:
            raise refusal(path, error, 0, len(holder)) from error
        yield descriptor


@contextmanager
def held(path: Path, patience: float = math.inf) -> Iterator[bool]:
    """Hold a file's lock while the block runs; yield False if another thread or process has it after `patience` s."""
    make_folder(path.parent)
    with _opened(path, os.O_RDWR | os.O_CREAT, patience) as (_, is_free):
        yield is_free


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder inside `folder`, which is made if missing; remove it afterwards.

    `settle` moves finished files out of it. What killed processes left behind is removed first.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_STAGING) as name, _opened(Path(name)):
            yield Path(name)
    except OSError as error:
        raise ArtifactError(f"Cannot write in '{folder}': {error.strerror or error}.") from error


def settle(staged: Path, path: Path) -> None:
    """Move a finished file or folder to its path in the same file system, replacing what is there."""
    for inside in [staged, *staged.rglob("*")]:
        sync(inside)
    make_folder(path.parent)
    if path.is_dir():  # a folder cannot be renamed over another
        path.rename(staged.with_name(f"{staged.name}.old"))
    staged.replace(path)
    sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file or folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path, flags: int = os.O_RDONLY, patience: float = 0.0) -> Iterator[tuple[int, bool]]:
    """Open a file or folder and lock it if it gets free in time; yield the descriptor and whether it did."""
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise refusal(path, error) from error
    try:
        end = time.monotonic() + patience
        while not (is_free := _is_locked_now(path, descriptor)) and time.monotonic() < end:
            time.sleep(_SECONDS_BETWEEN_TRIES)
        yield descriptor, is_free
    finally:
        os.close(descriptor)


def _is_locked_now(path: Path, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ArtifactError(f"Cannot lock '{path}': {error.strerror}. Use a file system with locks.") from error
    return True


def _sweep(folder: Path) -> None:
    """Remove the staging folders of killed processes; one that was just made may not be locked yet."""
    for left in folder.glob(f"{_STAGING}*"):
        with suppress(OSError, ArtifactError):
            if time.time() - left.stat().st_mtime > _SECONDS_TO_LOCK:
                with _opened(left) as (_, is_free):
                    if is_free:
                        shutil.rmtree(left)
