"""A split's images: an array in memory, or rows of something larger that are fetched when they are asked for.

Whoever reads a split takes slices or lists of places and gets arrays, so that a dataset may be larger than memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Images(Protocol):
    """uint8 images, (N, H, W, C), 0–255: an array, or what gives arrays for slices and lists of places."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, places: Any, /) -> NDArray[np.uint8]:
        """The images at a slice or an integer array of places, (n, H, W, C); or the one at a number, (H, W, C)."""


class Rows(Protocol):
    """Images of one size, kept somewhere, that know what they are made of."""

    @property
    def digests(self) -> NDArray[np.uint8]:
        """uint8, (M, 32), SHA-256 of what each image was made of."""

    @property
    def moments(self) -> NDArray[np.int64]:
        """int64, (M, 2, C), sum of each channel's levels, and of their squares."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, H, W, C)."""

    def fetch(self, places: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The images at some places, (n, H, W, C)."""


@dataclass(frozen=True, eq=False)
class Kept:
    """Some of the rows, in an order of their own: `Images` that take no memory until they are asked for.

    Attributes:
        rows: where the images are.
        places: intp, (N,), which of them these are.
    """

    rows: Rows
    places: NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return (len(self.places), *self.rows.shape[1:])

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, places: Any, /) -> NDArray[np.uint8]:
        chosen = self.places[places]
        return self.rows.fetch(chosen) if chosen.ndim else self.rows.fetch(chosen[np.newaxis])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        return np.asarray(self[:], dtype=dtype)

    @property
    def digests(self) -> NDArray[np.uint8]:
        """uint8, (N, 32), SHA-256 of what each image was made of."""
        return self.rows.digests[self.places]

    @property
    def moments(self) -> NDArray[np.int64]:
        """int64, (N, 2, C), sum of each channel's levels, and of their squares."""
        return self.rows.moments[self.places]


def pick(images: Images, places: NDArray[np.intp]) -> Images:
    """The images at some places: a copy of an array's rows, or a view of what is kept elsewhere."""
    return Kept(images.rows, images.places[places]) if isinstance(images, Kept) else images[places]
