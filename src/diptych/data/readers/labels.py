"""From labels, as tables write them, to classes: the rules that CSV and Parquet share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.data.readers.folder import SPLITS
from diptych.errors import DataError

LABEL_COLUMNS = ("label", "labels", "class", "class_name", "target", "category", "y", "breed", "species")
"""Names of a column of labels, in any case."""
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")


def to_classes(
    texts: Sequence[str],
    codes: Mapping[str, Sequence[int] | NDArray[np.int64]],
    where: str,
    names: Mapping[str, str] | Sequence[str] | None = None,
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Find the classes behind labels.

    Training samples define the classes; without any, as in a table to test with, all samples do. Labels that are all
    whole numbers are sorted as numbers, others as text. A class is named by its label, unless the labels are numbers
    and have names.

    Args:
        texts: every label once.
        codes: of each split, (N,), the index in `texts` of each sample's label.
        where: the table's name in an error.
        names: of labels that are numbers: by label, or of all in their order.

    Returns the classes' names, and each split's labels as indices of them, int64, (N,).

    Raises:
        DataError: there are fewer than two classes, a label that training does not have, a number written in two ways,
            or names that do not fit.
    """
    has_train = len(codes.get("train", ())) > 0
    defining = codes["train"] if has_train else np.concatenate(list(codes.values()))
    known = _sorted([texts[code] for code in np.unique(np.asarray(defining, dtype=np.int64)).tolist()], where)
    if len(known) < 2:
        scope = "in training" if has_train else "in all"
        raise DataError(f"{where} has 1 class {scope}, {shown(known[0])}: at least 2 are needed.")
    number_of = {text: number for number, text in enumerate(known)}
    numbers = np.array([number_of.get(text, -1) for text in texts], dtype=np.int64)
    labels = {split: numbers[np.asarray(split_codes, dtype=np.int64)] for split, split_codes in codes.items()}
    for split, labels_n in labels.items():
        if (labels_n < 0).any():
            text = texts[codes[split][int(labels_n.argmin())]]
            named = f", {shown(names[text])}," if isinstance(names, Mapping) and text in names else ""
            raise DataError(f"{where} has the label {shown(text)}{named} in {split} but not in training.")
    return _named(known, names, where), labels


def split_named(text: str, where: str) -> str:
    """Return the split that a cell names.

    Raises:
        DataError: it names none.
    """
    if text.lower() not in SPLITS:
        raise DataError(f"{where} has the split {shown(text)}: expected one of {', '.join(SPLITS)}.")
    return SPLITS[text.lower()]


def names_beside(path: Path) -> list[str] | None:
    """Return the lines of `classes.txt` beside a table, which name its labels in their order, if there is one.

    Raises:
        DataError: it cannot be read, or has an empty line.
    """
    path = path.parent / "classes.txt"
    if not path.is_file():
        return None
    try:
        names = [name.strip() for name in path.read_text(encoding="utf-8-sig").rstrip().split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}.") from error
    if "" in names:
        raise DataError(f"{str(path)!r}, line {names.index('') + 1}: expected one class name a line, got none.")
    return names


def shown(text: str) -> str:
    """Return a cell's text as an error shows it: quoted, and cut if it is long."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _sorted(texts: list[str], where: str) -> list[str]:
    if not all(map(_NUMBER.fullmatch, texts)):
        return sorted(texts)
    texts = sorted(texts, key=int)
    for first, second in pairwise(texts):
        if int(first) == int(second):
            raise DataError(f"{where} has the labels {first!r} and {second!r} for one number: write it in one way.")
    return texts


def _named(known: list[str], names: Mapping[str, str] | Sequence[str] | None, where: str) -> tuple[str, ...]:
    if names is None or not all(map(_NUMBER.fullmatch, known)):
        return tuple(known)
    if not isinstance(names, Mapping):
        if len(names) != len(known):
            raise DataError(f"{where} has {len(known)} labels, but classes.txt beside it has {len(names)} names.")
        names = dict(zip(known, names, strict=True))
    class_names = tuple(names[text] for text in known)
    for name in class_names:
        if class_names.count(name) > 1:
            raise DataError(f"{where} gives two labels the name {shown(name)}: name each class differently.")
    return class_names
