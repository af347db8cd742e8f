"""What the columns of a table are for, by options, names and content; what its labels and splits mean."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import compress, pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

from diptych.data.readers.layout import SPLITS, split_named
from diptych.errors import DataError, UsageError
from diptych.options import SourceOptions

if TYPE_CHECKING:
    from diptych.data.readers.tables import Table

Columns: TypeAlias = dict[str, list[str]]
"""Columns by use: image (none if rows are pixels), label (several if each is a class), split, class name."""
ROLES = {
    "image": r"path|fname|pixels|(image|img|photo|picture|file)(s|path|name|file|filename|filepath)?|\w+filename",
    "id": r"name|id|(image|img|file|photo|picture)(id|index|no|number)|idcode|isicid|uuid",
    "label": "label|labels|class|classname|target|category|y|breed|species",
    "like a label": r"\w*(label|class|category|target)(s|es|id|name|idx|index)?|diagnosis|dx|emotion|tags?",
    "split": r"(data|ml)?(split|subset|set|partition)s?|usage|phase|k?folds?",
    "index": r"|unnamed\d+(level\d+)?|index|level0|indexlevel\d+",
}
"""Names of columns by what they are for: letters and digits only, in lower case; the first that fits counts."""
SPLIT_WORDS = SPLITS | {"publictest": "validation", "privatetest": "test"}
"""What cells of a split column mean; the last two are FER2013's."""
_BOOLEANS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", ""), False),
}
_MISSING = frozenset({"", "nan", "null", "n/a", "#n/a", "<na>", "nat"})
_MAYBE_MISSING = frozenset({"none", "na", "-", "?"})
_SEPARATORS = "|;,+&/ "
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}([.,][0-9]*)?")
_WHOLE = re.compile(r"([+-]?[0-9]{1,19})[.,]0*")


def role_of(column: str) -> str:
    """Return the role that a column's name suggests, or ""."""
    name = re.sub(r"[\W_]+", "", column.lower())
    return next((role for role, names in ROLES.items() if re.fullmatch(names, name)), "")


