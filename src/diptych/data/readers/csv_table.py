"""CSV files: columns of texts, or one column of labels and the rest pixels.

Cells are divided by commas, semicolons or tabs; the text is UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from diptych.data.readers.tree import is_image
from diptych.errors import DataError

IMAGE_COLUMNS = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "name",
)  # fmt: skip
"""Names of a column of images, in any case."""
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "target", "category", "y", "breed", "species")
"""Names of a column of labels, in any case."""
_LONGEST_LINE = 2**24
_MIN_LEVELS = 4
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_LEVEL = re.compile(r"0*(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})")
_PIXEL_NAME = re.compile(r"(p|px|pix|pixel)?[_ ]?[0-9]+(x[0-9]+)?")


@dataclass(frozen=True)
class CsvTable:
    """A CSV file and its first two lines; `first` is empty if there is only one."""

    path: Path
    delimiter: str
    columns: tuple[str, ...]
    first: tuple[str, ...]
    class_names: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read how a table begins; its delimiter is the most frequent in the first line, outside quotes."""
        line = _QUOTED.sub("", next(read_lines(path), ""))
        delimiter = max(",;\t", key=line.count)
        start = [tuple(cells) for _, cells in islice(_rows(path, delimiter), 2)]
        if not start:
            raise DataError(f"{str(path)!r} is empty: expected a header and rows.")
        return cls(path, delimiter, start[0], start[1] if len(start) > 1 else ())

    @property
    def has_pixels(self) -> bool:
        """Whether most columns are numbers, and none names images."""
        row = self.first or self.columns
        return not self.likely_images and len(row) > _MIN_LEVELS and _count_numbers(row) > len(row) // 2

    @property
    def likely_images(self) -> list[str]:
        """The columns that are named like paths, or else the first whose first cell is an image file."""
        like = [column for column, cell in zip(self.columns, self.first, strict=False) if is_image(cell)]
        named = [column for column in self.columns if column.lower() in IMAGE_COLUMNS]
        return [column for column in named if column in like] or named or like[:1]

    @property
    def text_columns(self) -> tuple[str, ...]:
        """All columns."""
        return self.columns

    likely_labels = text_columns

    def texts(self, column: str) -> list[str]:
        """Return the cells of a column."""
        if any(map(is_image, self.columns)):
            raise DataError(f"{_at(self.path, 1)} is not a header: add one, such as path,label, above it.")
        place = self.columns.index(column)
        return [row[place] for _, row in islice(self._rows(), 1, None)]

    def at(self, row: int) -> str:
        """Return the file and the last line of a row below the header, for an error."""
        return _at(self.path, next(islice(_rows(self.path, self.delimiter), row + self._has_header, None))[0])

    def square(self) -> tuple[int, int, int]:
        """Return the (height, width, channels) of square images, gray or else RGB, that have as many pixels."""
        num_levels = len(self.columns) - 1
        for channels in (1, 3):  # never both: the root of 3 is irrational
            side = math.isqrt(num_levels // channels)
            if side * side * channels == num_levels:
                return side, side, channels
        fault = f"has {num_levels} pixel columns, not those of a square grayscale or RGB image"
        raise DataError(f"{str(self.path)!r} {fault}: set --pixel-shape HxWxC.")

    def pixels(self, shape: tuple[int, int, int]) -> tuple[list[str], NDArray[np.uint8]]:
        """Read labels, and images whose levels are in the order height, width, channels: uint8, (N, H, W, C)."""
        label = self._label_place()
        if math.prod(shape) != len(self.columns) - 1:
            raise DataError(f"{str(self.path)!r} has {len(self.columns) - 1} pixel columns, which is not {shape}.")
        row_type = np.dtype([
            ("before", np.uint8, (label,)),
            ("label", np.object_),
            ("after", np.uint8, (len(self.columns) - 1 - label,)),
        ])  # fmt: skip
        try:
            # NumPy warns if a fraction becomes an integer, and if there are no rows.
            with closing(read_lines(self.path)) as lines, warnings.catch_warnings(action="error"):
                below = filter(str.strip, islice(lines, self._has_header, None))
                rows = np.loadtxt(below, row_type, comments=None, delimiter=self.delimiter, quotechar='"', ndmin=1)
        except (ValueError, OverflowError, Warning):
            raise DataError(self._describe_fault(label)) from None
        labels = [text.strip() for text in rows["label"]]
        return labels, np.concatenate((rows["before"], rows["after"]), axis=1).reshape(-1, *shape)

    def _describe_fault(self, label: int) -> str:
        """Find the cell that NumPy cannot parse."""
        for line, row in islice(self._rows(), self._has_header, None):
            for place, cell in enumerate(row):
                if place != label and not _LEVEL.fullmatch(cell):
                    column = repr(self.columns[place]) if self._has_header else place + 1
                    fault = f"has {shown(cell)} in column {column}: expected an integer from 0 to 255."
                    return f"{_at(self.path, line)} {fault}"
        return f"{str(self.path)!r} cannot be read as a table of pixels: write rows of plain numbers from 0 to 255."

    @property
    def _has_header(self) -> bool:
        """Whether the first line names the columns; a table of pixels may lack it."""
        is_counted = list(self.columns) == [str(place) for place in range(len(self.columns))]
        has_label = any(column.lower() in LABEL_COLUMNS for column in self.columns)
        has_words = _count_numbers(self.columns) < len(self.columns) - 1
        return is_counted or has_label or has_words or not self.has_pixels

    def _label_place(self) -> int:
        named = [place for place, column in enumerate(self.columns) if column.lower() in LABEL_COLUMNS]
        if len(named) > 1:
            which = " or ".join(repr(self.columns[place]) for place in named)
            raise DataError(f"{str(self.path)!r} may have its labels in {which}: keep one of these columns.")
        if self._has_header and not named and _PIXEL_NAME.fullmatch(self.columns[0].lower()):
            raise DataError(
                f"{str(self.path)!r} has no label column: none is named {', '.join(LABEL_COLUMNS)}, and the "
                f"first, {self.columns[0]!r}, is a pixel. For images without labels, use `diptych predict`."
            )
        return named[0] if named else 0

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        for line, row in _rows(self.path, self.delimiter):
            if len(row) != len(self.columns):
                raise DataError(f"{_at(self.path, line)} has {len(row)} cells, the header {len(self.columns)}.")
            yield line, row


def shown(text: str) -> str:
    """Return a cell's text as an error shows it: quoted, and cut if it is long."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _count_numbers(row: tuple[str, ...]) -> int:
    return sum(cell.replace(".", "", 1).lstrip("+-").isdecimal() for cell in row)


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row's last line, from 1, and its cells; skip empty lines."""
    with closing(read_lines(path)) as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, [cell.strip() for cell in row]
        except csv.Error as error:
            raise DataError(f"{_at(path, reader.line_num)} cannot be read: {error}.") from error


def read_lines(path: Path) -> Generator[str]:
    """Yield the lines of a text file; raise DataError at one that cannot belong to a table."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(_LONGEST_LINE), ""), 1):
                if len(line) == _LONGEST_LINE or "\0" in line:
                    raise DataError(f"{_at(path, number)} is too long or contains a NUL: expected a CSV file.")
                if not line.isascii() and any("\udc80" <= letter <= "\udcff" for letter in line):
                    raise DataError(f"{_at(path, number)} is not UTF-8: save the table as UTF-8.")
                yield line
    except OSError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error.strerror}.") from error


def _at(path: Path, line: int) -> str:
    return f"{str(path)!r}, line {line},"
