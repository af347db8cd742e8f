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

import numpy as np
from numpy.typing import NDArray

from diptych.artifacts.locks import settle, staging
from diptych.artifacts.store import read_npz, sha256_of, write_npz
from diptych.data.archives import HASHING, Progress, quiet, unpack
from diptych.errors import ArtifactError, DataError
from diptych.options import Caching

MAX_BYTES = 4 * 2**30
"""Bytes of pixels that "auto" caches."""

_LIST = ".diptych-unpacked"
_HASHED_BYTES = 2**20


def wants(caching: Caching, folder: Path, num_bytes: int) -> bool:
    """Return whether to cache pixels: with "auto", up to MAX_BYTES and half of the free space."""
    if caching != "auto":
        return caching == "always"
    existing = next((parent for parent in (folder, *folder.parents) if os.path.isdir(parent)), None)  # noqa: PTH112  (raises nothing)
    return existing is not None and num_bytes <= min(MAX_BYTES, shutil.disk_usage(existing).free // 2)


class PixelCache:
    """The files of one key: faults and sums of all images, and their pixels."""

    def __init__(self, folder: Path, key: str) -> None:
        self._scan = folder / f"{key}.npz"
        self._pixels = folder / f"{key}.npy"

    def scan(self) -> tuple[dict[int, str], NDArray[np.int64], str] | None:
        """Read faults by index, moments, and the digest of the pixels; None if the file is missing or damaged."""
        try:
            arrays = read_npz(self._scan)
            indices, faults = arrays["places"].tolist(), arrays["faults"].tolist()
            return dict(zip(indices, faults, strict=True)), arrays["moments"], str(arrays["pixels"])
        except (ArtifactError, KeyError):
            return None

    def write_scan(self, faults: Mapping[int, str], moments: NDArray[np.int64], *, has_pixels: bool) -> None:
        """Write faults and moments, and the digest of the pixels if they are written."""
        indices, reasons = np.array([*faults], np.int64), np.array([*faults.values()], np.str_)
        digest = np.array(sha256_of(self._pixels) if has_pixels else "")
        write_npz(self._scan, {"places": indices, "faults": reasons, "moments": moments, "pixels": digest})

    def has_pixels(self, digest: str) -> bool:
        """Return whether the pixels exist and have the digest they were written with."""
        return self._pixels.is_file() and digest == sha256_of(self._pixels)

    def pixels(self) -> NDArray[np.uint8]:
        """Return the pixels, memory-mapped."""
        mapped: NDArray[np.uint8] = np.load(self._pixels, mmap_mode="r")
        return mapped

    @contextmanager
    def writing(self, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
        """Yield an array to fill; it is saved when the block ends without an error."""
        with staging(self._pixels.parent) as folder:
            staged = folder / self._pixels.name
            pixels = np.lib.format.open_memmap(staged, mode="w+", dtype=np.uint8, shape=shape)
            if hasattr(os, "posix_fallocate"):  # a sparse file that runs out of space later kills the process
                with staged.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, staged.stat().st_size)
            yield pixels
            pixels.flush()
            settle(staged, self._pixels)


def unpacked(archive: Path, cache_dir: Path, progress: Progress = quiet) -> Path:
    """Return the folder `cache_dir/archives/<sha256 of the archive>/`, unpacked on the first call.

    Concurrent callers wait for the first one. If names or sizes of the unpacked files have changed, the archive is
    unpacked again. Arguments and errors are those of `archives.unpack`.
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


def _sha256(archive: Path, progress: Progress) -> str:
    digest, size = hashlib.sha256(), archive.stat().st_size
    with archive.open("rb") as file:
        while chunk := file.read(_HASHED_BYTES):
            digest.update(chunk)
            if len(chunk) == _HASHED_BYTES:
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
    for parent, _, names in sorted(os.walk(folder)):
        for path in (f"{parent}/{name}" for name in sorted(names) if name != _LIST):
            size = os.stat(path).st_size  # noqa: PTH116  (a Path for every file takes four times as long)
            digest.update(f"{size} {path.removeprefix(str(folder))}\0".encode())
    return digest.hexdigest()
