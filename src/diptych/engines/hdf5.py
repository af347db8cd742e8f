"""Read HDF5 files from untrusted sources: float arrays stored in the file itself, and attributes."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from diptych.engines.contract import MOST_BYTES, Arrays
from diptych.errors import ArtifactError, cannot_read

_MOST_OBJECTS = 20_000
_MOST_DEPTH = 32
_MOST_RATIO = 200
_MOST_ENTRIES = 1_000_000
_HEAP = b"GCOL\1\0\0\0"


@dataclass(frozen=True, eq=False)
class Tree:
    """Float arrays and the attributes of groups, by path without a leading slash."""

    arrays: Arrays = field(default_factory=dict)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_tree(source: Path | BinaryIO, where: str, leave_out: tuple[str, ...] = (), arrays: bool = True) -> Tree:
    """Check and read a whole file, but for the top-level groups `leave_out`; without `arrays`, only its attributes.

    Raises ArtifactError, which calls the file `where`, if it is damaged or too large, or refers to other files.
    """
    try:
        if isinstance(source, Path):
            with source.open("rb") as content:
                _check_heaps(mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ))
        else:
            _check_heaps(source.read())
        with h5py.File(source, "r") as file:
            objects = dict(_objects(file, where, leave_out))
            datasets = {path: item for path, item in objects.items() if isinstance(item, h5py.Dataset)}
            num_bytes = sum(dataset.nbytes for dataset in datasets.values())
            num_stored = sum(dataset.id.get_storage_size() for dataset in datasets.values())
            if num_bytes > min(MOST_BYTES, _MOST_RATIO * max(num_stored, 2**20)):
                raise ArtifactError(
                    f"Cannot read '{where}': its {num_stored:,} bytes of arrays unpack to {num_bytes:,}; "
                    f"the limits are {MOST_BYTES:,} bytes and {_MOST_RATIO} times the stored size."
                )
            values = {path: _values(item) for path, item in datasets.items() if arrays}
            floats = {path: array for path, array in values.items() if array is not None}
            return Tree(floats, {path: dict(item.attrs) for path, item in objects.items() if path not in datasets})
    except (OSError, RuntimeError, ValueError, LookupError, TypeError) as error:
        raise cannot_read(where, "HDF5 file", error) from error


def _check_heaps(content: bytes | mmap.mmap) -> None:
    """Raise for global heaps whose entries do not fill them: HDF5's own reader loops forever on some of them.

    See the HDF5 file format specification, version 3.0, section III.E.
    """
    widths = content[13:15] if content[8] < 2 else content[9:11]
    if content[:8] != b"\x89HDF\r\n\x1a\n" or widths != b"\x08\x08":
        raise ValueError("its header is not that of an HDF5 file with 64-bit sizes")
    start, count = content.find(_HEAP), 0
    while start >= 0:
        place, end = start + 16, start + int.from_bytes(content[start + 8 : start + 16], "little")
        while place + 16 <= end <= len(content):
            length = int.from_bytes(content[place + 8 : place + 16], "little")
            is_free = content[place : place + 2] == b"\0\0"
            place += length if is_free else 16 + -(-length // 8) * 8
            count += 1
            if count > _MOST_ENTRIES or (is_free and length < 16):
                break
        if place + 16 <= end or place > end or end > len(content):
            raise ValueError(f"the global heap at byte {start} is damaged")
        start = content.find(_HEAP, start + 8)


def _objects(file: h5py.File, where: str, leave_out: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield every group and dataset, up to a limit, because hard links can form cycles."""
    todo = [("", file)]
    count = 0
    while todo:
        path, group = todo.pop()
        yield path, group
        count += len(group)
        if count > _MOST_OBJECTS or path.count("/") > _MOST_DEPTH:
            raise ArtifactError(
                f"Cannot read '{where}': its groups form a cycle or have more than {_MOST_OBJECTS:,} entries."
            )
        for name in group:
            inner = f"{path}/{name}".lstrip("/")
            if inner not in leave_out:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ArtifactError(f"Cannot read '{where}': {inner!r:.80} is a link; expected an array.")
                item = group[name]
                if isinstance(item, h5py.Group):
                    todo.append((inner, item))
                elif item.is_virtual or item.external:
                    raise ArtifactError(f"Cannot read '{where}': {inner!r:.80} is stored in another file.")
                else:
                    yield inner, item


def _values(dataset: h5py.Dataset) -> np.ndarray | None:
    """Return an array of floats, or None; bfloat16, which NumPy lacks, becomes float32 without loss."""
    if dataset.dtype.kind == "f":
        return np.asarray(dataset[()])
    is_bfloat16 = dataset.dtype == np.dtype("V2") and dataset.attrs.get("dtype") == "bfloat16"
    return (np.ascontiguousarray(dataset[()]).view("<u2").astype("<u4") << 16).view("<f4") if is_bfloat16 else None
