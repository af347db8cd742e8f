"""Tables of pixels: a column for each level of an image, or one column whose cells hold them all."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby, islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from diptych.data.readers.columns import at, column_named, role_of, shown
from diptych.data.readers.csv_table import PIXEL_NAME, CsvTable, read_lines
from diptych.errors import DataError

Shape: TypeAlias = tuple[int, int, int]
_LEVEL = re.compile(r"0*(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})")


def read_pixels(table: CsvTable, label: str | None, shape: Shape | None) -> CsvTable:
    """Read a table whose rows are pixels: its levels, and the cells of the other columns.

    The other columns are those whose names say so; or else the first or the last, by `label`, which is --label-column,
    or by what is in them.

    Raises:
        DataError: a level is not an integer from 0 to 255, or it is ambiguous which column is the label.
    """
    names, ends = table.columns, list[int]()
    is_other = [not PIXEL_NAME.fullmatch(name.lower()) if table.names_pixels else role_of(name) for name in names]
    others = {place for place in range(len(names)) if table.has_header and is_other[place]}
    others |= {names.index(column_named(table, "label", label))} if label else set()
    if not others:
        if not shape and _square(len(names)) and not _square(len(names) - 1):
            hint = "For images without labels, use `diptych predict`."
            raise DataError(f"{table} has no label column, only {len(names)} pixels. {hint}")
        ends = [0, len(names) - 1]
    cells, levels = _load(table, others or ends)
    if ends:
        others = {_label_end(table, ends, [cells[names[end]] for end in ends])}
        (pixel,) = {*ends} - others
        column = cells.pop(names[pixel])
        if not all(map(_LEVEL.fullmatch, column)):
            raise _fault(table, others)
        levels = np.insert(levels, levels.shape[1] if pixel else 0, np.array(column, dtype=np.uint8), axis=1)
    read = replace(table, columns=tuple(cells), levels=levels)
    read.__dict__["cells"] = cells
    return read


def as_images(table: CsvTable, column: str, shape: Shape | None) -> NDArray[np.uint8]:
    """Return the images of a table, (N, H, W, C): of the shape, or else square ones, gray or RGB, of as many levels."""
    levels = table.levels
    if levels is None:
        rows = [text.split() for text in table.texts(column)]
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
    columns = {name: table.texts(name) for place, name in enumerate(table.columns) if place not in others}
    for row, cells in enumerate(zip(*columns.values(), strict=True)):
        for name, cell in zip(columns, cells, strict=True):
            if not _LEVEL.fullmatch(cell):
                wanted = "expected an integer from 0 to 255"
                return DataError(f"{at(table, row)} has {shown(cell)} in column {name!r}: {wanted}.")
    if not table.first:
        return DataError(f"{table} has no rows: expected one per image.")
    return DataError(f"{table} cannot be read as a table of pixels: write rows of plain numbers from 0 to 255.")


def _label_end(table: CsvTable, ends: Sequence[int], cells: Sequence[Sequence[str]]) -> int:
    """Return the end with the labels: words, or few integers in sequence; the other is constant or varies freely."""
    distinct = {end: {*column} for end, column in zip(ends, cells, strict=True)}
    varied = [end for end in ends if len(distinct[end]) > 1]
    for found in ([end for end in varied if _is_sequence(distinct[end])], varied):
        if len(found) == 1:
            return found[0]
    raise DataError(f"{table}: the labels may be in the first or the last column: set --label-column first or last.")


def _is_sequence(cells: set[str]) -> bool:
    numbers = {int(cell) for cell in cells if _LEVEL.fullmatch(cell)}
    return len(numbers) < len(cells) or max(numbers) - min(numbers) < len(numbers)
