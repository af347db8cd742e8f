"""CSV of paths and labels: one row an image, beside columns that nobody asked for.

The column of paths has one of the names in PATH_COLUMNS, or else is the first whose first row looks like an image
file. The column of labels has one of the names in LABEL_COLUMNS, or else is the only other one. Where labels are
numbers, `class_name` beside them names them, or `classes.txt` beside the table. A column `split` divides the rows.
Images come in the sorted order of their paths, so that the same rows in another order are the same data.
"""

from __future__ import annotations

import posixpath
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.data.decode import SUFFIXES
from diptych.data.paths import contained
from diptych.data.readers import Files, ListedSplit, Listing, as_names
from diptych.data.readers.classes import LABEL_COLUMNS, names_beside, shown, split_named, to_classes
from diptych.data.readers.csv_text import Head, at, read_head, rows
from diptych.data.readers.folder import by_path
from diptych.errors import DataError

PATH_COLUMNS = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "img",
    "name",
)


@dataclass(frozen=True)
class _Columns:
    """Where in a row what is wanted stands; None for what is not there."""

    path: int
    label: int
    split: int | None
    class_name: int | None


@dataclass
class _Rows:
    """The rows of all tables, as they are gathered: names and label codes by split, and what was met before."""

    names: dict[str, list[str]] = field(default_factory=dict)
    codes: dict[str, array[int]] = field(default_factory=dict)
    code_of: dict[str, int] = field(default_factory=dict)
    class_names: dict[str, str] = field(default_factory=dict)
    met: dict[str, tuple[Path, int]] = field(default_factory=dict)

    def add(self, split: str, name: str, label: str, path: Path, line: int) -> None:
        """Add a row; its image must be a new one."""
        if name in self.met:
            first = at(*self.met[name])
            raise DataError(f"{at(path, line)} names the image {shown(name)} again, after {first} one row is wanted.")
        self.met[name] = path, line
        self.names.setdefault(split, []).append(name)
        code = self.code_of.setdefault(label, len(self.code_of))
        self.codes.setdefault(split, array("q")).append(code)


def looks_like_paths(head: Head) -> bool:
    """Whether a table has a column of paths."""
    return bool(_path_candidates(head))


def list_paths(tables: Mapping[str, Path], root: Path | None = None) -> Listing:
    """Find the images that tables name, and their classes.

    Args:
        tables: a table for each split; or one for `""`, which a column may divide.
        root: the folder that paths are relative to, and cannot leave; each table's own folder unless given.

    Raises:
        DataError: the columns cannot be told apart; or a row is not of a table, has no label, leads out of the folder,
            names no file, or one that was named before. See `to_classes` for the labels. Names file and line.
    """
    first = next(iter(tables.values()))
    base = root or first.parent
    gathered = _Rows()
    for split, path in tables.items():
        _gather(gathered, path, split, base)
    if not gathered.names:
        raise DataError(f"{str(first)!r} has a header and no rows: wanted one for each image.")
    codes = {split: np.array(codes, dtype=np.int64) for split, codes in gathered.codes.items()}
    class_names, labels = to_classes(
        list(gathered.code_of), codes, repr(str(first)), gathered.class_names or names_beside(first)
    )
    splits = {split: _listed(base, gathered.names.pop(split), labels[split]) for split in labels}
    return Listing.of(class_names, splits)


def _listed(root: Path, names: list[str], labels: NDArray[np.int64]) -> ListedSplit:
    order = by_path(names)
    names_n = as_names(names)[order]
    return ListedSplit(Files(root, names_n), labels[order], names_n)


def _gather(gathered: _Rows, path: Path, split: str, root: Path) -> None:
    head = read_head(path)
    columns = _columns(head, is_divided=not split)
    cells = rows(path, head.delimiter, len(head.line))
    next(cells)
    for line, row in cells:
        where = at(path, line)
        label = row[columns.label]
        if not label:
            raise DataError(f"{where} has no label in column {head.line[columns.label]!r}.")
        gathered.add(_split(row, columns, split, where), _name(row[columns.path], root, where), label, path, line)
        if columns.class_name is not None:
            _name_class(gathered.class_names, label, row[columns.class_name], where)


def _split(row: list[str], columns: _Columns, split: str, where: str) -> str:
    return split or "train" if columns.split is None else split_named(row[columns.split], where)


def _name(told: str, root: Path, where: str) -> str:
    if not told:
        raise DataError(f"{where} has no path.")
    try:
        if contained(root, told).is_file():
            return posixpath.normpath(told)
    except DataError as error:
        raise DataError(f"{where} leads elsewhere. {error}") from error
    except OSError:  # a name too long for the file system
        pass
    raise DataError(
        f"{where} names the image {shown(told)}, which is no file below {str(root)!r}; --root names another."
    )


def _name_class(class_names: dict[str, str], label: str, name: str, where: str) -> None:
    known = class_names.setdefault(label, name)
    if known != name or not name:
        raise DataError(f"{where} calls the label {shown(label)} {shown(name)}, rows before it {shown(known)}.")


def _columns(head: Head, *, is_divided: bool) -> _Columns:
    columns = [column.lower() for column in head.line]
    paths = _path_candidates(head)
    if len(paths) != 1:
        raise DataError(_ambiguous(head, "paths", paths, PATH_COLUMNS))
    split = columns.index("split") if is_divided and "split" in columns else None
    labels = [place for place, column in enumerate(columns) if column in LABEL_COLUMNS and place != paths[0]]
    class_name = columns.index("class_name") if "class_name" in columns and len(labels) == 2 else None
    labels = [place for place in labels if place != class_name]
    if not labels:
        labels = [place for place, column in enumerate(columns) if place != paths[0] and column != "split"]
    if len(labels) != 1:
        raise DataError(_ambiguous(head, "labels", labels, LABEL_COLUMNS))
    return _Columns(paths[0], labels[0], split, class_name)


def _path_candidates(head: Head) -> list[int]:
    looking = [place for place, cell in enumerate(head.row) if is_image(cell)]
    if any(map(is_image, head.line)):
        raise DataError(f"{at(head.path, 1)} names an image file: a header such as path,label is wanted above it.")
    named = [place for place, column in enumerate(head.line) if column.lower() in PATH_COLUMNS]
    if len(named) > 1:
        return [place for place in named if place in looking] or named
    return named or looking[:1]


def is_image(cell: str) -> bool:
    """Whether a cell ends like the name of an image file."""
    return Path(cell).suffix.lower() in SUFFIXES


def _ambiguous(head: Head, what: str, found: list[int], known: tuple[str, ...]) -> str:
    which = " or ".join(repr(head.line[place]) for place in found) or "none of them"
    return (
        f"{str(head.path)!r} has the columns {', '.join(map(repr, head.line))}; {what} may be in {which}: "
        f"call the right one {known[0]!r}, and no other {', '.join(known)}."
    )
