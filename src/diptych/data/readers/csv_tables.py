"""Tables as CSV, a row an image: a path and a label, or a label and pixels.

Cells are divided by commas, semicolons or tabs; the text is UTF-8, with a byte order mark or without. Images come in
the sorted order of their paths, so that the same rows in another order are the same data; rows of pixels keep theirs.
"""

from __future__ import annotations

import csv
import math
import posixpath
import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from diptych.data.paths import contained
from diptych.data.readers import Files, ListedSplit, Listing, as_names
from diptych.data.readers.folder import by_path, is_image
from diptych.data.readers.labels import LABEL_COLUMNS, names_beside, shown, split_named, to_classes
from diptych.errors import DataError

PATH_COLUMNS = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "name",
)  # fmt: skip
_LONGEST_LINE = 2**24
_MIN_LEVELS = 4
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_PIXEL_NAME = re.compile(r"(p|px|pix|pixel)?[_ ]?[0-9]+(x[0-9]+)?")


@dataclass(frozen=True)
class Table:
    """A CSV file and its first two lines; `first` is empty if there is only one."""

    path: Path
    delimiter: str
    line: tuple[str, ...]
    first: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """The cells of the first line in lower case."""
        return [cell.lower() for cell in self.line]

    @property
    def has_paths(self) -> bool:
        """Whether rows name image files."""
        if any(map(is_image, self.line)):
            raise DataError(f"{_at(self.path, 1)} names an image file: put a header such as path,label above it.")
        return bool(self.path_columns)

    @property
    def path_columns(self) -> list[int]:
        """The columns that may be of paths: those with such a name, else the first that begins with an image file."""
        like_image = [place for place, cell in enumerate(self.first) if is_image(cell)]
        named = [place for place, column in enumerate(self.columns) if column in PATH_COLUMNS]
        both = [place for place in named if place in like_image]
        return (both or named) if len(named) > 1 else named or like_image[:1]

    @property
    def has_pixels(self) -> bool:
        """Whether most columns are numbers."""
        row = self.first or self.line
        return len(row) > _MIN_LEVELS and _count_numbers(row) > len(row) // 2

    @property
    def has_header(self) -> bool:
        """Whether the first line of a table of pixels names its columns."""
        is_counted = self.columns == [str(place) for place in range(len(self.line))]
        has_label = any(column in LABEL_COLUMNS for column in self.columns)
        return is_counted or has_label or _count_numbers(self.line) < len(self.line) - 1

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of each row's last line, from 1, and its cells; skips empty lines.

        Raises:
            DataError: a row has another number of cells; see also `open_table`.
        """
        for line, row in _rows(self.path, self.delimiter):
            if len(row) != len(self.line):
                raise DataError(f"{_at(self.path, line)} has {len(row)} cells, the header {len(self.line)}.")
            yield line, row


def open_table(path: Path) -> Table:
    """Read how a table begins; its delimiter is the most frequent in the first line, outside quotes.

    Raises:
        DataError: it cannot be read, is empty, or a line is too long or not text in UTF-8.
    """
    try:
        with _open(path) as stream:
            line = _QUOTED.sub("", next(_lines(stream, path), ""))
    except OSError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
    delimiter = max(",;\t", key=line.count)
    rows = _rows(path, delimiter)
    head = next(rows, None)
    if head is None:
        raise DataError(f"{str(path)!r} is empty: expected a header and rows.")
    return Table(path, delimiter, tuple(head[1]), tuple(next(rows, (0, ()))[1]))


def list_paths(tables: Mapping[str, Table], root: Path | None = None) -> Listing:
    """List the images that tables name, and their classes.

    Each split has a table, or all have one for `""`, which a column `split` may divide. Paths are relative to `root`,
    or to the first table's folder, and cannot leave it.

    Raises:
        DataError: the columns are ambiguous; or a row has no label, or a path that leaves the folder, is not a file, or
            was named before. See `to_classes` for the labels. Names file and line.
    """
    first = next(iter(tables.values())).path
    root = root or first.parent
    names: dict[str, list[str]] = {}
    codes: dict[str, array[int]] = {}
    code_of: dict[str, int] = {}
    class_names: dict[str, str] = {}
    line_of: dict[str, tuple[Path, int]] = {}
    inferred = []
    for table_split, table in tables.items():
        path_column, label_column, name_column, split_column = _columns(table, is_divided=not table_split)
        inferred.append(
            f"{table.path.name}: paths in {table.line[path_column]!r}, labels in {table.line[label_column]!r}"
        )
        rows = table.rows()
        next(rows)
        for line, row in rows:
            where, split = _at(table.path, line), table_split or "train"
            if split_column is not None:
                split = split_named(row[split_column], where)
            name, label = _image_name(row[path_column], root, where), row[label_column]
            if not label:
                raise DataError(f"{where} has no label in column {table.line[label_column]!r}.")
            if name in line_of:
                raise DataError(f"{where} names the image {shown(name)} again, after {_at(*line_of[name])[:-1]}.")
            line_of[name] = table.path, line
            names.setdefault(split, []).append(name)
            codes.setdefault(split, array("q")).append(code_of.setdefault(label, len(code_of)))
            class_name = label if name_column is None else row[name_column]
            if class_names.setdefault(label, class_name) != class_name or not class_name:
                before = shown(class_names[label])
                raise DataError(f"{where} names the label {shown(label)} {shown(class_name)}, rows before it {before}.")
    if not names:
        raise DataError(f"{str(first)!r} has a header and no rows: expected one for each image.")
    given = class_names if any(label != name for label, name in class_names.items()) else names_beside(first)
    listed_names, labels = to_classes(list(code_of), codes, repr(str(first)), given)
    splits = {}
    for split, labels_n in labels.items():
        order = by_path(names[split])
        names_n = as_names(names.pop(split))[order]
        splits[split] = ListedSplit(Files(root, names_n), labels_n[order], names_n)
    return Listing.of(listed_names, splits, tuple(inferred))


def list_pixels(tables: Mapping[str, Table], shape: tuple[int, int, int] | None = None) -> Listing:
    """Read the images that tables hold as levels, in the order height, width, channels.

    Each split has a table, or all have one for `""`. Unless a (height, width, channels) is given, images are a square
    of grey levels, or else one of RGB.

    Raises:
        DataError: a table has no labels or another shape; or a row has no label, or a level that is not a whole number
            from 0 to 255. See `to_classes` for the labels. Names file and line.
    """
    code_of: dict[str, int] = {}
    images, codes = {}, {}
    for split, table in tables.items():
        label_column = _label_column(table)
        columns = [column for place, column in enumerate(table.line) if place != label_column]
        levels, split_codes = bytearray(), array("q")
        rows = table.rows()
        if table.has_header:
            next(rows)
        for line, row in rows:
            label = row.pop(label_column)
            if not label:
                raise DataError(f"{_at(table.path, line)} has no label.")
            split_codes.append(code_of.setdefault(label, len(code_of)))
            try:
                levels += bytes(map(int, row))
            except ValueError:
                raise DataError(_describe_bad_level(table, line, row, columns)) from None
        if not split_codes:
            raise DataError(f"{str(table.path)!r} has a header and no rows.")
        split_shape = shape or _square(table.path, len(columns))
        if math.prod(split_shape) != len(columns):
            raise DataError(f"{str(table.path)!r} has {len(columns)} pixel columns, which is not {split_shape}.")
        images[split or "train"] = np.frombuffer(levels, dtype=np.uint8).reshape(-1, *split_shape)
        codes[split or "train"] = split_codes
    first = next(iter(tables.values())).path
    if len(shapes := {images_nhwc.shape[1:] for images_nhwc in images.values()}) > 1:
        raise DataError(f"{str(first)!r} and the tables beside it have images of {sorted(shapes)}: expected one shape.")
    class_names, labels = to_classes(list(code_of), codes, repr(str(first)), names_beside(first))
    return Listing.of(class_names, {name: ListedSplit.of_pixels(images[name], labels[name]) for name in labels})


def _columns(table: Table, *, is_divided: bool) -> tuple[int, int, int | None, int | None]:
    """Return the columns of paths, labels, class names and splits."""
    columns, paths = table.columns, table.path_columns
    if len(paths) != 1:
        raise DataError(_describe_ambiguous(table, "paths", paths, PATH_COLUMNS))
    labels = [place for place, column in enumerate(columns) if column in LABEL_COLUMNS and place != paths[0]]
    class_name = columns.index("class_name") if "class_name" in columns and len(labels) == 2 else None
    labels = [place for place in labels if place != class_name]
    labels = labels or [place for place, column in enumerate(columns) if place != paths[0] and column != "split"]
    if len(labels) != 1:
        raise DataError(_describe_ambiguous(table, "labels", labels, LABEL_COLUMNS))
    return paths[0], labels[0], class_name, columns.index("split") if is_divided and "split" in columns else None


def _label_column(table: Table) -> int:
    named = [place for place, column in enumerate(table.columns) if column in LABEL_COLUMNS] if table.has_header else []
    if len(named) > 1:
        raise DataError(_describe_ambiguous(table, "labels", named, LABEL_COLUMNS))
    if table.has_header and not named and _PIXEL_NAME.fullmatch(table.columns[0]):
        raise DataError(
            f"{str(table.path)!r} has no column of labels: none is called {', '.join(LABEL_COLUMNS)}, and the first, "
            f"{table.line[0]!r}, is a pixel. Images without labels can only be predicted."
        )
    return named[0] if named else 0


def _image_name(text: str, root: Path, where: str) -> str:
    if not text:
        raise DataError(f"{where} has no path.")
    try:
        if contained(root, text).is_file():
            return posixpath.normpath(text)
    except DataError as error:
        raise DataError(f"{where} leaves the folder. {error}") from error
    except OSError:  # a name too long for the file system
        pass
    raise DataError(f"{where} names the image {shown(text)}, which is not a file below {str(root)!r} (see --root).")


def _square(path: Path, num_levels: int) -> tuple[int, int, int]:
    for channels in (1, 3):  # never both: the root of 3 is irrational
        side = math.isqrt(num_levels // channels)
        if side * side * channels == num_levels:
            return side, side, channels
    raise DataError(
        f"{str(path)!r} has {num_levels} pixel columns, neither a square of grey nor one of RGB: "
        "give the shape with --pixel-shape HxWxC."
    )


def _count_numbers(row: tuple[str, ...]) -> int:
    return sum(cell.replace(".", "", 1).lstrip("+-").isdecimal() for cell in row)


def _describe_bad_level(table: Table, line: int, row: list[str], columns: list[str]) -> str:
    levels = {str(level) for level in range(256)}
    place = next((place for place, cell in enumerate(row) if cell.lstrip("0") not in levels and set(cell) != {"0"}), 0)
    name = repr(columns[place]) if table.has_header else place + 1
    return f"{_at(table.path, line)} has {shown(row[place])} in column {name}: expected a whole number from 0 to 255."


def _describe_ambiguous(table: Table, what: str, places: list[int], known: tuple[str, ...]) -> str:
    which = " or ".join(repr(table.line[place]) for place in places) or "none of them"
    return (
        f"{str(table.path)!r} has the columns {', '.join(map(repr, table.line[:12]))}; {what} may be in {which}: "
        f"call one column {known[0]!r}, and no other {', '.join(known)}."
    )


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    with _open(path) as stream:
        reader = csv.reader(_lines(stream, path), delimiter=delimiter, strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, [cell.strip() for cell in row]
        except csv.Error as error:
            raise DataError(f"{_at(path, reader.line_num)} cannot be read: {error}.") from error


def _open(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _lines(stream: TextIO, path: Path) -> Iterator[str]:
    number = 0
    while line := stream.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE or "\0" in line:
            raise DataError(f"{_at(path, number)} is too long or holds a NUL: is this a table?")
        if not line.isascii() and any("\udc80" <= letter <= "\udcff" for letter in line):
            raise DataError(f"{_at(path, number)} is not UTF-8: save the table as UTF-8.")
        yield line


def _at(path: Path, line: int) -> str:
    return f"{str(path)!r}, line {line},"
