"""Tables, CSV or Parquet: which column holds the images, which the labels, and which split each row belongs to."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diptych.data.paths import contained
from diptych.data.readers import Files, ListedSplit, Listing, as_names
from diptych.data.readers.csv_table import IMAGE_COLUMNS, LABEL_COLUMNS, CsvTable, read_lines, shown
from diptych.data.readers.layout import SPLITS
from diptych.data.readers.parquet import SUFFIX, ParquetImages, ParquetTable
from diptych.data.readers.tree import by_path
from diptych.errors import DataError, UsageError

Shape: TypeAlias = tuple[int, int, int]
Table: TypeAlias = CsvTable | ParquetTable

SUFFIXES = frozenset({".csv", ".tsv", SUFFIX})
_SHARD = re.compile(r"(.*)-([0-9]+)-of-([0-9]+)(?![0-9])")
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")


def read_tables(paths: Sequence[Path], root: Path | None = None, shape: Shape | None = None) -> Listing:
    """Read the tables of a folder together; their names contain their splits.

    CSV files whose names contain none are skipped if others contain one; otherwise there must be only one. Parquet
    files must all contain one, or none: then they are one set, which a column `split` may divide.

    Raises:
        UsageError: see `refuse_options`.
        DataError: it is ambiguous which tables are meant, or some of `…-of-00002` are missing.
    """
    _check_complete(paths)
    shards: dict[str, list[Path]] = {}
    for path in paths:
        shards.setdefault(split_of(path), []).append(path)
    if len(paths) == 1 and "train" in shards:
        return read_splits({"": paths}, root, shape)
    unnamed = shards.pop("", []) if len(shards) > 1 else []
    if paths[0].suffix.lower() == SUFFIX:
        if unnamed:
            raise DataError(f"The name of {str(unnamed[0])!r} must contain train, validation or test, as others do.")
        return read_splits(shards, root, shape)
    for split, same in shards.items():
        if len(same) > 1:
            names = ", ".join(repr(path.name) for path in same)
            which = f"all of {split}" if split else "and none says train or test in its name"
            raise DataError(f"{str(same[0].parent)!r} has the tables {names}, {which}: use one of them as DATA.")
    return read_splits(shards, root, shape)


def split_of(path: Path) -> str:
    """Return the split in a file's name; "" if there is none, or more than one."""
    splits = {SPLITS[word] for word in words(path.stem) if word in SPLITS}
    return splits.pop() if len(splits) == 1 else ""


def words(name: str) -> set[str]:
    """Return the words of a name, in lower case."""
    return set(re.split(r"[^a-z]+", name.lower()))


def refuse_options(data: str, root: Path | None, shape: Shape | None) -> None:
    """Raise an error for an option that is set, because the data are of another kind."""
    for option, value, wanted in (("--root", root, "paths"), ("--pixel-shape", shape, "pixels")):
        if value is not None:
            raise UsageError(f"{option} is for a table of {wanted}; {data!r} is not one.")


def _check_complete(paths: Sequence[Path]) -> None:
    """Raise an error if a table of a numbered set is missing."""
    shards: dict[tuple[str, int], set[int]] = {}
    for path in paths:
        if shard := _SHARD.match(path.name):
            shards.setdefault((shard[1], int(shard[3])), set()).add(int(shard[2]))
    for (name, count), numbers in shards.items():
        missing = next((number for number in range(count) if number not in numbers), None)
        if missing is not None:
            lacking = f"{name}-{missing:05}-of-{count:05}"
            raise DataError(f"{str(paths[0].parent)!r} lacks {lacking}: download it, or use one file as DATA.")


def read_splits(shards: Mapping[str, Sequence[Path]], root: Path | None, shape: Shape | None) -> Listing:
    """Read the files of each split, .csv, .tsv or .parquet; a column may divide those of the split `""`.

    Paths are relative to `root`, or else to the file's folder; `shape` is the (height, width, channels) of pixels.
    """
    tables: list[tuple[str, Table]] = [
        (split, ParquetTable.open(path) if path.suffix.lower() == SUFFIX else CsvTable.open(path))
        for split, paths in shards.items()
        for path in paths
    ]
    first = tables[0][1]
    if isinstance(first, CsvTable) and first.has_pixels:
        refuse_options(str(first.path), root, None)
        return _list_pixels({split or "train": table for split, table in tables if isinstance(table, CsvTable)}, shape)
    refuse_options(str(first.path), None, shape)
    return _list_rows(tables, root or first.path.parent)


