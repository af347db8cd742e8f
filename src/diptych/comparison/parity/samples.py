"""Seeded weights, images and batches for both engines, drawn in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from diptych.data import datasets
from diptych.data.batches import Batch
from diptych.data.datasets import Dataset, Split, cut
from diptych.data.preprocess import resize
from diptych.spec import ArraySpec, ModelSpec, Recipe
from diptych.spec.init import draw
from diptych.spec.layers import Activation, BatchNorm, Layer

NUM_BLOBS = 3
SAMPLES = 7
"""Images per batch: odd, and so few that the factor n/(n − 1) of a running variance is far from 1."""


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


def digits(spec: ModelSpec, recipe: Recipe, seed: int, most: int | None = None) -> Dataset:
    """Return digits at the model's input size, without classes that it lacks; `most` limits the training images."""
    height, width, num_channels = spec.input_shape

    def resized(split: Split, most: int | None) -> Split:
        known = split.take(np.flatnonzero(split.labels < spec.num_classes)[:most])
        images_nhwc = np.repeat(resize(np.asarray(known.images), (height, width)), num_channels, axis=3)
        return replace(known, images=images_nhwc)

    read = datasets.load("digits", validation_fraction=0.0)
    # Not `divide`, which refuses a model with more classes than digits have.
    train, validation = cut(resized(read.train, most), recipe.validation_fraction, seed, spec.num_classes)
    splits = {"train": train, "validation": validation, "test": resized(read.test, most)}
    return Dataset.of(tuple(map(str, range(spec.num_classes))), splits, "digits")


def nudged(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return float64 weights that differ in their last bit."""
    generator = np.random.default_rng(4)
    steps = {name: generator.choice([-1.0, 1.0], array.shape) for name, array in weights.items()}
    return {name: np.asarray(array * (1.0 + 2.0**-52 * steps[name])) for name, array in weights.items()}


def layer_weights(spec: ModelSpec, seed: int) -> dict[str, np.ndarray]:
    """Return float32 weights with running variances from 2⁻¹⁶ to 1, some of them about as small as an epsilon."""
    arrays = weights(spec, seed)
    for array in spec.arrays:
        if array.role == "variance":
            powers = np.random.default_rng([seed, 2, *array.name.encode()]).integers(-16, 1, array.shape)
            arrays[array.name] = arrays[array.name] * 2.0**powers
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def layer_inputs(spec: ModelSpec, layer: Layer, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return float32 inputs of one layer, by name, and a gradient of its output.

    Means are positive, so that sums do not cancel; some channels of a norm's input have larger ones. The
    channels have sizes from 2⁻⁸ to 2⁴, and every seventh input of an activation is zero.
    """
    generator = np.random.default_rng([seed, 3, *layer.name.encode()])

    def drawn(name: str) -> np.ndarray:
        shape = spec.shapes[name]
        if name == "input":
            return np.stack([_image(spec.input_shape, generator) for _ in range(SAMPLES)])
        powers = generator.integers(-8, 4, shape[-1])
        powers[:2] = (4, -8)[: len(powers)]
        offsets = generator.choice([0.0, 4.0], shape[-1]) if isinstance(layer, BatchNorm) else 0.0
        values = (generator.normal(0.5, size=(SAMPLES, *shape)) + offsets) * 2.0**powers
        if isinstance(layer, Activation):
            values.reshape(-1)[::7] = 0.0
        return np.asarray(values, np.float32)

    slopes = generator.normal(0.1, size=(SAMPLES, *spec.shapes[layer.name])).astype(np.float32)
    return {name: drawn(name) for name in layer.inputs}, slopes


def gradients(spec: ModelSpec, seed: int, step: int, recipe: Recipe) -> dict[str, np.ndarray]:
    """Return gradients of all sizes from 1e-9 to 1, some zero; too small to be clipped in every second step.

    In float16 they are those of a scaled loss, and infinite in step 2.
    """
    found = {}
    for array in spec.trainable:
        generator = np.random.default_rng([seed, step, *array.name.encode()])
        sizes = np.random.default_rng([seed, *array.name.encode()]).uniform(-9.0, 0.0, array.shape)
        sizes = np.where(sizes < -8.5, 0.0, 10.0**sizes) * (1e-4 if step % 2 else 1.0)
        slopes = generator.normal(size=array.shape) * sizes
        if recipe.precision == "float16":
            slopes = np.where(step == 2, np.inf, slopes * 2.0**16)
        found[array.name] = slopes.astype(np.float32)
    return found


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
