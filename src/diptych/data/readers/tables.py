"""Tables, CSV, JSON Lines or Parquet: the images, labels and splits that their rows state."""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import numpy as np

from diptych.data.paths import contained
from diptych.data.readers import Files, ListedSplit, Listing, as_names
from diptych.data.readers.columns import (
    are_numbers,
    at,
    choose_columns,
    find_classes,
    listed,
    missing_labels,
    read_labels,
    read_splits,
    role_of,
    several_labels,
    shown,
    whole,
)
from diptych.data.readers.csv_table import JSON_LINES, CsvTable, names_beside
from diptych.data.readers.layout import split_named
from diptych.data.readers.locate import Folder, locate
from diptych.data.readers.parquet import SUFFIX, ParquetImages, ParquetTable
from diptych.data.readers.pixel_table import as_images, read_pixels
from diptych.data.readers.tree import by_path
from diptych.data.rules import Finding, judge
from diptych.errors import DataError, UsageError
from diptych.options import SourceOptions

Table: TypeAlias = CsvTable | ParquetTable

SUFFIXES = frozenset({".csv", ".tsv", JSON_LINES, SUFFIX})
LISTS = frozenset({".txt", ".lst", ".list"})
"""Suffixes of tables that are read only if they are DATA."""
_SHARD = re.compile(r"(.*)-([0-9]+)-of-([0-9]+)(?![0-9])")
_OPTIONS = {"root": "paths", "pixel_shape": "pixels"} | {
    f"{use}_column": "images" for use in ("label", "image", "split")
}
_MAX_LINES = 20


def read_tables(paths: Sequence[Path], options: SourceOptions) -> Listing:
    """Read the tables of a folder together; their names contain their splits.

    CSV files whose names contain none are skipped if others contain one; otherwise there must be only one. Parquet
    files must all contain one, or none: then they are one set, which split columns may divide.

    Raises:
        UsageError: see `refuse_options`.
        DataError: it is ambiguous which tables are meant, or some of `…-of-00002` are missing.
    """
    _check_complete(paths)
    paths = [path for path in paths if "submission" not in words(path.stem)] or paths
    shards: dict[str, list[Path]] = {}
    for path in paths:
        shards.setdefault(split_of(path) or split_named(path.parent.name) * (path.stem == "metadata"), []).append(path)
    if len(paths) == 1 and "train" in shards:
        return read_shards({"": paths}, options)
    unnamed = shards.pop("", []) if len(shards) > 1 else []
    if paths[0].suffix.lower() == SUFFIX:
        if unnamed:
            raise DataError(f"The name of {str(unnamed[0])!r} must contain train, validation or test, as others do.")
        return read_shards(shards, options)
    for split, same in shards.items():
        if len(same) > 1:
            names = ", ".join(repr(path.name) for path in same)
            which = f"all of {split}" if split else "and none says train or test in its name"
            raise DataError(f"{str(same[0].parent)!r} has the tables {names}, {which}: use one of them as DATA.")
    listing = read_shards(shards, options)
    skipped = [Finding("not-used", f"{path.name}, whose name has no split") for path in unnamed]
    return replace(listing, findings=(*listing.findings, *skipped))


def split_of(path: Path) -> str:
    """Return the split in a file's name; "" if there is none, or more than one."""
    return split_named(path.stem)


def words(name: str) -> set[str]:
    """Return the words of a name, in lower case."""
    return set(re.split(r"[^a-z]+", name.lower()))


def refuse_options(data: str, options: SourceOptions, names: Iterable[str] = _OPTIONS) -> None:
    """Raise an error for an option that is set, because the data are of another kind."""
    for name in names:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is for a table of {_OPTIONS[name]}; {data!r} is not one.")


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


def open_table(path: Path, options: SourceOptions) -> Table:
    """Open a table by the suffix of its name and what it begins with."""
    if path.suffix.lower() == SUFFIX:
        return ParquetTable.open(path)
    table = CsvTable.open(path)
    return read_pixels(table, options.label_column, options.pixel_shape) if table.holds_pixels else table


