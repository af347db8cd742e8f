"""Which files of a folder are tables, and which split each is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence, Set
from itertools import islice
from pathlib import Path

from diptych.data.readers import Listing
from diptych.data.readers.columns import Shape, list_pixels, list_rows
from diptych.data.readers.csv_table import CsvTable
from diptych.data.readers.folder import SPLITS, folder_names, image_names
from diptych.data.readers.parquet import SUFFIX, ParquetTable
from diptych.errors import DataError, UsageError

SUFFIXES = frozenset({".csv", ".tsv", SUFFIX})
_NO_CLASS = SPLITS.keys() | {"data", "image", "images", "img", "imgs"}
_SHARD = re.compile(r"(.*)-([0-9]+)-of-([0-9]+)(?![0-9])")
_MAX_NAMED = 3


def find_tables(folder: Path) -> list[Path]:
    """Return the tables of a folder: Parquet files at its top, else in its `data/`, else CSV files at its top."""
    top = _files(folder, SUFFIXES)
    shards = [path for path in top if path.suffix.lower() == SUFFIX]
    return shards or _files(folder / "data", {SUFFIX}) or top


def is_tree(folder: Path) -> bool:
    """Return whether a folder consists of class folders: it, or its `train`, holds two that have images in them.

    A folder named like a split, or `images`, is not a class if a table may name what it holds.
    """
    besides = _NO_CLASS if any(map(_may_fit, find_tables(folder))) else SPLITS.keys()
    train = folder / "train"
    return _num_classes(folder, besides) >= 2 or (os.path.isdir(train) and _num_classes(train, set()) >= 2)  # noqa: PTH112


def read_tables(paths: Sequence[Path], root: Path | None = None, shape: Shape | None = None) -> Listing:
    """Read the tables of a folder together.

    The name of a table says its split: `train.csv`, `fashion-mnist_test.csv`, `validation-00000-of-00002.parquet`.
    CSV files whose names say none are skipped if others say one; otherwise there must be only one. Parquet files must
    all say one, or none: then they are one set, which a column `split` may divide.

    Raises:
        UsageError: see `read_table`.
        DataError: it is ambiguous which tables are meant, or some of `…-of-00002` are missing; see also `read_table`.
    """
    _check_complete(paths)
    if len(paths) == 1 and split_of(paths[0]) in ("train", None):
        return read_table(paths[0], root, shape)
    shards: dict[str, list[Path]] = {}
    for path in paths:
        shards.setdefault(split_of(path) or "", []).append(path)
    if paths[0].suffix.lower() == SUFFIX:
        if "" in shards and len(shards) > 1:
            raise DataError(f"The name of {str(shards[''][0])!r} must say train, validation or test, as others do.")
        return _read(shards, root, shape)
    if len(shards) > 1:
        shards.pop("", None)
    for split, same in shards.items():
        if len(same) > 1:
            names = ", ".join(repr(path.name) for path in same)
            which = f"all of {split}" if split else "and none says train or test in its name"
            raise DataError(f"{str(same[0].parent)!r} has the tables {names}, {which}: give one of them as DATA.")
    return _read(shards, root, shape)


def read_table(path: Path, root: Path | None = None, shape: Shape | None = None) -> Listing:
    """Read one file, .csv, .tsv or .parquet.

    Paths are relative to `root`, or else to the file's folder; `shape` is the (height, width, channels) of pixels.
    """
    return _read({"": [path]}, root, shape)


def split_of(path: Path) -> str | None:
    """Return the split that a file's name says; None if it says none, or several."""
    splits = {SPLITS[word] for word in _words(path.stem) if word in SPLITS}
    return splits.pop() if len(splits) == 1 else None


def _read(shards: Mapping[str, Sequence[Path]], root: Path | None, shape: Shape | None) -> Listing:
    tables = [(split, _open(path)) for split, paths in shards.items() for path in paths]
    first = tables[0][1]
    if first.has_pixels:
        if root is not None:
            raise UsageError(f"--root is for a table of paths; {str(first.path)!r} is not one.")
        return list_pixels({split or "train": table for split, table in tables if isinstance(table, CsvTable)}, shape)
    if shape is not None:
        raise UsageError(f"--pixel-shape is for a CSV of pixels; {str(first.path)!r} is not one.")
    return list_rows(tables, root or first.path.parent)


def _open(path: Path) -> CsvTable | ParquetTable:
    return ParquetTable.open(path) if path.suffix.lower() == SUFFIX else CsvTable.open(path)


def _check_complete(paths: Sequence[Path]) -> None:
    """Raise an error for tables whose names say that there are more."""
    shards: dict[tuple[str, int], set[int]] = {}
    for path in paths:
        if shard := _SHARD.match(path.name):
            shards.setdefault((shard[1], int(shard[3])), set()).add(int(shard[2]))
    for (name, count), numbers in shards.items():
        missing = list(islice((number for number in range(count) if number not in numbers), _MAX_NAMED + 1))
        if missing:
            named = ", ".join(f"{name}-{number:05}-of-{count:05}" for number in missing[:_MAX_NAMED])
            more = " and others" if len(missing) > _MAX_NAMED else ""
            raise DataError(f"{str(paths[0].parent)!r} lacks {named}{more}: download it, or give one file as DATA.")


def _may_fit(path: Path) -> bool:
    """Return whether a table is Parquet, or its first lines name an image file or are pixels, or cannot be read."""
    if path.suffix.lower() == SUFFIX:
        return True
    try:
        table = CsvTable.open(path)
    except DataError:
        return True
    return table.has_pixels or table.names_images


def _files(folder: Path, suffixes: Set[str]) -> list[Path]:
    if not os.path.isdir(folder):  # noqa: PTH112  (false if it cannot be searched)
        return []
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in suffixes and not path.name.startswith((".", "_")) and path.is_file()
        )
    except OSError as error:
        raise DataError(f"Cannot read {str(folder)!r}: {error.strerror}.") from error


def _num_classes(folder: Path, besides: Set[str]) -> int:
    return sum(any(image_names(folder / name)) for name in folder_names(folder) if not _words(name) & besides)


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.lower()))
