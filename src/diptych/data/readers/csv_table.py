"""CSV and JSON Lines as columns of texts, or of pixels: a column for each level, or one whose cells hold them all.

Cells are divided by commas, semicolons, tabs or bars, in a list of image files also by spaces; the text is UTF-8, with
or without a byte order mark, or UTF-16 with one.
"""

from __future__ import annotations

import csv
import json
import math
import re
import warnings
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diptych.data.readers.columns import at, column_named, role_of
from diptych.data.readers.labels import quoted
from diptych.data.readers.tree import is_image
from diptych.data.signatures import NUM_BYTES, describe
from diptych.errors import DataError

Shape: TypeAlias = tuple[int, int, int]
JSON_LINES = ".jsonl"
_PIXEL_NAME = re.compile(r"(p|px|pix|pixel)?[_ ]?[0-9]+(x[0-9]+)?")
_LONGEST_LINE = 2**24
_MIN_LEVELS = 4
_LEVEL = re.compile(r"0*(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})")
_LEVELS = re.compile(r"\[? *[0-9]{1,3}([ ,]+[0-9]{1,3}){3,} *\]?")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True, eq=False)
class CsvTable:
    """A CSV file and its first row below the header; `first` is empty if there is none.

    Without a header, which a list of image files or a table of pixels may lack, columns are named by their numbers. If
    the rows are pixels, `levels` are these (uint8, (N, levels)), and `columns` and `cells` only the other columns.
    """

    path: Path
    delimiter: str
    columns: tuple[str, ...]
    first: tuple[str, ...]
    has_header: bool
    levels: NDArray[np.uint8] | None = None
    class_names: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read how a table begins; its delimiter is the most frequent in the first line, outside quotes."""
        line = _QUOTED.sub("", next(read_lines(path), ""))
        delimiter = max(",;\t|", key=line.count)
        if delimiter not in line and any(map(is_image, line.split())):
            delimiter = " "
        header, *rows = [tuple(cells) for _, cells in islice(_rows(path, delimiter), 2)] or [()]
        if not header:
            raise DataError(f"{str(path)!r} is empty: expected a header and rows.")
        counted = [tuple(str(place + first) for place in range(len(header))) for first in (0, 1)]
        is_row = _count_numbers(header) >= max(_MIN_LEVELS, len(header) - 1) and header not in counted
        if any(map(is_image, header)) or (is_row and not any(role_of(name) == "label" for name in header)):
            return cls(path, delimiter, counted[1], header, has_header=False)
        return cls(path, delimiter, header, rows[0] if rows else (), has_header=True)

    @property
    def names_pixels(self) -> bool:
        """Whether the header names most columns like pixels."""
        num_named = sum(_PIXEL_NAME.fullmatch(name.lower()) is not None for name in self.columns)
        return self.has_header and num_named > len(self.columns) // 2

    @property
    def holds_pixels(self) -> bool:
        """Whether most columns are pixels: by their names or as they are numbers, and none names images."""
        is_wide = len(self.columns) > _MIN_LEVELS and not any(map(is_image, self.first))
        is_numeric = _count_numbers(self.first) > len(self.first) // 2
        is_counted = not self.has_header or sum(name[-1:].isdecimal() for name in self.columns) > len(self.columns) // 2
        is_numeric = is_numeric and is_counted and not any(role_of(name) in ("image", "id") for name in self.columns)
        return is_wide and (self.names_pixels or is_numeric)

    @property
    def image_columns(self) -> list[str]:
        """The columns whose first cell names an image file."""
        return [column for column, cell in zip(self.columns, self.first, strict=False) if is_image(cell)]

    @property
    def text_columns(self) -> tuple[str, ...]:
        """All columns."""
        return self.columns

    label_columns = text_columns

    @cached_property
    def cells(self) -> dict[str, list[str]]:
        """The cells of each column."""
        columns: tuple[list[str], ...] = tuple([] for _ in self.columns)
        for line, row in islice(_rows(self.path, self.delimiter), self.has_header, None):
            if len(row) != len(columns):
                above = "header" if self.has_header else "first row"
                raise DataError(f"{_at(self.path, line)} has {len(row)} cells, the {above} {len(columns)}.")
            for column, cell in zip(columns, row, strict=True):
                column.append(cell)
        return dict(zip(self.columns, columns, strict=True))

    def texts(self, column: str) -> list[str]:
        """Return the cells of a column."""
        return self.cells[column]

    def is_text(self, column: str) -> bool:
        """Return whether a column holds paths, and not the levels of images."""
        return self.levels is None and not _LEVELS.fullmatch(next(iter(self.cells[column]), ""))

    def line(self, row: int) -> str:
        """Return the name and number of a row's last line."""
        return f"line {next(islice(_rows(self.path, self.delimiter), row + self.has_header, None))[0]}"

    def __str__(self) -> str:
        return repr(str(self.path))