def has_labels(path: Path, options: SourceOptions) -> bool:
    """Return whether a table states labels."""
    try:
        choose_columns(open_table(path, options), options)
    except (DataError, UsageError):
        return False
    return True


@dataclass
class _Rows:
    """The rows of some tables: where each is, and the texts of its label, split and path."""

    places: list[tuple[Table, int]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def note(self, kind: str, rows: Sequence[int], what: str) -> set[int]:
        """Add a finding about some rows, if there are any; return them."""
        tables: dict[str, list[str]] = {}
        for table, place in (self.places[row] for row in rows[:_MAX_LINES]):
            tables.setdefault(table.path.name, []).append(table.line(place))
        where = "; ".join(f"{name}: {', '.join(lines)}" for name, lines in tables.items())
        if rows:
            more = f" and {len(rows) - _MAX_LINES:,} more" if len(rows) > _MAX_LINES else ""
            self.findings.append(Finding(kind, f"{len(rows):,} of {len(self.labels):,} rows {what} ({where}{more})"))
        return set(rows)


def read_shards(shards: Mapping[str, Sequence[Path]], options: SourceOptions) -> Listing:
    """Read the files of each split; columns may divide those of the split `""`.

    Paths are relative to `options.root`, or else to the file's folder. Image files are sorted, so that the order of
    rows does not matter; pixels, and images in Parquet, keep it.
    """
    paths = [(split, path) for split in sorted(shards, key=lambda split: split != "train") for path in shards[split]]
    first = open_table(paths[0][1], options)
    columns = choose_columns(first, options)
    if paths[0][0] and not options.split_column:
        columns["split"] = []
    if first.levels is not None:
        options = replace(options, label_column=columns["label"][0])
    root = Path(options.root or os.path.commonpath([path.parent for _, path in paths]))
    rows, tables, names, image = _Rows(), list[Table](), dict[str, str](), "".join(columns["image"])
    rows.findings += _unused(first, {*chain(*columns.values())})
    for number, (split, path) in enumerate(paths):
        table = open_table(path, options) if number else first
        if split not in ("", "train") and not {*columns["label"]} & {*table.columns}:
            rows.findings.append(Finding("not-used", f"{path.name}, which has no column {columns['label'][0]!r}"))
            continue
        if not {*chain(*columns.values())} <= {*table.columns} or table.class_names != first.class_names:
            raise DataError(f"{table} has other columns or classes than {first}.")
        tables.append(table)
        read = read_labels(table, columns, names)
        rows.places += [(table, place) for place in range(len(read))]
        rows.labels += read
        stated = [read_splits(table, column, options.split_column) for column in columns["split"]]
        rows.splits += stated[0] if stated else [split] * len(read)
        if table.is_text(image):
            parent = "" if options.root else os.path.relpath(path.parent, root)
            rows.names += [posixpath.join(parent, text) for text in table.texts(image)]
    if not rows.labels:
        raise DataError(f"{first} has no rows: expected one per image.")
    csv_tables = [table for table in tables if isinstance(table, CsvTable) and not rows.names]
    refuse_options(str(first.path), options, ["root"] if csv_tables else ["pixel_shape"])
    located = _locate(rows, root) if rows.names else []
    rows.splits = [split or "train" for split in rows.splits]
    order = _usable(rows, is_one_hot=len(columns["label"]) > 1)
    labels = {rows.labels[row] for row in order}
    if len(labels) < 2:
        judge(rows.findings, str(first.path))  # the labels may be missing, or several at once
    class_names, class_of = find_classes(labels, names, names_beside(first.path), first.path)
    pixels = [as_images(table, image, options.pixel_shape) for table in csv_tables]
    images = np.concatenate(pixels) if pixels else None
    encoded = ParquetImages.of([table for table in tables if isinstance(table, ParquetTable)], image, root)
    ids_m = as_names(rows.names or (f"{table.path.name}:{place}" for table, place in rows.places))
    splits = {}
    for split in sorted({rows.splits[row] for row in order}):
        chosen = np.array([row for row in order if rows.splits[row] == split], dtype=np.intp)
        labels_n = np.array([class_of[rows.labels[row]] for row in chosen], dtype=np.int64)
        if images is not None:
            splits[split] = ListedSplit.of_pixels(images[chosen], labels_n)
        else:
            stored = Files(root, ids_m[chosen]) if rows.names else replace(encoded, rows=chosen)
            splits[split] = ListedSplit(stored, labels_n, ids_m[chosen])
    uses = [f"{use} column {listed(some)}" for use, some in columns.items() if some]
    return Listing.of(class_names, splits, inferred=(*uses, *located), findings=tuple(rows.findings))


def _unused(table: Table, used: set[str]) -> list[Finding]:
    others = [column for column in table.columns if column not in used and role_of(column) not in ("index", "id")]
    hints = [f" (--split-column {one}=VALUE tests on the rows of a value)" for one in others if role_of(one) == "split"]
    return [Finding("not-used", f"column {listed(others)}{''.join(hints)}")] if others else []


def _locate(rows: _Rows, root: Path) -> list[str]:
    """Find the files of the rows, and their splits if their folders say them; return what was inferred."""
    folder = Folder(root)
    rows.names, inferred = locate(folder, rows.names, rows.splits)
    for row, name in enumerate(rows.names):
        try:
            contained(root, name)
        except DataError as error:
            raise DataError(f"{at(*rows.places[row])} leaves the folder (see --root). {error}") from error
    if not any(map(folder.has, rows.names)):
        more = f", and so are the other {len(rows.names) - 1:,}" if len(rows.names) > 1 else ""
        missing = f"is not a file below {str(root)!r}{more}: set --root to the folder that the paths begin in"
        raise DataError(f"{at(*rows.places[0])} names the image {shown(rows.names[0])}, which {missing}.")
    tops = [split_named(name.split("/")[0]) for name in rows.names]
    if not any(rows.splits) and "train" in tops and "" not in tops and len({*tops}) > 1:
        rows.splits = tops
        inferred.append("splits from the folders in the paths")
    if others := folder.left_out(rows.names):
        count = f"{len(others):,} images that no row names"
        rows.findings.append(Finding("left-out", f"{count}, such as {', '.join(map(repr, others[:3]))}"))
    return inferred


def _usable(rows: _Rows, *, is_one_hot: bool) -> list[int]:
    """Return the rows that have one label, each image once and those with paths sorted; note the others."""
    counts = Counter(rows.labels)
    missing = missing_labels(counts)
    several = {label for label in counts if "|" in label} if is_one_hot else several_labels(counts.keys() - missing)
    if are_numbers(counts.keys() - missing - several):
        rows.labels = [whole(label) for label in rows.labels]
    labels = rows.labels
    out = rows.note("no-label", [row for row, label in enumerate(labels) if label in missing], "have no label")
    example = f"have several labels, such as {shown(min(several, default=''))}"
    out |= rows.note("several-labels", [row for row, label in enumerate(labels) if label in several], example)
    kept = [row for row in range(len(labels)) if row not in out]
    if not rows.names:
        return kept
    firsts, repeated, contested = dict[str, int](), list[int](), set[int]()
    for row in kept:
        first = firsts.setdefault(rows.names[row], row)
        if (labels[first], rows.splits[first]) != (labels[row], rows.splits[row]):
            contested |= {first, row}
        elif first != row:
            repeated.append(row)
    out |= rows.note("duplicate", repeated, "repeat others and are left out")
    example = shown(rows.names[min(contested, default=0)])
    out |= rows.note("several-labels", sorted(contested), f"name {example} or others again with another label or split")
    kept = [row for row in kept if row not in out]
    return [kept[place] for place in by_path([rows.names[row] for row in kept])]
