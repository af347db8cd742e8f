"""Tables, CSV, JSON Lines or Parquet: the images, labels and splits that their rows state."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

import numpy as np

from diptych.data.paths import contained
from diptych.data.readers import Files, ListedSplit, Listing, as_names
from diptych.data.readers.columns import at, choose_columns, listed, read_labels, read_splits, role_of
from diptych.data.readers.csv_table import JSON_LINES, CsvTable, as_images, names_beside, read_pixels
from diptych.data.readers.labels import are_numbers, find_classes, missing_labels, quoted, several_labels, whole
from diptych.data.readers.layout import split_named
from diptych.data.readers.parquet import SUFFIX, ParquetImages, ParquetTable
from diptych.data.readers.tree import Folder, by_path, locate
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
_MOST_LINES = 20


def read_tables(paths: Sequence[Path], options: SourceOptions) -> Listing:
    """Read the tables of a folder together; their names contain their splits.

    CSV files whose names contain none are skipped if others contain one; otherwise there must be only one. Parquet
    files must all contain one, or none: then they are one set, which split columns may divide.
    """
    _check_complete(paths)
    shards: dict[str, list[Path]] = {}
    are_apart = len({path.parent for path in paths}) > 1  # in the folders of splits
    for path in paths:
        split = split_named(path.stem) or split_named(path.parent.name) * are_apart
        shards.setdefault(split, []).append(path)
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


def refuse_options(data: str, options: SourceOptions, names: Iterable[str] = _OPTIONS) -> None:
    """Raise an error for an option that is set, because the data are of another kind."""
    for name in names:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is for a table of {_OPTIONS[name]}; {data!r} is not one.")


def _check_complete(paths: Sequence[Path]) -> None:
    """Raise an error if a table of a numbered set is missing."""
    found = {(shard[1], int(shard[2]), int(shard[3])) for path in paths if (shard := _SHARD.match(path.name))}
    for name, count in sorted({(name, count) for name, _, count in found}):
        if missing := [number for number in range(count) if (name, number, count) not in found]:
            lacking = f"{name}-{missing[0]:05}-of-{count:05}"
            raise DataError(f"{str(paths[0].parent)!r} lacks {lacking}: download it, or use one file as DATA.")


def open_table(path: Path, options: SourceOptions) -> Table:
    """Open a table by the suffix of its name and what it begins with."""
    table = _open(path)
    if not isinstance(table, CsvTable) or not table.holds_pixels or options.image_column:
        return table
    return read_pixels(table, options.label_column, options.pixel_shape)


def _open(path: Path) -> Table:
    return ParquetTable.open(path) if path.suffix.lower() == SUFFIX else CsvTable.open(path)


def has_labels(path: Path, options: SourceOptions) -> bool:
    """Return whether a table states labels."""
    try:
        choose_columns(open_table(path, options), options)
    except (DataError, UsageError):
        return False
    return True


@dataclass
class _Rows:
    """The rows of some tables: where each is, its path unless it has pixels, and the texts of its label and split."""

    places: list[tuple[Table, int]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def note(self, kind: str, rows: Sequence[int], what: str) -> set[int]:
        """Add a finding about some rows, if there are any; return them."""
        if rows:
            places = groupby((self.places[row] for row in rows[:_MOST_LINES]), key=itemgetter(0))
            lines = [f"{one.path.name}: {', '.join(one.line(row) for _, row in some)}" for one, some in places]
            more = f" and {len(rows) - _MOST_LINES:,} more" if len(rows) > _MOST_LINES else ""
            where = f"{'; '.join(lines)}{more}"
            self.findings.append(Finding(kind, f"{len(rows):,} of {len(self.labels):,} rows {what} ({where})"))
        return set(rows)


def read_shards(shards: Mapping[str, Sequence[Path]], options: SourceOptions) -> Listing:
    """Read the files of each split; columns may divide those of the split `""`.

    Paths are relative to `options.root`, or else to the file's folder. Image files are sorted, so that the order of
    rows does not matter; pixels, and images in Parquet, keep it.
    """
    files = [(split, path) for split in sorted(shards, key=lambda split: split != "train") for path in shards[split]]
    first = open_table(files[0][1], options)
    columns = choose_columns(first, options)
    if len(files) > 1 and files[0][0] and not options.split_column:
        columns["split"] = []
    if first.levels is not None:
        options = replace(options, label_column=columns["label"][0])
    used, image = {*chain(*columns.values())}, "".join(columns["image"])
    root = Path(options.root or os.path.commonpath([path.parent for _, path in files]))
    rows, tables, names = _Rows(findings=_unused(first, used)), list[Table](), dict[str, str]()
    for split, path in files:
        if split not in ("", "train") and not {*columns["label"]} & {*_open(path).columns}:
            rows.findings.append(Finding("not-used", f"{path.name}, which has no column {columns['label'][0]!r}"))
            continue
        table = first if path == first.path else open_table(path, options)
        if not used <= {*table.columns} or table.class_names != first.class_names:
            raise DataError(f"{table} has other columns or classes than {first}.")
        tables.append(table)
        labels = read_labels(table, columns, names)
        rows.labels += labels
        rows.places += [(table, row) for row in range(len(labels))]
        stated = [read_splits(table, column, options.split_column) for column in columns["split"]]
        rows.splits += stated[0] if stated else [split] * len(labels)
        if table.is_text(image):
            parent = "" if options.root or path.parent == root else f"{path.parent.relative_to(root).as_posix()}/"
            rows.paths += [parent + text for text in table.texts(image)]
    if not rows.labels:
        raise DataError(f"{first} has no rows: expected one per image.")
    pixels = [table for table in tables if isinstance(table, CsvTable) and not rows.paths]
    refuse_options(str(first.path), options, ["root"] if pixels else ["pixel_shape"])
    located = _locate(rows, root) if rows.paths else []
    usable = _usable(rows, is_one_hot=len(columns["label"]) > 1)
    known = {rows.labels[row] for row in usable}
    if len(known) < 2:
        judge(rows.findings, str(first.path))  # the labels may be missing, or several at once
    class_names, encode = find_classes(known, names, first.path, names_beside(first.path))
    ids_m = as_names(rows.paths or (f"{table.path.name}:{row}" for table, row in rows.places))
    images = np.concatenate([as_images(table, image, options.pixel_shape) for table in pixels]) if pixels else None
    encoded = ParquetImages.of([table for table in tables if isinstance(table, ParquetTable)], image, root)
    splits = {}
    for split in sorted({rows.splits[row] for row in usable}):
        chosen = np.array([row for row in usable if rows.splits[row] == split], dtype=np.intp)
        labels_n = encode([rows.labels[row] for row in chosen])
        if images is not None:
            splits[split] = ListedSplit.of_pixels(images[chosen], labels_n)
        else:
            stored = Files(root, ids_m[chosen]) if rows.paths else replace(encoded, rows=chosen)
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
    rows.paths, inferred = locate(folder, rows.paths, rows.splits)
    for row, path in enumerate(rows.paths):
        try:
            contained(root, path)
        except DataError as error:
            raise DataError(f"{at(*rows.places[row])} leaves the folder (see --root). {error}") from error
    if not any(map(folder.has, rows.paths)):
        more = f", and so are the other {len(rows.paths) - 1:,}" if len(rows.paths) > 1 else ""
        missing = f"is not a file below {str(root)!r}{more}: set --root to the folder that the paths begin in"
        raise DataError(f"{at(*rows.places[0])} names the image {quoted(rows.paths[0])}, which {missing}.")
    tops = [split_named(path.split("/")[0]) for path in rows.paths]
    if {*rows.splits} <= {"", "train"} and "train" in tops and "" not in tops and len({*tops}) > 1:
        rows.splits = tops
        inferred.append("splits from the folders in the paths")
    if others := folder.left_out(rows.paths):
        count = f"{len(others):,} images that no row names"
        rows.findings.append(Finding("left-out", f"{count}, such as {listed(others[:3])}"))
    return inferred


def _usable(rows: _Rows, *, is_one_hot: bool) -> list[int]:
    """Return the rows that have one label, each image once and those with paths sorted; note the others."""
    rows.splits = [split or "train" for split in rows.splits]
    counts = Counter(rows.labels)
    missing = missing_labels(counts)
    several = {label for label in counts if "|" in label} if is_one_hot else several_labels(counts.keys() - missing)
    if are_numbers(counts.keys() - missing - several):
        rows.labels = [whole(label) for label in rows.labels]
    labels = rows.labels
    out = rows.note("no-label", [row for row, label in enumerate(labels) if label in missing], "have no label")
    example = f"have several labels, such as {quoted(min(several, default=''))}"
    out |= rows.note("several-labels", [row for row, label in enumerate(labels) if label in several], example)
    if not rows.paths:
        return [row for row in range(len(labels)) if row not in out]
    firsts, repeated, contested = dict[str, int](), list[int](), set[int]()
    in_order = by_path(rows.paths)
    for row in sorted({*in_order} - out):
        first = firsts.setdefault(rows.paths[row], row)
        if (labels[first], rows.splits[first]) != (labels[row], rows.splits[row]):
            contested |= {first, row}
        elif first != row:
            repeated.append(row)
    out |= rows.note("duplicate", repeated, "repeat others and are left out")
    example = quoted(rows.paths[min(contested, default=0)])
    out |= rows.note("several-labels", sorted(contested), f"name {example} or others again with another label or split")
    return [row for row in in_order if row not in out]
