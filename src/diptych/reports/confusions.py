"""Who takes what for what: confusion matrices as the page shows them, and the mistakes made most often."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVELS = 10
MOST_WRITTEN = 25
"""Classes beyond which a matrix is drawn, not written."""


@dataclass(frozen=True)
class Confusion:
    """One side's matrix.

    Attributes:
        names: of the classes.
        counts: (C, C), rows are true classes.
        shares: of the true class.
    """

    names: Sequence[str]
    counts: np.ndarray
    shares: np.ndarray

    @property
    def right(self) -> int:
        """How many answers are right."""
        return int(self.counts.trace())

    @property
    def total(self) -> int:
        """How many answers there are."""
        return int(self.counts.sum())


@dataclass(frozen=True)
class Mistake:
    """A true class taken for another one, and how often by each side."""

    true: int
    said: int
    counts: tuple[int, ...]


def confusions_of(comparison: Mapping[str, Any]) -> list[Confusion]:
    """Every side's matrix."""
    names = comparison["subject"]["class_names"]
    matrices = [np.asarray(matrix) for matrix in comparison["confusion"]]
    return [Confusion(names, matrix, matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)) for matrix in matrices]


def level(share: float) -> int:
    """Depth of colour of a share, 0 to 10; by its square root, because the small shares are the mistakes."""
    return math.ceil(LEVELS * math.sqrt(share) - 1e-9)


def frequent(confusions: Sequence[Confusion], most: int) -> list[Mistake]:
    """The mistakes made most often by all sides together."""
    total = np.sum([confusion.counts for confusion in confusions], axis=0)
    np.fill_diagonal(total, 0)
    order = np.argsort(-total, axis=None, kind="stable")[:most]
    places = [divmod(int(place), len(total)) for place in order if total.flat[place]]
    return [Mistake(row, column, tuple(int(one.counts[row, column]) for one in confusions)) for row, column in places]


def cell_class(confusion: Confusion, row: int, column: int) -> str:
    """The style of a cell of a written matrix."""
    share = confusion.shares[row, column]
    return f"right-{max(1, math.ceil(5 * share))}" if row == column else f"heat-{level(share)}"
