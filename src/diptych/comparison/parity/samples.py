"""Seeded weights, images and batches for both engines, drawn in NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from diptych.data import datasets
from diptych.data.batches import Batch
from diptych.data.datasets import Split
from diptych.data.preprocess import resize
from diptych.spec import ArraySpec, ModelSpec
from diptych.spec.init import draw

NUM_BLOBS = 3


def weights(spec: ModelSpec, seed: int) -> dict[str, np.ndarray]:
    """Return initial weights with noise added, so that no array is constant and none can replace another."""
    return {array.name: draw(array, seed) + _noise(array, seed) for array in spec.arrays}


def batches(spec: ModelSpec, num_batches: int, batch_size: int, seed: int) -> list[Batch]:
    """Return batches of blobs with soft targets and unequal sample weights."""
    generator, drawn = np.random.default_rng([seed, 1]), []
    for _ in range(num_batches):
        images = np.stack([_image(spec.input_shape, generator) for _ in range(batch_size)])
        targets_nk = generator.dirichlet(np.full(spec.num_classes, 0.3), batch_size).astype(np.float32)
        drawn.append(Batch(images, targets_nk, generator.uniform(0.5, 1.0, batch_size).astype(np.float32)))
    return drawn


def digits(spec: ModelSpec) -> tuple[Split, Split]:
    """Return the training and test digits, resized to the model's input, without classes that the model lacks."""
    dataset = datasets.load("digits", validation_fraction=0.0)
    height, width, num_channels = spec.input_shape

    def resized(split: Split) -> Split:
        known = split.take(np.flatnonzero(split.labels < spec.num_classes))
        images_nhwc = np.repeat(resize(np.asarray(known.images), (height, width)), num_channels, axis=3)
        return replace(known, images=images_nhwc)

    return resized(dataset.train), resized(dataset.test)


def _noise(array: ArraySpec, seed: int) -> np.ndarray:
    generator = np.random.default_rng([seed, *array.name.encode()])
    if array.role == "kernel":
        return np.zeros(array.shape)
    is_variance = array.role == "variance"
    return generator.uniform(-0.5, 0.5, array.shape) if is_variance else generator.normal(0.0, 0.1, array.shape)


def _image(shape: tuple[int, int, int], generator: np.random.Generator) -> np.ndarray:
    """Return smooth colored blobs with noise, rarely 0 or 255: neighbors differ, so no maximum is a tie."""
    height, width, num_channels = shape
    rows, columns = np.mgrid[0:height, 0:width]
    image_hwc = np.full(shape, 128.0)
    for _ in range(NUM_BLOBS):
        row, column, size = generator.uniform(0.0, 1.0, 3) * (height, width, min(height, width))
        squared = (rows - row) ** 2 + (columns - column) ** 2
        color_c = generator.normal(0.0, 40.0, num_channels)
        image_hwc += np.exp(-squared / (2.0 * (size + 1.0) ** 2))[..., None] * color_c
    return np.clip(image_hwc + generator.normal(0.0, 12.0, shape), 0, 255).astype(np.uint8)
