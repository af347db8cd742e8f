"""Images from which integer formats take their ranges: drawn by a rule, recorded, and checked against the model."""

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
# In units of 0–1; splits of one dataset differ by some hundredths.
FARTHEST_MEAN = 0.25
MOST_STRETCH = 4.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """Images, uint8, (N, H, W, C), and where they come from."""

    images_nhwc: np.ndarray
    record: dict[str, Any]


def draw(split: Split, dataset: str, num_images: int = NUM_IMAGES, seed: int = SEED) -> Calibration:
    """The same share of each class, chosen by `seed` among its images in a training split.

    Args:
        split: labelled uint8 images.
        dataset: its name, for the record.
        num_images: how many in all; a class that has too few gives all that it has.
        seed: of the choice.
    """
    places_n = stratified(split.labels, num_images, seed)
    images_nhwc = np.ascontiguousarray(split.images[places_n])
    record = {
        "dataset": dataset,
        "split": "train",
        "rule": "stratified by class",
        "seed": seed,
        "num_images": len(places_n),
        "indices": places_n.tolist(),
        "sha256": hashlib.sha256(images_nhwc.data).hexdigest(),
    }
    return Calibration(images_nhwc, record)


def stratified(labels_n: np.ndarray, num: int, seed: int = SEED) -> np.ndarray:
    """Places of about `num` samples, in order: as many of each class, chosen by `seed`, or all that a class has."""
    generator = np.random.default_rng(seed)
    classes = np.unique(labels_n)
    share = -(-num // max(len(classes), 1))
    parts = [generator.permutation(np.flatnonzero(labels_n == label))[:share] for label in classes]
    return np.sort(np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64))


def check(images: np.ndarray, trained_on: Images) -> None:
    """Refuse calibration images that are not like those that the model was trained on.

    Args:
        images: what came.
        trained_on: training images, uint8, (N, H, W, C).

    Raises:
        DataError: another type, size or range of values; says what came and what was wanted.
    """
    wanted = f"uint8 images, 0–255, of shape (N, {', '.join(map(str, trained_on.shape[1:]))})"
    if images.dtype != np.uint8 or images.shape[1:] != trained_on.shape[1:] or not len(images):
        span = f" from {images.min():g} to {images.max():g}" if images.size else ""
        raise DataError(f"Calibration wants {wanted}; {images.dtype} of shape {images.shape}{span} came.")
    levels, squares = channel_moments(trained_on)
    if images.max() <= 1 and (squares > levels).any():  # some level of the training images is above 1
        raise DataError(
            f"Calibration wants {wanted}; the highest value that came is {images.max()}. "
            "Were they scaled to 0–1? The model does that itself."
        )
    statistics = (channel_statistics(images), channel_statistics(trained_on))
    for channel, (mean, std, trained_mean, trained_std) in enumerate(zip(*statistics[0], *statistics[1], strict=True)):
        if abs(mean - trained_mean) > FARTHEST_MEAN or not 1 / MOST_STRETCH < std / trained_std < MOST_STRETCH:
            raise DataError(
                f"Calibration images are not like the training images: channel {channel} has {mean:.2f} ± {std:.2f} "
                f"(of 0–1), the training images have {trained_mean:.2f} ± {trained_std:.2f}. "
                "Were they normalised or inverted? Give images as the model was trained on."
            )