def _count_numbers(row: tuple[str, ...]) -> int:
    return sum(cell.replace(".", "", 1).lstrip("+-").isdecimal() for cell in row)


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row's last line, from 1, and its cells; skip those without any, and Excel's `sep=;`."""
    if path.suffix.lower() == JSON_LINES:
        yield from _json_rows(path)
        return
    with closing(read_lines(path)) as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                cells = [cell.strip() for cell in row if cell or delimiter != " "]
                if any(cells) and not (reader.line_num == 1 and cells[0] == "sep="):
                    yield reader.line_num, cells
        except csv.Error as error:
            raise DataError(f"{_at(path, reader.line_num)} cannot be read: {error}.") from error


def _json_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the names of all entries as a header, and the entries of each line; null is empty, and so is an object."""
    rows = {}
    for number, line in enumerate(read_lines(path), 1):
        try:
            rows[number] = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            raise DataError(f"{_at(path, number)} is not JSON: {error}.") from error
        if not isinstance(rows[number], dict):
            raise DataError(f'{_at(path, number)} must be a JSON object such as {{"file_name": …, "label": …}}.')
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    yield 0, [name.strip() for name in names]
    for number, row in rows.items():
        if row:
            cells = [row.get(name) for name in names]
            cells = [cell[0] if isinstance(cell, list) and len(cell) == 1 else cell for cell in cells]
            yield number, ["" if cell is None or isinstance(cell, dict) else str(cell).strip() for cell in cells]


def read_pixels(table: CsvTable, label: str | None, shape: Shape | None) -> CsvTable:
    """Read a table whose rows are pixels, integers from 0 to 255: its levels, and the cells of the other columns.

    These are the ones whose names say so; or else the first or the last, by `label`, which is --label-column, or by
    what is in them.
    """
    names = table.columns
    is_other = [not _PIXEL_NAME.fullmatch(name.lower()) if table.names_pixels else role_of(name) for name in names]
    others = {place for place in range(len(names)) if table.has_header and is_other[place]}
    others |= {names.index(column_named(table, "label", label))} if label else set()
    if not others and not shape and _square(len(names)) and not _square(len(names) - 1):
        hint = "For images without labels, use `diptych predict`."
        raise DataError(f"{table} has no label column, only {len(names)} pixels. {hint}")
    cells, levels = _load(table, others or {_label_end(table)})
    read = replace(table, columns=tuple(cells), levels=levels)
    read.__dict__["cells"] = cells
    return read


def as_images(table: CsvTable, column: str, shape: Shape | None) -> NDArray[np.uint8]:
    """Return the images of a table, (N, H, W, C): of the shape, or else square ones, gray or RGB, of as many levels."""
    levels = table.levels
    if levels is None:
        rows = [text.strip("[]").replace(",", " ").split() for text in table.texts(column)]
        for row, cells in enumerate(rows):
            if len(cells) != len(rows[0]) or not all(map(_LEVEL.fullmatch, cells)):
                raise DataError(f"{at(table, row)} must have {len(rows[0])} integers from 0 to 255 in {column!r}.")
        levels = np.array(rows, dtype=np.uint8)
    num_levels = levels.shape[1]
    shape = shape or _square(num_levels)
    if not shape:
        fault = f"has {num_levels} pixel columns, not those of a square grayscale or RGB image"
        raise DataError(f"{table} {fault}: set --pixel-shape HxWxC.")
    if math.prod(shape) != num_levels:
        raise DataError(f"{table} has {num_levels} pixel columns, which is not {shape}.")
    return levels.reshape(-1, *shape)


