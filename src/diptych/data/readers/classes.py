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
"""What a column of labels may be called, whatever the case of its letters."""
_NUMBER = re.compile(r"[+-]?[0-9]+")

Codes = Mapping[str, NDArray[np.int64]]


def to_classes(
    texts: Sequence[str], codes: Codes, where: str, names: Mapping[str, str] | Sequence[str] | None = None
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Find the classes behind labels.

    Training samples say which classes there are; where there are none, as in a table to test with, all samples do.
    Labels that are all whole numbers are sorted as numbers, others as text. A class is called what its label says,
    unless the labels are numbers and have names.

    Args:
        texts: every label that was met, once.
        codes: int64, (N,), of each split, the place of each sample's label in `texts`.
        where: what to call the table in an error.
        names: of labels that are numbers: of each one, or of all in their order.

    Returns:
        The classes' names, and each split's labels as places in them, int64.

    Raises:
        DataError: fewer than two classes, a label that training does not know, a number written in two ways, or names
            that do not fit.
    """
    telling_n = codes["train"] if len(codes.get("train", ())) else np.concatenate(list(codes.values()))
    known = _sorted([texts[code] for code in np.unique(telling_n).tolist()], where)
    if len(known) < 2:
        told = "in training" if telling_n is codes.get("train") else "in all"
        raise DataError(f"{where} holds {len(known)} class, {shown(known[0])}, {told}: at least 2 are wanted.")
    place_of = {text: place for place, text in enumerate(known)}
    places = np.array([place_of.get(text, -1) for text in texts], dtype=np.int64)
    labels = {split: places[codes_n] for split, codes_n in codes.items()}
    for split, labels_n in labels.items():
        if (labels_n < 0).any():
            text = texts[codes[split][np.argmin(labels_n)]]
            named = f", {shown(names[text])}," if isinstance(names, Mapping) and text in names else ""
            raise DataError(
                f"{where} has the label {shown(text)}{named} for {split} alone: training must know every class."
            )
    return _named(known, names, where), labels


def _sorted(texts: list[str], where: str) -> list[str]:
    if not _are_numbers(texts):
        return sorted(texts)
    texts = sorted(texts, key=int)
    for first, second in pairwise(texts):
        if int(first) == int(second):
            raise DataError(f"{where} has the labels {first!r} and {second!r}, one number: write it in one way.")
    return texts


def _are_numbers(texts: Sequence[str]) -> bool:
    return all(_NUMBER.fullmatch(text) and len(text) < 20 for text in texts)


def _named(known: list[str], names: Mapping[str, str] | Sequence[str] | None, where: str) -> tuple[str, ...]:
    if names is None or not _are_numbers(known):
        return tuple(known)
    if not isinstance(names, Mapping):
        if len(names) != len(known):
            raise DataError(f"{where} has {len(known)} labels, classes.txt beside it {len(names)} names: one each.")
        names = dict(zip(known, names, strict=True))
    class_names = tuple(names[text] for text in known)
    if len(set(class_names)) < len(class_names):
        twice = next(name for place, name in enumerate(class_names) if name in class_names[:place])
        raise DataError(f"{where} gives two labels the name {shown(twice)}: every class wants its own.")
    return class_names


def split_named(told: str, where: str) -> str:
    """The split that a cell says.

    Raises:
        DataError: it says none.
    """
    if told.lower() not in SPLITS:
        raise DataError(f"{where} has the split {shown(told)}: wanted one of {', '.join(SPLITS)}.")
    return SPLITS[told.lower()]


def names_beside(path: Path) -> list[str] | None:
    """The names in `classes.txt` beside a table, one a line in the order of the labels; None without such a file.

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
        raise DataError(f"{str(path)!r}, line {names.index('') + 1} is empty: wanted one class name a line.")
    return names


def shown(text: str) -> str:
    """A cell's text as an error shows it: quoted, and cut where it is long."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
