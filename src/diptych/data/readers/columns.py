"""What the columns of a table are for, by options, names and content; what its labels and splits mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, TypeAlias

from diptych.data.readers.labels import FLAGS, quoted, whole
from diptych.data.readers.layout import SPLIT, SPLITS, split_named
from diptych.errors import DataError, UsageError, first_of
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
_MOST_NAMED = 12


def role_of(column: str) -> str:
    """Return the role that a column's name suggests, or ""."""
    name = _plain(column)
    return next((role for role, names in ROLES.items() if re.fullmatch(names, name)), "")


def _plain(column: str) -> str:
    return re.sub(r"[\W_]+", "", column.lower())


def listed(columns: Sequence[str]) -> str:
    """Return the first names of columns, quoted."""
    return first_of([*map(repr, columns)], _MOST_NAMED)


def at(table: Table, row: int) -> str:
    """Return the file and the line of a row, for an error."""
    return f"{table}, {table.line(row)},"


def choose_columns(table: Table, options: SourceOptions) -> Columns:
    """Choose the columns of a table; raises DataError if it is ambiguous which are meant, or there are none."""
    splits = [column for column in table.columns if _states_splits(table, column)]
    if options.split_column or len(splits) > 1:
        splits = [_chosen(table, "split", options.split_column and options.split_column.split("=")[0], [splits])]
    holders, texts = ([one for one in some if one not in splits] for some in (table.image_columns, table.text_columns))
    tiers = [_of_role(holders, "image"), holders, _of_role(texts, "image"), _of_role(texts, "id")[:1]]
    image = [] if table.levels is not None else [_chosen(table, "image", options.image_column, tiers)]
    others = [one for one in table.label_columns if one not in (*image, *splits) and role_of(one) != "index"]
    tiers = [_of_role(others, "label"), _of_role(others, "like a label")]
    tiers[0] = [one for one in tiers[0] if _plain(one) != "classname"] or tiers[0]
    rest = [one for one in others if role_of(one) not in ("split", "id")] or others
    flags = [] if options.label_column or any(tiers) or len(rest) == 1 else _one_hot(table, rest)
    labels = flags or [_chosen(table, "label", options.label_column, [*tiers, rest])]
    known = {"classname", _plain(f"{labels[0]}name")}
    names = [one for one in others if _plain(one) in known and one not in labels and len(labels) == 1][:1]
    return {"image": image, "label": labels, "split": splits, "class name": names}


def _of_role(columns: Sequence[str], role: str) -> list[str]:
    return [one for one in columns if role_of(one) == role]


def _flags(table: Table, column: str) -> list[bool | None]:
    return [FLAGS.get(whole(cell).lower()) for cell in table.texts(column)]


def _one_hot(table: Table, columns: Sequence[str]) -> list[str]:
    """Return the columns of 0 and 1, if there are no others or each row has a single 1."""
    flags = {column: some for column in columns if None not in (some := _flags(table, column))}
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
        which = " or ".join(map(repr, found[:_MOST_NAMED]))
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


def _split_words(column: str) -> Mapping[str, str]:
    """Return what cells of a split column mean; those of `is_valid` or `train` are yes and no in many forms."""
    match = SPLIT.fullmatch(_plain(column).removeprefix("is"))
    yes = match and SPLITS[match[1]]
    no = "test" if yes == "train" else "train"
    return SPLIT_WORDS | ({cell: yes if is_true else no for cell, is_true in FLAGS.items()} if yes else {})


def _splits_in(table: Table, column: str) -> list[str]:
    """Return the split that each cell of a column means, or ""."""
    words = _split_words(column)
    return [words.get(whole(cell).lower()) or split_named(cell) for cell in table.texts(column)]


def _states_splits(table: Table, column: str) -> bool:
    """Return whether a column is named like one of splits and states any, or states nothing else."""
    words = _split_words(column)
    if role_of(column) == "split":
        return any(_splits_in(table, column))
    is_flag = len(words) > len(SPLIT_WORDS)
    cells = table.texts(column) if is_flag or table.is_text(column) else [""]
    splits = {words.get(whole(cell).lower(), "") for cell in cells}
    return all(splits) and (is_flag or {"train"} < splits)


def read_splits(table: Table, column: str, option: str | None) -> list[str]:
    """Return the split of each row; raises DataError for a cell that is none. `option` is --split-column."""
    _, is_value, value = (option or "").partition("=")
    if is_value:
        is_test = [whole(cell).lower() == value.lower() for cell in table.texts(column)]
        return ["test" if one else "train" for one in is_test]
    splits = _splits_in(table, column)
    if "" in splits:
        row = splits.index("")
        advice = f"one of {', '.join(SPLITS)}; --split-column {column}=VALUE tests on the rows of a value"
        raise DataError(f"{at(table, row)} has the split {quoted(table.texts(column)[row])}: expected {advice}.")
    return splits


def read_labels(table: Table, columns: Columns, names: dict[str, str]) -> list[str]:
    """Read the labels of a table, `rust|scab` for several of a row, and add the class names that it gives to `names`.

    Raises DataError for a label that is not in the schema, or has two names.
    """
    if len(columns["label"]) > 1:
        flags = [_flags(table, one) for one in columns["label"]]
        return ["|".join(compress(columns["label"], row)) for row in zip(*flags, strict=True)]
    (column,) = columns["label"]
    labels, schema = table.texts(column), table.class_names.get(column, ())
    names |= {str(number): name for number, name in enumerate(schema)}
    labels = ["" if label == "-1" and schema else label for label in labels]  # Hugging Face's -1
    for row, label in enumerate(labels):
        if schema and label and label not in names:
            raise DataError(f"{at(table, row)} has the label {quoted(label)}: expected 0 to {len(names) - 1}.")
    for column in columns["class name"]:
        for row, (label, name) in enumerate(zip(map(whole, labels), table.texts(column), strict=True)):
            if label and (names.setdefault(label, name) != name or not name):
                before = f"rows before it {quoted(names[label])}"
                raise DataError(f"{at(table, row)} names the label {quoted(label)} {quoted(name)}, {before}.")
    return labels
