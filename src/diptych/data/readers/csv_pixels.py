"""CSV of pixels: one row an image, a label and its levels 0–255, as the digit and fashion competitions ship it.

The label's column has one of the names in LABEL_COLUMNS, or else is the first. All others are levels, in the order
height, width, channels. A table without a header is read too. NumPy's `loadtxt` reads; where it refuses, a slower
search finds out why.
"""

from __future__ import annotations

import math
import re
import warnings
from array import array
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.data.readers import ListedSplit, Listing
from diptych.data.readers.classes import LABEL_COLUMNS, names_beside, shown, to_classes
from diptych.data.readers.csv_text import Head, at, opened, read_head, rows
from diptych.errors import DataError

Shape = tuple[int, int, int]

_LEVEL = re.compile(r"0*(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})")
_PIXEL_NAME = re.compile(r"(p|px|pix|pixel)?[_ ]?[0-9]+(x[0-9]+)?")
_FEWEST_LEVELS = 4
_LONGEST_LABEL = 128
_LINES_AT_ONCE = 2048


def looks_like_pixels(head: Head) -> bool:
    """Whether a table's columns are levels, most of them."""
    row = head.row or head.line
    return len(row) > _FEWEST_LEVELS and sum(map(_is_number, row)) > len(row) // 2


def read_pixels(tables: Mapping[str, Path], shape: Shape | None = None) -> Listing:
    """Read the images that tables hold.

    Args:
        tables: a table for each split; or one for `""`, which is not divided.
        shape: (height, width, channels) of the images. Unless given: a square of grey levels, or else one of RGB.

    Raises:
        DataError: a table without labels or of no such shape; or a row that is cut short, has no label, or a level
            that is no whole number from 0 to 255. See `to_classes` for the labels. Names file and line.
    """
    code_of: dict[str, int] = {}
    images, codes = {}, {}
    for split, path in tables.items():
        images[split or "train"], codes[split or "train"] = _read(path, shape, code_of)
    first = next(iter(tables.values()))
    shapes = {images_nhwc.shape[1:] for images_nhwc in images.values()}
    if len(shapes) > 1:
        raise DataError(f"{str(first)!r} and the tables beside it hold images of {sorted(shapes)}: wanted one shape.")
    class_names, labels = to_classes(list(code_of), codes, repr(str(first)), names_beside(first))
    return Listing.of(class_names, {split: ListedSplit.of_pixels(images[split], labels[split]) for split in labels})


def _read(path: Path, shape: Shape | None, code_of: dict[str, int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    head = read_head(path)
    has_header = _has_header(head.line)
    label = _label_column(head, has_header=has_header)
    shape = _shape(path, len(head.line) - 1, shape)
    row_type = np.dtype(
        [
            ("before", np.uint8, (label,)),
            ("label", f"U{_LONGEST_LABEL}"),
            ("after", np.uint8, (len(head.line) - 1 - label,)),
        ]
    )
    num_levels, codes = len(head.line) - 1, array("q")
    most_rows = path.stat().st_size // (2 * num_levels) + 1  # a level takes a digit and what divides it from the next
    levels = np.empty((most_rows, num_levels), dtype=np.uint8)
    with opened(path) as stream:
        if has_header:
            next(stream)
        while lines := list(islice(stream, _LINES_AT_ONCE)):
            if not any(line.strip() for line in lines):
                continue
            made = _parsed(lines, row_type, head.delimiter)
            labels = [text.strip() for text in made["label"].tolist()] if made is not None else []
            if made is None or not all(map(_is_label, labels)):
                raise DataError(_fault(head, label, has_header=has_header))
            some = slice(len(codes), len(codes) + len(labels))
            levels[some, :label], levels[some, label:] = made["before"], made["after"]
            codes.extend(code_of.setdefault(text, len(code_of)) for text in labels)
    if not codes:
        raise DataError(f"{str(path)!r} has a header and no rows: wanted one for each image.")
    return levels[: len(codes)].reshape(-1, *shape), np.array(codes, dtype=np.int64)


def _parsed(lines: list[str], row_type: np.dtype[np.void], delimiter: str) -> NDArray[np.void] | None:
    """The rows of some lines; None if anything about them is wrong."""
    if any("\0" in line for line in lines):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # a fraction that is cut to a whole number
            return np.loadtxt(lines, row_type, comments=None, delimiter=delimiter, quotechar='"', ndmin=1)
    except (ValueError, OverflowError, DeprecationWarning):
        return None


def _has_header(line: Sequence[str]) -> bool:
    is_counted = list(line) == [str(place) for place in range(len(line))]
    return is_counted or _is_named(line) or sum(map(_is_number, line)) < len(line) - 1


def _is_named(line: Sequence[str]) -> bool:
    return any(cell.lower() in LABEL_COLUMNS for cell in line)


def _label_column(head: Head, *, has_header: bool) -> int:
    columns = [column.lower() for column in head.line]
    named = [place for place, column in enumerate(columns) if column in LABEL_COLUMNS] if has_header else []
    if len(named) > 1:
        which = " or ".join(repr(head.line[place]) for place in named)
        raise DataError(f"{str(head.path)!r} may have its labels in {which}: keep one of these columns.")
    if has_header and not named and _PIXEL_NAME.fullmatch(columns[0]):
        raise DataError(
            f"{str(head.path)!r} has no column of labels: none is called {', '.join(LABEL_COLUMNS)}, and the first, "
            f"{head.line[0]!r}, is a pixel. Images without labels can be predicted, not trained or tested with."
        )
    return named[0] if named else 0


def _shape(path: Path, num_levels: int, shape: Shape | None) -> Shape:
    if shape is not None:
        if math.prod(shape) != num_levels:
            raise DataError(
                f"{str(path)!r} has {num_levels} pixel columns, the shape {shape} wants {math.prod(shape)}."
            )
        return shape
    for channels in (1, 3):  # never both: the root of 3 is irrational
        side = math.isqrt(num_levels // channels)
        if side * side * channels == num_levels:
            return side, side, channels
    raise DataError(
        f"{str(path)!r} has {num_levels} pixel columns, neither a square of grey nor one of RGB: "
        "say the shape with --pixel-shape HxWxC."
    )


def _fault(head: Head, label: int, *, has_header: bool) -> str:
    """Find the line that `loadtxt` refused, and say why."""
    cells = rows(head.path, head.delimiter, len(head.line))
    if has_header:
        next(cells)
    for line, row in cells:
        if not _is_label(row[label]):
            return f"{at(head.path, line)} has the label {shown(row[label])}: wanted a short text or a number."
        for place, cell in enumerate(row):
            if place != label and not _LEVEL.fullmatch(cell):
                name = repr(head.line[place]) if has_header else place + 1
                return f"{at(head.path, line)} has {shown(cell)} in column {name}: wanted a whole number from 0 to 255."
    return f"{str(head.path)!r} cannot be read: a row is written in no way that is known."


def _is_label(text: str) -> bool:
    return 0 < len(text) < _LONGEST_LABEL and text.isprintable()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