def _list_rows(tables: Sequence[tuple[str, Table]], root: Path) -> Listing:
    """List the images of the rows: paths sorted, so that the order of rows does not matter; bytes in order."""
    first = tables[0][1]
    columns = _Columns.of(first, is_divided=not tables[0][0])
    labels, splits, names, places = list[str](), list[str](), dict[str, str](), dict[str, tuple[Table, int]]()
    for split, table in tables:
        if _Columns.of(table, is_divided=not split) != columns:
            raise DataError(f"{str(table.path)!r} has other columns or classes than {str(first.path)!r}.")
        some = _read_labels(table, columns, names)
        labels += some
        splits += _read_splits(table, columns.split) if columns.split else [split or "train"] * len(some)
        if columns.image in table.text_columns:
            _add_paths(places, table, columns.image, root)
    if not labels:
        raise DataError(f"{str(first.path)!r} has no rows: expected one per image.")
    class_names, labels_m = find_classes(labels, splits, names, first.path)
    if places:
        order_m, ids_m = np.array(by_path([*places]), dtype=np.intp), as_names(places)
    else:
        parquet = [table for _, table in tables if isinstance(table, ParquetTable)]
        images = ParquetImages.of(parquet, columns.image, root)
        order_m = images.rows
        ids_m = as_names(f"{table.path.name}:{row}" for table in parquet for row in range(sum(table.group_sizes)))
    listed, split_m = {}, np.array(splits)
    for split in sorted(set(splits)):
        rows = order_m[split_m[order_m] == split]
        stored = Files(root, ids_m[rows]) if places else replace(images, rows=rows)
        listed[split] = ListedSplit(stored, labels_m[rows], ids_m[rows])
    return Listing.of(class_names, listed)


def _list_pixels(tables: Mapping[str, CsvTable], shape: Shape | None) -> Listing:
    first = next(iter(tables.values()))
    shape = shape or first.square()
    labels, splits, images = list[str](), list[str](), {}
    for split, table in tables.items():
        some, images[split] = table.pixels(shape)
        _check_labels(table, some)
        labels += some
        splits += [split] * len(some)
    class_names, labels_m = find_classes(labels, splits, {}, first.path)
    split_m = np.array(splits)
    listed = {split: ListedSplit.of_pixels(images[split], labels_m[split_m == split]) for split in images}
    return Listing.of(class_names, listed)


@dataclass(frozen=True)
class _Columns:
    """The columns to read, and the class names that the schema gives."""

    image: str
    label: str
    split: str | None
    class_name: str | None
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, table: Table, *, is_divided: bool) -> Self:
        split = next((column for column in table.columns if column.lower() == "split"), None)
        likely = [column for column in table.likely_images if column.lower() not in (*LABEL_COLUMNS, "split")]
        image = _only(table, "images", IMAGE_COLUMNS, likely)
        likely = [column for column in table.likely_labels if column not in (image, split)]
        named = [column for column in likely if column.lower() in LABEL_COLUMNS]
        class_name = next((column for column in named if column.lower() == "class_name" and len(named) == 2), None)
        label = _only(table, "labels", LABEL_COLUMNS, [column for column in likely if column != class_name])
        return cls(image, label, split if is_divided else None, class_name, table.class_names.get(label, ()))


def _only(table: Table, what: str, known: Sequence[str], likely: Sequence[str]) -> str:
    """Return the only likely column that has a known name; or else the only one."""
    columns = [column for column in likely if column.lower() in known] or likely
    if len(columns) != 1:
        which = " or ".join(map(repr, columns)) or "none of them"
        shown_columns = ", ".join(map(repr, table.columns[:12])) + (" …" if len(table.columns) > 12 else "")
        raise DataError(
            f"{str(table.path)!r} has the columns {shown_columns}; {what} may be in {which}: "
            f"call one column {known[0]!r}, and no other {', '.join(known)}."
        )
    return columns[0]


def _read_splits(table: Table, column: str) -> Iterator[str]:
    for row, cell in enumerate(table.texts(column)):
        if cell.lower() not in SPLITS:
            known = ", ".join(SPLITS)
            raise DataError(f"{table.at(row)} has the split {shown(cell)}: expected one of {known}.")
        yield SPLITS[cell.lower()]


