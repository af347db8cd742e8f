"""Images within tar files that are never unpacked: found once, then read from where they lie."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from diptych.data.listing import Names, as_names
from diptych.errors import DataError


@dataclass(frozen=True, eq=False)
class Tarred:
    """Images in an uncompressed tar, or in tars within it.

    Attributes:
        archive: the tar.
        names: (N,), what each is called; an image in a tar within, `n01440764.tar`, has that one's stem before its own.
        offsets: int64, (N,), the byte where each one begins.
        sizes: int64, (N,), the bytes of each one.
    """

    archive: Path
    names: Names
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def read(self, place: int) -> bytes:
        """The bytes of the image at a place, from any thread.

        Raises:
            DataError: they cannot be read.
        """
        size = int(self.sizes[place])
        try:
            with self.archive.open("rb") as raw:
                raw.seek(int(self.offsets[place]))
                content = raw.read(size)
        except OSError as error:
            raise DataError(f"Cannot read {str(self.archive)!r}: {error.strerror}.") from error
        if len(content) < size:
            raise DataError(f"{str(self.archive)!r} is cut short within {str(self.names[place])!r}.")
        return content

    def take(self, places: NDArray[np.intp]) -> Tarred:
        """Those at some places, in that order."""
        return Tarred(self.archive, self.names[places], self.offsets[places], self.sizes[places])


def find_images(archive: Path, suffix: str) -> Tarred:
    """Find the images of a tar and of the tars within it; only the members' headers are read.

    Args:
        archive: the tar, not compressed.
        suffix: how an image's name ends, in any case.

    Raises:
        DataError: it is damaged or cannot be read.
    """
    names, offsets, sizes = [], [], []
    try:
        with archive.open("rb") as raw:
            for name, offset, size in _members(raw, archive):
                if not name.endswith(".tar"):
                    found = [(name, offset, size)]
                else:
                    raw.seek(offset)
                    stem = Path(name).stem
                    found = [(f"{stem}/{inner}", begins, takes) for inner, begins, takes in _members(raw, archive)]
                for path, begins, takes in found:
                    if begins + takes > offset + size:
                        raise DataError(f"{str(archive)!r} is damaged: {path!r} goes on beyond {name!r}.")
                    if path.lower().endswith(suffix):
                        names.append(path)
                        offsets.append(begins)
                        sizes.append(takes)
    except OSError as error:
        raise DataError(f"Cannot read {str(archive)!r}: {error.strerror or error}.") from error
    return Tarred(
        archive,
        as_names(names),
        np.array(offsets, dtype=np.int64),
        np.array(sizes, dtype=np.int64),
    )


def _members(raw: BinaryIO, archive: Path) -> Iterator[tuple[str, int, int]]:
    """Name, first byte and size of each plain file of the tar that begins where `raw` stands."""
    try:
        with tarfile.open(fileobj=raw, mode="r:") as members:
            for member in members:
                if member.isreg() and not member.issparse():
                    yield member.name, member.offset_data, member.size
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{str(archive)!r} is damaged near byte {raw.tell():,}: {error}.") from error
