"""How far two sets of named arrays lie apart: the largest difference, and where the first one is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

# An array that is zero but for rounding, such as the gradient of a bias before a normalisation, has no scale
# of its own: arrays with less than this share of their group's usual size are measured against that share.
SMALL = 1e-2
TINY = 1e-150


@dataclass(frozen=True)
class Difference:
    """Two sets of arrays compared.

    Attributes:
        relative: the largest ‖a − b‖ / ‖b‖ of an array; infinite where an array is missing, has
            another shape or holds a NaN.
        absolute: the largest difference of two elements.
        worst: the array with the largest relative difference.
        relatives: of every array, in the order in which they were compared.
    """

    relative: float
    absolute: float
    worst: str
    relatives: Mapping[str, float]

    def departs_at(self, tolerance: float) -> str | None:
        """The first array further apart than `tolerance`, in the order of the comparison."""
        return next((name for name, relative in self.relatives.items() if relative > tolerance), None)


def difference(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], order: Iterable[str]) -> Difference:
    """Compare arrays by name, in `order`; `group/…` in a name sets a group with a scale of its own apart."""
    scales = _group_scales(theirs)
    relatives, absolutes = {}, {}
    for name in order:
        relatives[name], absolutes[name] = _apart(ours.get(name), theirs.get(name), scales[_group(name)])
    worst = max(relatives, key=relatives.__getitem__)
    return Difference(relatives[worst], float(np.max(list(absolutes.values()))), worst, relatives)


def _apart(ours: np.ndarray | None, theirs: np.ndarray | None, scale: float) -> tuple[float, float]:
    """Relative and absolute difference of one array."""
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return np.inf, np.inf
    if np.array_equal(ours, theirs):
        return 0.0, 0.0
    with np.errstate(all="ignore"):
        gap = ours.astype(np.float64) - theirs
        relative = _rms(gap) / max(_rms(theirs), SMALL * scale, TINY)
    return relative if np.isfinite(relative) else np.inf, float(np.abs(gap).max())


def _group_scales(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    members: dict[str, list[float]] = defaultdict(list)
    for name, array in arrays.items():
        members[_group(name)].append(_rms(array))
    return defaultdict(float, {group: float(np.median(sizes)) for group, sizes in members.items()})


def _group(name: str) -> str:
    return name.rpartition("/")[0]


def _rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))