def _add_paths(places: dict[str, tuple[Table, int]], table: Table, column: str, root: Path) -> None:
    """Add the paths of a table, in normal form, each with its row."""
    for row, text in enumerate(table.texts(column)):
        try:
            path = contained(root, text)
        except DataError as error:
            raise DataError(f"{table.at(row)} leaves the folder. {error}") from error
        if not os.path.isfile(path):  # noqa: PTH113  (false for a name too long for the file system)
            missing = f"is not a file below {str(root)!r} (see --root)"
            raise DataError(f"{table.at(row)} names the image {shown(text)}, which {missing}.")
        name = posixpath.normpath(text)
        if name in places:
            before, row_before = places[name]
            first = before.at(row_before).rstrip(",")
            raise DataError(f"{table.at(row)} names the image {shown(name)} again, after {first}.")
        places[name] = table, row


def _read_labels(table: Table, columns: _Columns, names: dict[str, str]) -> list[str]:
    """Read the labels of a table, and add the class names that the schema or a column gives them to `names`."""
    labels = table.texts(columns.label)
    names |= {str(number): name for number, name in enumerate(columns.class_names)}
    _check_labels(table, labels)
    for row, label in enumerate(labels):
        if columns.class_names and label not in names:
            expected = f"expected 0 to {len(names) - 1}. For images without labels, use `diptych predict`"
            raise DataError(f"{table.at(row)} has the label {shown(label)}: {expected}.")
    if columns.class_name:
        for row, (label, name) in enumerate(zip(labels, table.texts(columns.class_name), strict=True)):
            if names.setdefault(label, name) != name or not name:
                before = f"rows before it {shown(names[label])}"
                raise DataError(f"{table.at(row)} names the label {shown(label)} {shown(name)}, {before}.")
    return labels


def _check_labels(table: Table, labels: Sequence[str]) -> None:
    if "" in labels:
        raise DataError(f"{table.at(labels.index(''))} has no label.")


def find_classes(
    labels: Sequence[str], splits: Sequence[str], names: Mapping[str, str], path: Path
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of the classes of training, or else of all rows, and each row's index of them, int64, (M,)."""
    trained = dict.fromkeys(label for label, split in zip(labels, splits, strict=True) if split == "train")
    known = trained or dict.fromkeys(labels)
    are_numbers = all(map(_NUMBER.fullmatch, known))
    ordered = sorted(known, key=int) if are_numbers else sorted(known)
    if len(known) < 2:
        scope = "in training" if trained else "in all"
        raise DataError(f"{str(path)!r} has 1 class {scope}, {shown(ordered[0])}: at least 2 are needed.")
    for label, split in zip(labels, splits, strict=True):
        if label not in known:
            named = f", {shown(names[label])}," if label in names else ""
            raise DataError(f"{str(path)!r} has the label {shown(label)}{named} in {split} but not in training.")
    number_of = {label: number for number, label in enumerate(ordered)}
    labels_m = np.array([number_of[label] for label in labels], dtype=np.int64)
    return _name_numbers(ordered, names, path) if are_numbers else tuple(ordered), labels_m


def _name_numbers(labels: list[str], names: Mapping[str, str], path: Path) -> tuple[str, ...]:
    """Return the names of labels that are numbers, in order."""
    for first, second in pairwise(labels):
        if int(first) == int(second):
            same = f"the labels {first!r} and {second!r} for the same number"
            raise DataError(f"{str(path)!r} has {same}: use one of them.")
    class_names = [names[label] for label in labels] if names else _names_beside(path) or labels
    if len(class_names) != len(labels):
        beside = f"classes.txt beside it has {len(class_names)} names"
        raise DataError(f"{str(path)!r} has {len(labels)} labels, but {beside}.")
    for name in class_names:
        if class_names.count(name) > 1:
            raise DataError(f"{str(path)!r} gives two labels the name {shown(name)}; class names must be unique.")
    return tuple(class_names)


def _names_beside(path: Path) -> list[str] | None:
    """Return the lines of `classes.txt` beside a table, if there is one."""
    path = path.with_name("classes.txt")
    if not path.exists():
        return None
    names = [name.strip() for name in "".join(read_lines(path)).rstrip().split("\n")]
    if "" in names:
        raise DataError(f"{str(path)!r}, line {names.index('') + 1}: expected one class name per line, got none.")
    return names
