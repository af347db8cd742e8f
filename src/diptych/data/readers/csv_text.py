"""Tables as text: their delimiter, their header, and their rows with line numbers."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from diptych.errors import DataError

SUFFIXES = frozenset({".csv", ".tsv"})
DELIMITERS = ",;\t"
LONGEST_LINE = 2**24
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True)
class Head:
    """How a table begins.

    Attributes:
        path: the file.
        delimiter: what divides its cells, one of DELIMITERS.
        line: the cells of its first line, which may be a header.
        row: those of the next; empty when there is none.
    """

    path: Path
    delimiter: str
    line: tuple[str, ...]
    row: tuple[str, ...]


def read_head(path: Path) -> Head:
    """Read how a table begins; its delimiter is the one that the first line has most of, outside quotes.

    Raises:
        DataError: it cannot be read, is empty, or is no text in UTF-8.
    """
    with opened(path) as stream:
        line = _QUOTED.sub("", next(_lines(stream, path), ""))
    delimiter = max(DELIMITERS, key=line.count)
    head = [cells for _, cells in islice(rows(path, delimiter), 2)]
    if not head:
        raise DataError(f"{str(path)!r} is empty: wanted a header and rows.")
    return Head(path, delimiter, tuple(head[0]), tuple(head[1]) if len(head) > 1 else ())


def rows(path: Path, delimiter: str, width: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Read a table's rows, empty lines left out: the number of each one's last line, from 1, and its cells, stripped.

    Args:
        path: the file, in UTF-8, with a byte order mark or without.
        delimiter: what divides cells.
        width: how many cells every row must have, if that is known.

    Raises:
        DataError: it cannot be read, or a line is no UTF-8, holds a NUL, too long a cell, a quote that is not closed,
            or another number of cells; names the line.
    """
    with opened(path) as stream:
        reader = csv.reader(_lines(stream, path), delimiter=delimiter, strict=True)
        try:
            for row in reader:
                if not row:
                    continue
                if width is not None and len(row) != width:
                    raise DataError(f"{at(path, reader.line_num)} has {len(row)} cells, the header {width}.")
                yield reader.line_num, [cell.strip() for cell in row]
        except csv.Error as error:
            raise DataError(f"{at(path, reader.line_num)} cannot be read: {error}.") from error


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """Open a table as text; what is no UTF-8 becomes surrogates.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            yield stream
    except OSError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error.strerror}.") from error


def at(path: Path, line: int) -> str:
    """How an error names a line."""
    return f"{str(path)!r}, line {line},"


def _lines(stream: TextIO, path: Path) -> Iterator[str]:
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise DataError(f"{at(path, number)} is longer than {LONGEST_LINE:,} characters: is this a table?")
        if "\0" in line:
            raise DataError(f"{at(path, number)} holds a NUL: wanted text in UTF-8.")
        if not line.isascii() and any("\udc80" <= letter <= "\udcff" for letter in line):
            raise DataError(f"{at(path, number)} is no UTF-8: save the table as UTF-8.")
        yield line