def shown(text: str) -> str:
    """Return a cell's text as an error shows it: quoted, and cut if it is long."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def at(table: Table, row: int) -> str:
    """Return the file and the line of a row, for an error."""
    return f"{table}, {table.line(row)},"


def choose_columns(table: Table, options: SourceOptions) -> Columns:
    """Choose the columns of a table.

    Raises:
        UsageError: an option names a column that does not exist.
        DataError: it is ambiguous which columns are meant, or there are none.
    """
    splits = [column for column in table.columns if _states_splits(table, column)]
    if options.split_column or len(splits) > 1:
        splits = [_chosen(table, "split", options.split_column and options.split_column.split("=")[0], [splits])]
    images = [one for one in table.likely_images if one not in splits and role_of(one) != "label"]
    tiers = [[one for one in images if role_of(one) == role] for role in ("image", "id")]
    image = [] if table.levels is not None else [_chosen(table, "image", options.image_column, [*tiers, images])]
    others = [one for one in table.likely_labels if one not in (*image, *splits) and role_of(one) != "index"]
    tiers = [[one for one in others if role_of(one) == role] for role in ("label", "like a label")]
    tiers[0] = [one for one in tiers[0] if one.lower() != "class_name"] or tiers[0]
    rest = [one for one in others if role_of(one) not in ("split", "id")] or others
    flags = [] if options.label_column or any(tiers) or len(rest) == 1 else _one_hot(table, rest)
    labels = flags or [_chosen(table, "label", options.label_column, [*tiers, rest])]
    known = {"class_name", f"{labels[0]}_name".lower()}
    names = [one for one in others if one.lower() in known and one not in labels and len(labels) == 1][:1]
    return {"image": image, "label": labels, "split": splits, "class name": names}


def _one_hot(table: Table, columns: Sequence[str]) -> list[str]:
    """Return the columns of 0 and 1, if there are no others or each row has a single 1."""
    cells = {column: [_BOOLEANS.get(whole(cell).lower()) for cell in table.texts(column)] for column in columns}
    flags = {column: some for column, some in cells.items() if None not in some}
    is_complete = len(flags) == len(columns) or {*map(sum, zip(*flags.values(), strict=True))} == {1}
    return [*flags] if is_complete and len(flags) > 1 else []


def _chosen(table: Table, use: str, option: str | None, tiers: Sequence[Sequence[str]]) -> str:
    """Return the column that an option names, or else the only one of the first tier that has any."""
    if option:
        return column_named(table, use, option)
    found = next(filter(None, tiers), [])
    if len(found) == 1:
        return found[0]
    columns = f"{table} has the columns {listed(table.columns)}"
    if found:
        which = " or ".join(map(repr, found[:4])) + " …" * (len(found) > 4)
        raise DataError(f"{columns}; the {use}s may be in {which}: set --{use}-column to the right one.")
    hint = "" if use == "image" else " For images without labels, use `diptych predict`."
    raise DataError(f"{columns}; none of them seems to hold the {use}s: add one, or set --{use}-column.{hint}")


def column_named(table: Table, use: str, option: str) -> str:
    """Return the column that an option means: a name, in any case, first, last, or a number from 1."""
    columns = table.columns
    known = {str(place): column for place, column in enumerate(columns, 1)} | {"first": columns[0], "last": columns[-1]}
    known |= {column.strip().lower(): column for column in columns}
    if option.strip().lower() not in known:
        raise UsageError(f"--{use}-column {option!r} is not a column of {table}: expected {listed(columns)}.")
    return known[option.strip().lower()]


def listed(columns: Sequence[str]) -> str:
    """Return names, quoted, as errors and findings show them."""
    return ", ".join(map(repr, columns[:12])) + " …" * (len(columns) > 12)


def _split_words(column: str) -> Mapping[str, str]:
    """Return what cells of a split column mean; those of `is_valid` or `train` are yes and no in many forms."""
    yes = SPLITS.get(re.sub(r"[\W_]+", "", column.lower()).removeprefix("is"))
    no = "test" if yes == "train" else "train"
    return SPLIT_WORDS | ({cell: yes if is_true else no for cell, is_true in _BOOLEANS.items()} if yes else {})


def _states_splits(table: Table, column: str) -> bool:
    words = _split_words(column)
    if role_of(column) == "split":
        return any(cell.lower() in words or split_named(cell) for cell in table.texts(column))
    return len(words) > len(SPLIT_WORDS) and all(whole(cell).lower() in words for cell in table.texts(column))


def read_splits(table: Table, column: str, option: str | None) -> list[str]:
    """Return the split of each row; raises DataError for a cell that is none. `option` is --split-column."""
    _, is_value, value = (option or "").partition("=")
    cells, words = [whole(cell) for cell in table.texts(column)], _split_words(column)
    if is_value:
        return ["test" if cell.lower() == value.lower() else "train" for cell in cells]
    splits = [words.get(cell.lower()) or split_named(cell) for cell in cells]
    for row, cell in enumerate(cells):
        if not splits[row]:
            advice = f"one of {', '.join(SPLITS)}; --split-column {column}=VALUE tests on the rows of a value"
            raise DataError(f"{at(table, row)} has the split {shown(cell)}: expected {advice}.")
    return splits


def read_labels(table: Table, columns: Columns, names: dict[str, str]) -> list[str]:
    """Read the labels of a table, and add the class names that the schema or a column gives them to `names`.

    Several labels of a row are divided by bars, as `rust|scab`.

    Raises:
        DataError: a label is not in the schema, or has two names.
    """
    if len(columns["label"]) > 1:
        flags = [[_BOOLEANS.get(whole(cell).lower()) for cell in table.texts(one)] for one in columns["label"]]
        return ["|".join(compress(columns["label"], row)) for row in zip(*flags, strict=True)]
    (column,) = columns["label"]
    labels, schema = table.texts(column), table.class_names.get(column, ())
    names |= {str(number): name for number, name in enumerate(schema)}
    labels = ["" if label == "-1" and schema else label for label in labels]  # Hugging Face's -1
    for row, label in enumerate(labels):
        if schema and label and label not in names:
            raise DataError(f"{at(table, row)} has the label {shown(label)}: expected 0 to {len(names) - 1}.")
    for column in columns["class name"]:
        for row, (label, name) in enumerate(zip(map(whole, labels), table.texts(column), strict=True)):
            if label and (names.setdefault(label, name) != name or not name):
                before = f"rows before it {shown(names[label])}"
                raise DataError(f"{at(table, row)} names the label {shown(label)} {shown(name)}, {before}.")
    return labels


def whole(label: str) -> str:
    """Return a whole number without its fraction of zeros (1.0 is 1), other texts as they are."""
    number = _WHOLE.fullmatch(label)
    return number[1] if number else label


def as_number(label: str) -> Decimal:
    """Return the value of a number."""
    return Decimal(label.replace(",", "."))


def are_numbers(labels: Collection[str]) -> bool:
    """Return whether all labels are numbers."""
    return all(map(_NUMBER.fullmatch, labels))


def missing_labels(counts: Mapping[str, int]) -> set[str]:
    """Return the labels that mean that there is none.

    `none`, `NA`, `-` and `?` may be classes: they are if they are written like most others, which are not numbers, and
    if they are not far rarer than these.
    """
    missing = {label for label in counts if label.lower() in _MISSING | _MAYBE_MISSING}
    others = counts.keys() - missing
    for label in [label for label in missing if label.lower() in _MAYBE_MISSING and not are_numbers(others)]:
        num_alike = sum(_style(label) == _style(other) for other in others)
        if num_alike * 2 >= len(others) and counts[label] * 2 >= median(counts[other] for other in others):
            missing.remove(label)
    return missing


def _style(label: str) -> tuple[bool, bool, bool]:
    return label.islower(), label.isupper(), label[0].isalpha()


def several_labels(labels: Collection[str]) -> set[str]:
    """Return the labels that contain several others: `rust|scab`, where `rust` and `scab` are labels of other rows."""
    known = {_bare(label) for label in labels}
    parts = {(label, mark): parts for label in labels for mark, parts in _divided(label)}
    several = {key for key, names in parts.items() if known.issuperset(names)}
    marks = {mark for _, mark in several}
    return {label for (label, mark), names in parts.items() if mark in marks and not known.isdisjoint(names)}


def _divided(label: str) -> Iterator[tuple[str, list[str]]]:
    for mark in _SEPARATORS:
        parts = [_bare(part) for part in _bare(label).split(mark)]
        if len({*parts} - {""}) > 1:
            yield mark, [part for part in parts if part]


def _bare(label: str) -> str:
    return label.strip(" []{}()'\"")


def find_classes(
    labels: Collection[str], names: Mapping[str, str], beside: Sequence[str] | None, path: Path
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the class names, and the class of each label.

    Labels that are numbers are sorted as such, and named by `names` or by those `beside` the table.

    Raises:
        DataError: there are fewer than two classes, or the names do not fit.
    """
    ordered = sorted(labels, key=lambda label: (as_number(label), label)) if are_numbers(labels) else sorted(labels)
    if len(ordered) < 2:
        found = f"1 class, {shown(ordered[0])}" if ordered else "no labels"
        raise DataError(f"{str(path)!r} has {found}: at least 2 classes are needed (see --label-column).")
    class_of = {label: place for place, label in enumerate(ordered)}
    if not are_numbers(ordered):
        return tuple(ordered), class_of
    for first, second in pairwise(ordered):
        if as_number(first) == as_number(second):
            same = f"the labels {first!r} and {second!r} for the same number"
            raise DataError(f"{str(path)!r} has {same}: use one of them.")
    class_names = [names[label] for label in ordered] if names else beside or ordered
    if len(class_names) != len(ordered):
        found = f"classes.txt beside it has {len(class_names)} names"
        raise DataError(f"{str(path)!r} has {len(ordered)} labels, but {found}.")
    for name in class_names:
        if class_names.count(name) > 1:
            raise DataError(f"{str(path)!r} gives two labels the name {shown(name)}; class names must be unique.")
    return tuple(class_names), class_of
