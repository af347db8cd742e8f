"""A folder that appears whole or not at all, whatever happens to the process or the machine.

It grows under a hidden name beside its place, is brought to the disk with everything in it, and is renamed. Whoever
dies on the way leaves the hidden folder and no lock on it, by which the next one knows that it may be removed.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.artifacts.store import sync_folder

_SUFFIX = ".unpacking"
_LOCK, _TREE = "lock", "tree"
_FOLDER_MODE = 0o755


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` when the block ends without an error; missing parents are made.

    Raises:
        FileExistsError: something is at `target`, before or after.
    """
    if os.path.lexists(target):
        raise FileExistsError(None, "something is there already, remove it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    with _hidden(target.parent) as hidden:
        tree = hidden / _TREE
        tree.mkdir(_FOLDER_MODE)
        yield tree
        # One call in place of an fsync for each file. Linux returns from it when all is on the disk, so that no crash
        # can show the new name before the content; the second fsync only hastens the name.
        os.sync()
        if os.path.lexists(target):
            raise FileExistsError(None, "another process has put something there")
        tree.rename(target)
        sync_folder(target.parent)


@contextmanager
def _hidden(parent: Path) -> Iterator[Path]:
    """A folder of one's own with a lock in it, gone afterwards."""
    # It gets the name that is swept when the lock is held.
    fresh = Path(tempfile.mkdtemp(dir=parent, prefix="."))
    hidden = fresh.with_name(fresh.name + _SUFFIX)
    try:
        with (fresh / _LOCK).open("xb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fresh.rename(hidden)
            yield hidden
    finally:
        _remove(fresh)
        _remove(hidden)


def _sweep(parent: Path) -> None:
    """Remove what processes left that did not live to do it."""
    for hidden in parent.glob(f".*{_SUFFIX}"):
        try:
            with (hidden / _LOCK).open("r+b") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(hidden)
        except OSError:  # its owner lives, or has just removed it
            continue


def _remove(hidden: Path) -> None:
    """Remove the lock last: without it nobody would come back for the rest."""
    shutil.rmtree(hidden / _TREE, ignore_errors=True)
    shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock, once it is free; the system frees it when its holder ends, however that is."""
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
