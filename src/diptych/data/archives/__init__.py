"""Zip and tar archives, from anybody: unpacked wholly, below one folder and within limits, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.data.archives import tars, zips
from diptych.data.archives.limits import LIMITS, Fault, Limits, Meter, damaged
from diptych.data.archives.members import Member
from diptych.data.archives.seals import is_as_sealed, seal
from diptych.data.archives.staging import locked, staged
from diptych.data.archives.streams import HASHING, UNPACKING, Packed, Progress, Stream, compression, decompressed, plain
from diptych.data.archives.tree import Tree
from diptych.errors import DataError

__all__ = ["IN_BYTES", "LIMITS", "Limits", "is_archive", "unpack", "unpacked"]

IN_BYTES = (HASHING, UNPACKING)
"""What is told of in bytes, not in images."""
_WANTED = "wanted a zip, or a tar: plain or packed by gzip, bzip2 or xz"
_OTHERS = {b"\x28\xb5\x2f\xfd": "Zstandard", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "RAR"}

_Reader = Callable[[Packed, Meter], Iterator[Member]]


def is_archive(path: Path) -> bool:
    """Whether a file is an archive, by its first bytes.

    Also true of kinds that `unpack` knows only to refuse (Zstandard, 7z, RAR), so that they get its error. A compressed
    file is an archive where a tar is inside.

    Raises:
        DataError: the file cannot be read.
    """
    if not path.is_file():
        return False
    with _opened(path, None) as packed:
        head = packed.read(tars.BLOCK)
        try:
            return _other(head) is not None or _reader(packed, head) is not None
        except Fault:  # no tar to be seen
            return False


def unpack(archive: Path, target: Path, limits: Limits = LIMITS, progress: Progress | None = None) -> Path:
    """Unpack an archive wholly, or not at all.

    Files become 0644 and folders 0755, less the umask, and all are new: no owner, time or permission is taken over.
    An archive in the archive is a file like any other. What macOS leaves (`__MACOSX/`, `.DS_Store`, `._*`) is not.

    Args:
        archive: a zip, or a tar: plain, or packed by gzip, bzip2 or xz. Its name says nothing.
        target: what must not exist; it appears by one rename when everything is in it. Parents are made.
        limits: how much it may unpack to.
        progress: called now and then with what is being done, the bytes of the archive that were read, and those that
            there are.

    Returns:
        `target`.

    Raises:
        DataError: it is no archive, damaged, holds something that is not let in, is too large, or cannot be written.
    """
    with _opened(archive, progress) as packed:
        return _unpack(packed, target, limits)


def unpacked(archive: Path, cache_dir: Path, limits: Limits = LIMITS, progress: Progress | None = None) -> Path:
    """Return the folder that an archive unpacks to, unpacked at the first call and kept.

    The folder is `cache_dir/archives/<sha256 of the archive>/`. Processes that want it at once wait for the first.
    Where names or sizes of its files are no longer those that were unpacked, it is unpacked again.

    Args:
        archive: see `unpack`.
        cache_dir: where to keep it; made when missing.
        limits: how much it may unpack to.
        progress: see `unpack`.

    Raises:
        DataError: see `unpack`.
    """
    with _opened(archive, progress) as packed:
        folder = cache_dir / "archives"
        target = folder / packed.sha256()
        if not is_as_sealed(target):
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / f".{target.name}.lock"):
                if not is_as_sealed(target):
                    if target.exists():
                        shutil.rmtree(target)
                    _unpack(packed, target, limits, seals=True)
    return target


def _unpack(packed: Packed, target: Path, limits: Limits, *, seals: bool = False) -> Path:
    meter = Meter(limits, packed.size)
    packed.seek(0)
    head = packed.read(tars.BLOCK)
    reader = _reader(packed, head)
    if not reader:
        other = _other(head)
        raise Fault(f"it is {other}, {_WANTED}" if other else f"it is no archive, {_WANTED}")
    packed.seek(0)
    try:
        with staged(target) as folder, Tree(folder, limits) as tree:
            for member in reader(packed, meter):
                tree.add(member)
            if not tree.num_files:
                raise damaged("it holds no files")
            packed.finish()
            if seals:
                seal(folder)
    except OSError as error:
        why = error.strerror or error
        raise DataError(
            f"Cannot unpack {packed.name!r} into {str(target)!r}: {why}, after {meter.num_bytes:,} bytes."
        ) from error
    return target


def _reader(packed: Packed, head: bytes) -> _Reader | None:
    """Find what reads an archive that begins with `head`; None if nothing does."""
    if tars.is_start(head):
        return lambda packed, meter: tars.members(Stream(plain(packed), meter), meter)
    if head.startswith(zips.STARTS):
        return zips.members
    new = compression(head)
    if not new:
        return None
    packed.seek(0)
    inside = b""
    for chunk in decompressed(packed, new):
        inside += chunk
        if len(inside) >= tars.BLOCK:
            break
    if not tars.is_start(inside[: tars.BLOCK]):
        return None
    return lambda packed, meter: tars.members(Stream(decompressed(packed, new), meter), meter)


def _other(head: bytes) -> str | None:
    return next((name for magic, name in _OTHERS.items() if head.startswith(magic)), None)


@contextmanager
def _opened(archive: Path, progress: Progress | None) -> Iterator[Packed]:
    if not archive.is_file():  # opening a named pipe would wait for a writer
        raise DataError(f"Cannot read {str(archive)!r}: there is no such file, {_WANTED}.")
    try:
        with archive.open("rb") as file:
            yield Packed(file, progress)
    except Fault as fault:
        raise DataError(f"Cannot unpack {str(archive)!r}: {fault}.") from fault
    except OSError as error:
        raise DataError(f"Cannot use {str(error.filename or archive)!r}: {error.strerror or error}.") from error
