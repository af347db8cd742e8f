"""The stream of batches: a pure function of (data, recipe, seed, epoch), whichever engine reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes:
        images: uint8, (N, H, W, C), 0–255.
        targets: float32, (N, K), each row a distribution over the classes.
        weights: float32, (N,), each sample's share in the loss.
    """

    images: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
