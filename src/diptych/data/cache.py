"""Caches: decoded images by a key of their content and settings, and unpacked archives by their digest.

Everything is written whole or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diptych.artifacts.locks import settle, staging
from diptych.artifacts.store import atomic_write, read_npz, sha256_of, write_npz
from diptych.data.archives import HASHING, Progress, unpack
from diptych.errors import ArtifactError, DataError

Caching: TypeAlias = Literal["auto", "always", "never"]
MOST_BYTES = 4 * 2**30


def wants(caching: Caching, folder: Path, num_bytes: int) -> bool:
    """Whether so many pixels are to be kept: with "auto", up to MOST_BYTES and half of the free space."""
    if caching != "auto":
        return caching == "always"
    there = next((above for above in (folder, *folder.parents) if os.path.isdir(above)), None)  # noqa: PTH112  (raises nothing)
    return there is not None and num_bytes <= min(MOST_BYTES, shutil.disk_usage(there).free // 2)


class Kept:
    """The files of one key."""

    def __init__(self, folder: Path, key: str) -> None:
        self._scan = folder / f"{key}.npz"
        self._pixels = folder / f"{key}.npy"
        self._digest = folder / f"{key}.sha256"

    def scan(self) -> tuple[dict[int, str], NDArray[np.int64]] | None:
        """Faults by place, and moments; None where there are none, or damaged ones, which are made again."""
        try:
            arrays = read_npz(self._scan)
            places, faults = arrays["places"].tolist(), arrays["faults"].tolist()
            return dict(zip(places, faults, strict=True)), arrays["moments"]
        except (ArtifactError, KeyError):
            return None

    def keep_scan(self, faults: Mapping[int, str], moments: NDArray[np.int64]) -> None:
        """Write faults and moments.

        Raises:
            ArtifactError: the system refuses.
        """
        places, words = np.array([*faults], np.int64), np.array([*faults.values()], np.str_)
        write_npz(self._scan, {"places": places, "faults": words, "moments": moments})

    def has_pixels(self) -> bool:
        """Whether pixels are there and are those that were written: a damaged disk must not train a model."""
        try:
            return self._digest.read_bytes() == _line(self._pixels)
        except (OSError, ArtifactError):
            return False

    def pixels(self) -> NDArray[np.uint8]:
        """The pixels, mapped into memory."""
        mapped: NDArray[np.uint8] = np.load(self._pixels, mmap_mode="r")
        return mapped

    @contextmanager
    def filling(self, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
        """An array to fill; it is kept when the block ends without an error.

        Raises:
            ArtifactError: the system refuses to write.
        """
        with staging(self._pixels.parent) as folder:
            staged = folder / self._pixels.name
            pixels = np.lib.format.open_memmap(staged, mode="w+", dtype=np.uint8, shape=shape)
            _reserve(staged)
            yield pixels
            pixels.flush()
            del pixels
            line = _line(staged)
            settle(staged, self._pixels)
        with atomic_write(self._digest) as file:
            file.write(line)


def _reserve(path: Path) -> None:
    """Take the room that a file has been given in name; a mapped one that finds none later ends the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _line(path: Path) -> bytes:
    """A line as `sha256sum` writes it."""
    return f"{sha256_of(path)}  {path.name}\n".encode()


_LIST = ".diptych-unpacked"
_HASHED_BYTES = 2**20


def unpacked(archive: Path, cache_dir: Path, progress: Progress | None = None) -> Path:
    """Return the folder `cache_dir/archives/<sha256 of the archive>/`, unpacked on the first call.

    Concurrent callers wait for the first one. If names or sizes of the unpacked files have changed, the archive is
    unpacked again.

    Args:
        archive: see `archives.unpack`.
        cache_dir: created if it does not exist.
        progress: see `archives.unpack`.

    Raises:
        DataError: see `archives.unpack`.
    """
    folder = cache_dir / "archives"
    target = folder / _sha256(archive, progress)
    try:
        if not _is_complete(target):
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f".{target.name}.lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not _is_complete(target):
                    shutil.rmtree(target, ignore_errors=True)
                    unpack(archive, target, progress=progress)
                    (target / _LIST).write_text(_digest(target), encoding="ascii")
    except OSError as error:
        raise DataError(f"Cannot write {str(error.filename or target)!r}: {error.strerror or error}.") from error
    return target


def _sha256(archive: Path, progress: Progress | None) -> str:
    digest, size = hashlib.sha256(), archive.stat().st_size
    with archive.open("rb") as file:
        while chunk := file.read(_HASHED_BYTES):
            digest.update(chunk)
            if progress and len(chunk) == _HASHED_BYTES:
                progress(HASHING, file.tell(), size)
    return digest.hexdigest()


def _is_complete(folder: Path) -> bool:
    """Return whether a folder contains the files that were unpacked, with the same sizes."""
    try:
        return (folder / _LIST).read_text(encoding="ascii") == _digest(folder)
    except OSError:
        return False


def _digest(folder: Path) -> str:
    """Return a digest of the names and sizes of all files."""
    digest = hashlib.sha256()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name != _LIST:
                path = Path(parent, name)
                digest.update(f"{path.stat().st_size} {path.relative_to(folder)}\0".encode())
    return digest.hexdigest()