def _square(num_levels: int) -> Shape | None:
    for channels in (1, 3):  # never both: the root of 3 is irrational
        side = math.isqrt(num_levels // channels)
        if side * side * channels == num_levels:
            return side, side, channels
    return None


def _load(table: CsvTable, others: Collection[int]) -> tuple[dict[str, list[str]], NDArray[np.uint8]]:
    """Read the cells of some columns as texts and those between them as levels: uint8, (N, levels)."""
    runs = [[*run] for _, run in groupby(range(len(table.columns)), lambda place: place if place in others else -1)]
    kinds = [(str(run[0]), object) if run[0] in others else (str(run[0]), np.uint8, (len(run),)) for run in runs]
    try:
        # NumPy warns if a fraction becomes an integer, and if there are no rows.
        with closing(read_lines(table.path)) as lines, warnings.catch_warnings(action="error"):
            below = filter(str.strip, islice(lines, table.has_header, None))
            rows = np.loadtxt(below, np.dtype(kinds), comments=None, delimiter=table.delimiter, quotechar='"', ndmin=1)
    except (ValueError, OverflowError, Warning):
        raise _fault(table, others) from None
    cells = {table.columns[place]: [text.strip() for text in rows[str(place)]] for place in sorted(others)}
    return cells, np.concatenate([rows[str(run[0])] for run in runs if run[0] not in others], axis=1)


def _fault(table: CsvTable, others: Collection[int]) -> DataError:
    """Find the cell that NumPy cannot parse."""
    for place, name in enumerate(table.columns):
        for row, cell in enumerate(table.texts(name) if place not in others else ()):
            if not _LEVEL.fullmatch(cell):
                wanted = "expected an integer from 0 to 255"
                return DataError(f"{at(table, row)} has {quoted(cell)} in column {name!r}: {wanted}.")
    if not table.first:
        return DataError(f"{table} has no rows: expected one per image.")
    return DataError(f"{table} cannot be read as a table of pixels: write rows of plain numbers from 0 to 255.")


def _label_end(table: CsvTable) -> int:
    """Return the end with the labels: words, or few integers in sequence; the other is constant or varies freely."""
    cells, _ = _load(table, {0, len(table.columns) - 1})
    distinct = {table.columns.index(name): {*column} for name, column in cells.items()}
    varied = [end for end, some in distinct.items() if len(some) > 1]
    for found in ([end for end in varied if _is_sequence(distinct[end])], varied):
        if len(found) == 1:
            return found[0]
    raise DataError(f"{table}: the labels may be in the first or the last column: set --label-column first or last.")


def _is_sequence(cells: set[str]) -> bool:
    numbers = {int(cell) for cell in cells if _LEVEL.fullmatch(cell)}
    return len(numbers) < len(cells) or max(numbers) - min(numbers) < len(numbers)


def names_beside(path: Path) -> list[str] | None:
    """Return the lines of `classes.txt` beside a table, if there is one."""
    path = path.with_name("classes.txt")
    if not path.exists():
        return None
    names = [name.strip() for name in "".join(read_lines(path)).rstrip().split("\n")]
    if "" in names:
        raise DataError(f"{_at(path, names.index('') + 1)} expected one class name per line, got none.")
    return names


def read_lines(path: Path) -> Generator[str]:
    """Yield the lines of a text file; raise DataError at one that cannot belong to a table."""
    try:
        with path.open("rb") as file:
            start = file.read(NUM_BYTES)
        encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
        with path.open(encoding=encoding, errors=errors, newline="") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(_LONGEST_LINE), ""), 1):
                if len(line) == _LONGEST_LINE or "\0" in line:
                    fault = f"is too long or contains a NUL: expected a CSV file, got {describe(start)}"
                    raise DataError(f"{_at(path, number)} {fault}.")
                if not line.isascii() and any("\udc80" <= letter <= "\udcff" for letter in line):
                    raise DataError(f"{_at(path, number)} is not UTF-8: save the table as UTF-8 (in Excel: CSV UTF-8).")
                yield line
    except OSError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error.strerror}.") from error


def _at(path: Path, line: int) -> str:
    return f"{str(path)!r}, line {line},"
