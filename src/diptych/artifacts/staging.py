"""Folders that appear whole: filled under a hidden name, renamed when everything in them is on the disk."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diptych.artifacts.store import make_folder, sync, sync_folder
from diptych.errors import ArtifactError

_STAGING = ".staging-"
_SECONDS_TO_HOLD = 60


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A hidden folder inside `folder` (made when missing), for what others write; it is gone afterwards.

    What is whole is moved out of it by `settle`. Raises ArtifactError when the system refuses to write.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_STAGING) as name, _holding(Path(name)):
            yield Path(name)
    except OSError as error:
        raise ArtifactError(f"Cannot write in '{folder}': {error.strerror or error}.") from error


@contextmanager
def _holding(folder: Path) -> Iterator[bool]:
    """Whether a folder was nobody's, and is this process's until the block ends; the system frees what dies."""
    if os.name != "posix":
        yield False
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what killed processes have left behind; a folder that was made just now may be about to be held."""
    for left in folder.glob(f"{_STAGING}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _SECONDS_TO_HOLD:
                with _holding(left) as is_left:
                    if is_left:
                        shutil.rmtree(left)


def settle(staged: Path, path: Path) -> None:
    """Move a finished file or folder to its place, in the same file system, over what is there."""
    for inside in [staged, *staged.rglob("*")]:
        (sync_folder if inside.is_dir() else sync)(inside)
    make_folder(path.parent)
    if path.is_dir():  # a folder cannot be renamed over another
        path.rename(staged.with_name(f"{staged.name}.old"))
    staged.replace(path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file or folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
