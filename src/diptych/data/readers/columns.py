"""From the columns of tables, CSV or Parquet, to a listing: images, labels, classes and splits."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diptych.data.paths import contained
from diptych.data.readers import Files, ListedSplit, Listing, as_names
from diptych.data.readers.csv_table import IMAGE_COLUMNS, LABEL_COLUMNS, CsvTable, shown
from diptych.data.readers.folder import SPLITS, by_path
from diptych.data.readers.parquet import ParquetImages, ParquetTable
from diptych.errors import DataError

Shape: TypeAlias = tuple[int, int, int]
Table: TypeAlias = CsvTable | ParquetTable

_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")


def list_rows(tables: Sequence[tuple[str, Table]], root: Path) -> Listing:
    """List the images that rows name or hold, and their classes.

    Images of paths come in the sorted order of their paths, so that the same rows in another order are the same data;
    others keep the order of the rows.

    Args:
        tables: each with its split; `""` for tables that a column `split` may divide.
        root: the folder that paths are relative to, and cannot leave.
    """
    first = tables[0][1]
    columns = _Columns.of(first, is_divided=not tables[0][0])
    labels, splits, places = _Labels(columns.class_names), list[str](), dict[str, tuple[Table, int]]()
    for split, table in tables:
        if _Columns.of(table, is_divided=not split) != columns:
            names = f"{str(table.path)!r} has other columns or classes than {str(first.path)!r}"
            raise DataError(f"{names}: expected the same.")
        labels.add(table, columns)
        cells = table.texts(columns.split) if columns.split else [split or "train"] * len(labels.codes[-1])
        for row, cell in enumerate(cells):
            if cell.lower() not in SPLITS:
                known = ", ".join(SPLITS)
                raise DataError(f"{table.at(row)} has the split {shown(cell)}: expected one of {known}.")
            splits.append(SPLITS[cell.lower()])
        if table.is_text(columns.image):
            _add_paths(places, table, columns.image, root)
    if not splits:
        raise DataError(f"{str(first.path)!r} has columns and no rows: expected one for each image.")
    split_m = np.array(splits)
    class_names, labels_m = labels.to_classes(split_m, first.path)
    parquet = [table for _, table in tables if isinstance(table, ParquetTable)]
    if places:
        order_m, ids_m = np.array(by_path([*places]), dtype=np.intp), as_names(places)
    else:
        order_m = np.arange(len(splits))
        ids_m = as_names(f"{table.path.name}:{row}" for table in parquet for row in range(table.metadata.num_rows))
        images = ParquetImages.of(parquet, columns.image, root)
    listed = {}
    for split in sorted(set(splits)):
        rows = order_m[split_m[order_m] == split]
        some = Files(root, ids_m[rows]) if places else replace(images, rows=rows)
        listed[split] = ListedSplit(some, labels_m[rows], ids_m[rows])
    inferred = [f"{table.path.name}: images in {columns.image!r}, labels in {columns.label!r}" for _, table in tables]
    return Listing.of(class_names, listed, tuple(inferred))


def list_pixels(tables: Mapping[str, CsvTable], shape: Shape | None = None) -> Listing:
    """Read the images that a table for each split holds as levels, in the order height, width, channels.

    Unless a (height, width, channels) is given, images are a square of gray levels, or else one of RGB.
    """
    labels, images, splits = _Labels(), {}, []
    for split, table in tables.items():
        texts, levels = table.pixels()
        split_shape = shape or _square(table.path, levels.shape[1])
        if math.prod(split_shape) != levels.shape[1]:
            raise DataError(f"{str(table.path)!r} has {levels.shape[1]} pixel columns, which is not {split_shape}.")
        images[split] = levels.reshape(-1, *split_shape)
        labels.codes.append(labels.encode(texts))
        splits += [split] * len(texts)
    path = next(iter(tables.values())).path
    if len(shapes := {images_nhwc.shape[1:] for images_nhwc in images.values()}) > 1:
        raise DataError(f"{str(path)!r} and the tables beside it have images of {sorted(shapes)}: expected one shape.")
    split_m = np.array(splits)
    class_names, labels_m = labels.to_classes(split_m, path)
    return Listing.of(
        class_names, {split: ListedSplit.of_pixels(images[split], labels_m[split_m == split]) for split in images}
    )


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
        named = [column for column in likely if column.lower() in IMAGE_COLUMNS]
        image = _only(table, "images", IMAGE_COLUMNS, (table.marked_images, named, likely))
        likely = [column for column in table.likely_labels if column not in (image, split)]
        named = [column for column in likely if column.lower() in LABEL_COLUMNS]
        class_name = next((column for column in named if column.lower() == "class_name" and len(named) == 2), None)
        named = [column for column in named if column != class_name]
        label = _only(table, "labels", LABEL_COLUMNS, ([*table.class_names], named, likely))
        return cls(image, label, split if is_divided else None, class_name, table.class_names.get(label, ()))


def _only(table: Table, what: str, known: tuple[str, ...], choices: Iterable[Sequence[str]]) -> str:
    """Return the only column of the first choice that has any."""
    columns: Sequence[str] = next(filter(None, choices), [])
    if len(columns) != 1:
        which = " or ".join(map(repr, columns)) or "none of them"
        shown_columns = ", ".join(map(repr, table.columns[:12])) + (" …" if len(table.columns) > 12 else "")
        raise DataError(
            f"{str(table.path)!r} has the columns {shown_columns}; {what} may be in {which}: "
            f"call one column {known[0]!r}, and no other {', '.join(known)}."
        )
    return columns[0]


def _add_paths(places: dict[str, tuple[Table, int]], table: Table, column: str, root: Path) -> None:
    """Add the paths of a table, in normal form, each with its row."""
    for row, text in enumerate(table.texts(column)):
        if not text:
            raise DataError(f"{table.at(row)} has no path.")
        try:
            is_file = contained(root, text).is_file()
        except DataError as error:
            raise DataError(f"{table.at(row)} leaves the folder. {error}") from error
        except OSError:  # a name too long for the file system
            is_file = False
        if not is_file:
            missing = f"names the image {shown(text)}, which is not a file below {str(root)!r}"
            raise DataError(f"{table.at(row)} {missing} (see --root).")
        name = posixpath.normpath(text)
        if name in places:
            before, row_before = places[name]
            raise DataError(
                f"{table.at(row)} names the image {shown(name)} again, after {before.at(row_before).rstrip(',')}."
            )
        places[name] = table, row


@dataclass
class _Labels:
    """The labels of all rows, and the class names that the schema or a column gives them."""

    schema_names: tuple[str, ...] = ()
    codes: list[NDArray[np.int64]] = field(default_factory=list)
    code_of: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def encode(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the position in `code_of` of each label, int64, (N,)."""
        return np.array([self.code_of.setdefault(text, len(self.code_of)) for text in texts], dtype=np.int64)

    def add(self, table: Table, columns: _Columns) -> None:
        """Read the labels of a table."""
        texts = table.texts(columns.label)
        known = {str(number): name for number, name in enumerate(self.schema_names)}
        for row, text in enumerate(texts):
            if not text:
                raise DataError(f"{table.at(row)} has no label in column {columns.label!r}.")
            if known and text not in known:
                raise DataError(
                    f"{table.at(row)} has the label {shown(text)}: expected 0 to {len(known) - 1}. "
                    "Images without labels can only be predicted."
                )
        self.names |= known
        if columns.class_name:
            for row, (text, name) in enumerate(zip(texts, table.texts(columns.class_name), strict=True)):
                if self.names.setdefault(text, name) != name or not name:
                    before = shown(self.names[text])
                    raise DataError(
                        f"{table.at(row)} names the label {shown(text)} {shown(name)}, rows before it {before}."
                    )
        self.codes.append(self.encode(texts))

    def to_classes(self, split_m: NDArray[np.str_], path: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Find the classes behind the labels.

        Training samples define the classes; without any, all samples do. Labels that are all whole numbers are sorted
        as numbers, others as text. Numbers may have names: of the schema, of a column, or of `classes.txt`.

        Returns the classes' names, and each row's label as an index of them, int64, (M,).
        """
        where, texts, codes_m = repr(str(path)), [*self.code_of], np.concatenate(self.codes)
        has_train = "train" in split_m
        defining = codes_m[split_m == "train"] if has_train else codes_m
        known = [texts[code] for code in np.unique(defining).tolist()]
        are_numbers = all(map(_NUMBER.fullmatch, known))
        known.sort(key=int if are_numbers else None)
        if len(known) < 2:
            scope = "in training" if has_train else "in all"
            raise DataError(f"{where} has 1 class {scope}, {shown(known[0])}: at least 2 are needed.")
        number_of = {text: number for number, text in enumerate(known)}
        labels_m = np.array([number_of.get(text, -1) for text in texts], dtype=np.int64)[codes_m]
        if (labels_m < 0).any():
            row = int(labels_m.argmin())
            text = texts[codes_m[row]]
            named = f", {shown(self.names[text])}," if text in self.names else ""
            raise DataError(f"{where} has the label {shown(text)}{named} in {split_m[row]} but not in training.")
        return self._named(known, path) if are_numbers else tuple(known), labels_m

    def _named(self, known: list[str], path: Path) -> tuple[str, ...]:
        """Return the names of labels that are numbers, in order."""
        for first, second in pairwise(known):
            if int(first) == int(second):
                labels = f"the labels {first!r} and {second!r} for one number"
                raise DataError(f"{str(path)!r} has {labels}: write it in one way.")
        class_names = [self.names[text] for text in known] if self.names else _names_beside(path) or known
        if len(class_names) != len(known):
            names = f"classes.txt beside it has {len(class_names)} names"
            raise DataError(f"{str(path)!r} has {len(known)} labels, but {names}.")
        for name in class_names:
            if class_names.count(name) > 1:
                raise DataError(f"{str(path)!r} gives two labels the name {shown(name)}: name each class differently.")
        return tuple(class_names)


def _names_beside(path: Path) -> list[str] | None:
    """Return the lines of `classes.txt` beside a table, if there is one."""
    path = path.parent / "classes.txt"
    if not path.is_file():
        return None
    try:
        names = [name.strip() for name in path.read_text(encoding="utf-8-sig").rstrip().split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}.") from error
    if "" in names:
        raise DataError(f"{str(path)!r}, line {names.index('') + 1}: expected one class name a line, got none.")
    return names


def _square(path: Path, num_levels: int) -> Shape:
    for channels in (1, 3):  # never both: the root of 3 is irrational
        side = math.isqrt(num_levels // channels)
        if side * side * channels == num_levels:
            return side, side, channels
    raise DataError(
        f"{str(path)!r} has {num_levels} pixel columns, not those of a square grayscale or RGB image: "
        "set --pixel-shape HxWxC."
    )
