"""CSV and JSON Lines as columns of texts.

Cells are divided by commas, semicolons, tabs or bars, in a list of image files also by spaces; the text is UTF-8, with
or without a byte order mark, or UTF-16 with one.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from diptych.data.readers.columns import role_of
from diptych.data.readers.tree import is_image
from diptych.errors import DataError

JSON_LINES = ".jsonl"
PIXEL_NAME = re.compile(r"(p|px|pix|pixel)?[_ ]?[0-9]+(x[0-9]+)?")
_LONGEST_LINE = 2**24
_MIN_LEVELS = 4
_LEVELS = re.compile(r"[0-9]{1,3}( +[0-9]{1,3}){3,}")
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
        num_named = sum(PIXEL_NAME.fullmatch(name.lower()) is not None for name in self.columns)
        return self.has_header and num_named > len(self.columns) // 2

    @property
    def holds_pixels(self) -> bool:
        """Whether most columns are pixels: by their names or as they are numbers, and none names images."""
        is_wide = len(self.columns) > _MIN_LEVELS and not any(map(is_image, self.first))
        is_numeric = not self.likely_images and _count_numbers(self.first) > len(self.first) // 2
        return is_wide and (self.names_pixels or is_numeric)

    @property
    def likely_images(self) -> list[str]:
        """The columns that hold image files in the first row, or are named like images, or at least like ids."""
        like = [column for column, cell in zip(self.columns, self.first, strict=False) if is_image(cell)]
        named, ids = ([one for one in self.columns if role_of(one) == role] for role in ("image", "id"))
        return [one for one in named if one in like] or like[:1] or named or ids[:1]

    @property
    def likely_labels(self) -> tuple[str, ...]:
        """All columns."""
        return self.columns

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
    """Yield the number of each row's last line, from 1, and its cells; skip empty lines, and Excel's `sep=;`."""
    if path.suffix.lower() == JSON_LINES:
        yield from _json_rows(path)
        return
    with closing(read_lines(path)) as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                cells = [cell.strip() for cell in row if cell or delimiter != " "]
                if cells and not (reader.line_num == 1 and cells[0] == "sep="):
                    yield reader.line_num, cells
        except csv.Error as error:
            raise DataError(f"{_at(path, reader.line_num)} cannot be read: {error}.") from error


def _json_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the names of all entries as a header, and the entries of each line; null is an empty one."""
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
            yield number, ["" if row.get(name) is None else str(row[name]).strip() for name in names]


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
        with path.open("rb") as start:
            encoding = "utf-16" if start.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
        with path.open(encoding=encoding, errors=errors, newline="") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(_LONGEST_LINE), ""), 1):
                if len(line) == _LONGEST_LINE or "\0" in line:
                    raise DataError(f"{_at(path, number)} is too long or contains a NUL: expected a CSV file.")
                if not line.isascii() and any("\udc80" <= letter <= "\udcff" for letter in line):
                    raise DataError(f"{_at(path, number)} is not UTF-8: save the table as UTF-8 (in Excel: CSV UTF-8).")
                yield line
    except OSError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error.strerror}.") from error


def _at(path: Path, line: int) -> str:
    return f"{str(path)!r}, line {line},"
