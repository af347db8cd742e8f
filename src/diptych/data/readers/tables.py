"""Tables, whichever kind: which files of a folder they are, and what reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence, Set
from itertools import islice
from pathlib import Path

from diptych.data.readers import Listing, csv_paths, csv_pixels, csv_text, parquet
from diptych.data.readers.folder import SPLITS, folder_names, image_names
from diptych.errors import DataError, UsageError

SUFFIXES = csv_text.SUFFIXES | {parquet.SUFFIX}
_NO_CLASS = SPLITS.keys() | {"data", "image", "images", "img", "imgs"}
_SHARD = re.compile(r"(.*)-([0-9]+)-of-([0-9]+)(?![0-9])")


def read_table(path: Path, root: Path | None = None, shape: tuple[int, int, int] | None = None) -> Listing:
    """Read one file, .csv, .tsv or .parquet; see `csv_paths`, `csv_pixels` and `parquet`.

    Args:
        path: the file.
        root: the folder that paths are relative to; the file's own unless given.
        shape: (height, width, channels) of a CSV's pixels; inferred unless given.

    Raises:
        UsageError: a root or a shape for a table that has no paths or pixels.
        DataError: see the readers.
    """
    if path.suffix.lower() == parquet.SUFFIX:
        _check_unasked("--pixel-shape", shape, path, "a CSV of pixels")
        return parquet.list_parquet({"": [path]}, root)
    return _read_csv({"": path}, root, shape)


def find_tables(folder: Path) -> list[Path]:
    """The tables of a folder: Parquet files at its top, or else in its `data/`, or else CSV files at its top."""
    top = _files(folder, SUFFIXES)
    shards = [path for path in top if path.suffix.lower() == parquet.SUFFIX]
    return shards or _files(folder / "data", {parquet.SUFFIX}) or top


def is_tree(folder: Path) -> bool:
    """Whether a folder is one of class folders: it, or its `train`, holds two that have images in them.

    A folder called after a split, or `images`, is none of those where a table may name what it holds.
    """
    besides = _NO_CLASS if any(map(_may_fit, find_tables(folder))) else SPLITS.keys()
    train = folder / "train"
    return _num_classes(folder, besides) >= 2 or (os.path.isdir(train) and _num_classes(train, set()) >= 2)  # noqa: PTH112


def read_tables(tables: Sequence[Path], root: Path | None = None, shape: tuple[int, int, int] | None = None) -> Listing:
    """Read the tables of a folder together.

    Which split a table is, its name says: `train.csv`, `fashion-mnist_test.csv`, `validation-00000-of-00002.parquet`.
    CSV files whose names say nothing are passed over where others say something; else there must be only one.
    Parquet files must all say something, or none, and then they are one set, which a column `split` may divide.

    Args:
        tables: what `find_tables` found.
        root: see `read_table`.
        shape: see `read_table`.

    Raises:
        UsageError: see `read_table`.
        DataError: it cannot be told which tables are meant, or some of `…-of-00002` are missing; see also the readers.
    """
    _check_complete(tables)
    if len(tables) == 1 and split_of(tables[0]) in ("train", None):
        return read_table(tables[0], root, shape)
    shards: dict[str, list[Path]] = {}
    for path in tables:
        shards.setdefault(split_of(path) or "", []).append(path)
    unnamed = shards.get("", [])
    if tables[0].suffix.lower() == parquet.SUFFIX:
        _check_unasked("--pixel-shape", shape, tables[0], "a CSV of pixels")
        if unnamed and len(shards) > 1:
            raise DataError(f"{str(unnamed[0])!r} does not say whether it is train, validation or test; others do.")
        return parquet.list_parquet(shards, root)
    if len(shards) > 1:
        shards.pop("", None)
    for split, paths in shards.items():
        if len(paths) > 1:
            names = ", ".join(repr(path.name) for path in paths)
            which = f"of {split} each" if split else "and none says that it is train or test"
            raise DataError(f"{str(paths[0].parent)!r} holds the tables {names}, {which}: give one of them as DATA.")
    return _read_csv({split: paths[0] for split, paths in shards.items()}, root, shape)


def split_of(path: Path) -> str | None:
    """The split that a file's name says; None if it says none, or several."""
    said = {SPLITS[word] for word in re.split(r"[^a-z]+", path.stem.lower()) if word in SPLITS}
    return said.pop() if len(said) == 1 else None


def _check_complete(tables: Sequence[Path]) -> None:
    """Refuse tables of which the names say that there are more."""
    found: dict[tuple[str, int], set[int]] = {}
    for path in tables:
        if shard := _SHARD.match(path.name):
            found.setdefault((shard[1], int(shard[3])), set()).add(int(shard[2]))
    for (name, count), numbers in found.items():
        missing = list(islice((number for number in range(count) if number not in numbers), 4))
        if missing:
            named = ", ".join(f"{name}-{number:05}-of-{count:05}" for number in missing[:3])
            more = " and others" if len(missing) > 3 else ""
            raise DataError(
                f"{str(tables[0].parent)!r} lacks {named}{more}: fetch what is missing, or give one file as DATA."
            )


def _may_fit(table: Path) -> bool:
    """Whether a table is Parquet, or its first lines name an image file or are pixels; true if it cannot be read."""
    if table.suffix.lower() == parquet.SUFFIX:
        return True
    try:
        head = csv_text.read_head(table)
    except DataError:
        return True
    return csv_pixels.looks_like_pixels(head) or any(map(csv_paths.is_image, (*head.line, *head.row)))


def _read_csv(tables: Mapping[str, Path], root: Path | None, shape: tuple[int, int, int] | None) -> Listing:
    path = next(iter(tables.values()))
    head = csv_text.read_head(path)
    if csv_paths.looks_like_paths(head):
        _check_unasked("--pixel-shape", shape, path, "a CSV of pixels")
        return csv_paths.list_paths(tables, root)
    if csv_pixels.looks_like_pixels(head):
        _check_unasked("--root", root, path, "a table of paths")
        return csv_pixels.read_pixels(tables, shape)
    columns = ", ".join(map(repr, head.line[:8])) + (" …" if len(head.line) > 8 else "")
    raise DataError(
        f"{str(path)!r} has the columns {columns}: wanted one of paths, such as path, and one of labels; "
        "or one of labels and the rest pixels, 0 to 255."
    )


def _check_unasked(option: str, value: object, path: Path, wanted: str) -> None:
    if value is not None:
        raise UsageError(f"{option} is for {wanted}; {str(path)!r} is none.")


def _files(folder: Path, suffixes: set[str] | frozenset[str]) -> list[Path]:
    if not os.path.isdir(folder):  # noqa: PTH112  (false where it cannot be seen)
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
