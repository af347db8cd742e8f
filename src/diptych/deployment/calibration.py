"""Images that set the ranges of integer formats: drawn by a recorded rule, and checked against the training images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.data.datasets import Split
from diptych.data.images import Images
from diptych.data.preprocess import channel_moments, channel_statistics
from diptych.errors import DataError

NUM_IMAGES = 500
SEED = 0
# In units of 0–1. Splits of one dataset differ by a few hundredths.
_MAX_MEAN_DIFFERENCE = 0.25
_MAX_STD_RATIO = 4.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """Images, uint8, (N, H, W, C), and a record of their origin."""

    images_nhwc: np.ndarray
    record: dict[str, Any]


def draw(split: Split, dataset: str, num_images: int = NUM_IMAGES, seed: int = SEED) -> Calibration:
    """Draw the same number of images of each class from a training split.

    Args:
        split: Labelled uint8 images.
        dataset: Name of the dataset, for the record.
        num_images: Number of images; a class with too few contributes all it has.
        seed: Seed of the draw.
    """
    indices_n = stratified(split.labels, num_images, seed)
    images_nhwc = np.ascontiguousarray(split.images[indices_n])
    record = {
        "dataset": dataset,
        "split": "train",
        "rule": "stratified by class",
        "seed": seed,
        "num_images": len(indices_n),
        "indices": indices_n.tolist(),
        "sha256": hashlib.sha256(images_nhwc.data).hexdigest(),
    }
    return Calibration(images_nhwc, record)


def stratified(labels_n: np.ndarray, num: int, seed: int = SEED) -> np.ndarray:
    """Draw about `num` indices, the same number of each class or all that a class has, and sort them."""
    generator = np.random.default_rng(seed)
    classes = np.unique(labels_n)
    share = -(-num // max(len(classes), 1))
    parts = [generator.permutation(np.flatnonzero(labels_n == label))[:share] for label in classes]
    return np.sort(np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64))


def check(images: np.ndarray, trained_on: Images) -> None:
    """Raise if calibration images are unlike the training images, uint8, (N, H, W, C).

    Raises:
        DataError: Their type, size or range of values differs.
    """
    expected = f"uint8, 0–255, of shape (N, {', '.join(map(str, trained_on.shape[1:]))})"
    if images.dtype != np.uint8 or images.shape[1:] != trained_on.shape[1:] or not len(images):
        span = f" from {images.min():g} to {images.max():g}" if images.size else ""
        raise DataError(f"Calibration images must be {expected}; got {images.dtype} of shape {images.shape}{span}.")
    levels, squares = channel_moments(trained_on)
    if images.max() <= 1 and (squares > levels).any():  # some training pixel is above 1
        raise DataError(
            f"Calibration images must be {expected}; the largest value is {images.max()}. "
            "If they were scaled to 0–1, pass them unscaled: the model scales its input."
        )
    statistics = (channel_statistics(images), channel_statistics(trained_on))
    for channel, (mean, std, trained_mean, trained_std) in enumerate(zip(*statistics[0], *statistics[1], strict=True)):
        if (
            abs(mean - trained_mean) > _MAX_MEAN_DIFFERENCE
            or not 1 / _MAX_STD_RATIO < std / trained_std < _MAX_STD_RATIO
        ):
            raise DataError(
                f"Calibration images are unlike the training images: channel {channel} has {mean:.2f} ± {std:.2f} "
                f"(in 0–1), the training images have {trained_mean:.2f} ± {trained_std:.2f}. "
                "If they were normalized or inverted, pass them unchanged."
            )
