"""What the texts of labels mean: a number, a name, no label or several; and the classes that follow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diptych.data.preprocess import as_array
from diptych.errors import DataError, UsageError

Encode: TypeAlias = Callable[[Sequence[str]], NDArray[np.int64]]
"""Returns the class of each label."""
FLAGS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", ""), False),
}
"""What cells say that are yes or no."""
_MISSING = frozenset({"", "nan", "null", "n/a", "#n/a", "<na>", "nat"})
_MAYBE_MISSING = frozenset({"none", "na", "-", "?"})
_SEPARATORS = "|;,+&/ "
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}([.,][0-9]*)?")
_WHOLE = re.compile(r"([+-]?[0-9]{1,19})(\.0*|,0{0,2})")


def quoted(text: str) -> str:
    """Return a text as an error shows it: quoted, and cut if it is long."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def whole(label: str) -> str:
    """Return a whole number without its fraction of zeros (1.0 is 1), other texts as they are."""
    number = _WHOLE.fullmatch(label)
    return number[1] if number else label


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
    known, found = set(map(_bare, labels)), set[str]()
    for mark in _SEPARATORS:
        parts = {label: {*map(_bare, _bare(label).split(mark))} - {""} for label in labels}
        parts = {label: names for label, names in parts.items() if len(names) > 1}
        if any(names <= known for names in parts.values()):
            found |= {label for label, names in parts.items() if names & known}
    return found


def _bare(label: str) -> str:
    return label.strip(" []{}()'\"")


def texts_of(labels: Any, count: int) -> list[str]:
    """Return an array of labels, (N,), (N, 1) or one-hot, (N, K), as texts.

    Raises UsageError for any but one label per image, and for any but whole numbers and names.
    """
    array = as_array(labels, "The array of labels")
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biuf":
        if not (np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all()):
            raise UsageError(f"Labels of the shape {array.shape} must be one-hot: one 1 in each row.")
        array = array.argmax(axis=1)
    if array.size != count:
        raise UsageError(f"There are {count:,} images, but labels of the shape {array.shape}: expected one per image.")
    texts = list[str]()
    for number, value in enumerate(array.ravel().tolist()):
        if isinstance(value, int | float | np.number):
            text = str(int(value)) if float(value).is_integer() else ""
        else:
            text = value.decode(errors="replace") if isinstance(value, bytes) else value
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"Label {number} is {value!r}: expected a whole number or a name.")
        texts.append(text.strip())
    return texts


def find_classes(
    labels: Collection[str], names: Mapping[str, str], path: Path, beside: Sequence[str] | None = None
) -> tuple[tuple[str, ...], Encode]:
    """Return the class names, and what turns labels into classes.

    Labels that are numbers are sorted as such, and named by `names` or by those `beside` the table. Raises DataError if
    there are fewer than two classes, or the names do not fit.
    """
    is_numeric = are_numbers(labels)
    value = {label: Decimal(label.replace(",", ".") if is_numeric else 0) for label in labels}
    ordered = sorted(labels, key=lambda label: (value[label], label))
    if len(ordered) < 2:
        found = f"1 class, {quoted(ordered[0])}" if ordered else "no labels"
        raise DataError(f"{str(path)!r} has {found}: at least 2 classes are needed.")
    class_names = ordered
    if is_numeric:
        class_names = [names[label] for label in ordered] if names else [*(beside or ordered)]
        for first, second in pairwise(ordered):
            if value[first] == value[second]:
                same = f"the labels {first!r} and {second!r} for the same number"
                raise DataError(f"{str(path)!r} has {same}: use one of them.")
    if len(class_names) != len(ordered):
        found = f"classes.txt beside it has {len(class_names)} names"
        raise DataError(f"{str(path)!r} has {len(ordered)} labels, but {found}.")
    name, count = Counter(class_names).most_common(1)[0]
    if count > 1:
        raise DataError(f"{str(path)!r} gives two labels the name {quoted(name)}; class names must be unique.")
    class_of = {label: place for place, label in enumerate(ordered)}
    return tuple(class_names), lambda texts: np.array([class_of[text] for text in texts], np.int64)
