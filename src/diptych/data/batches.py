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


def steps_per_epoch(num_samples, batch_size):
    full, rest = divmod(num_samples, batch_size)
    return max(full + (rest > 1), 1)


def order(num_samples, seed, epoch):
    return np.random.Generator(np.random.Philox(key=seed * 100003 + epoch)).permutation(num_samples)


def epoch_batches(split, recipe, *, num_classes, seed, epoch, first_step=0, workers=1, depth=4):
    indices = order(len(split), seed, epoch)
    steps = steps_per_epoch(len(split), recipe.batch_size)
    eye = np.eye(num_classes, dtype=np.float32)
    for step in range(first_step, steps):
        i = indices[step * recipe.batch_size : (step + 1) * recipe.batch_size if step + 1 < steps else None]
        x = split.images[i]
        yield Batch(x, eye[split.labels[i]], np.ones(len(i), np.float32))
