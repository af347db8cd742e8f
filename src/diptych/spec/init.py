"""Initial weights, drawn in NumPy from (seed, array name) so that both engines start from the same values."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import numpy as np

from diptych.spec.layers import ArraySpec


def draw(array: ArraySpec, seed: int) -> np.ndarray:
    """Return the initial values of an array, float64, in canonical layout; a function of (seed, name) alone.

    `he_normal` is N(0, 2/fan_in), not truncated (He et al. 2015, eq. 10); `glorot_uniform` is
    U(±√(6/(fan_in + fan_out))); `uniform_fan_in` is U(±1/√fan_in), PyTorch's default, also for biases.
    """
    # differs: initial-weights
    key = int.from_bytes(sha256(f"{seed}/{array.name}".encode()).digest()[:16], "little")
    generator = np.random.Generator(np.random.Philox(key=key))
    match array.initializer:
        case "he_normal":
            return generator.normal(0.0, np.sqrt(2.0 / array.fan_in), array.shape)
        case "glorot_uniform":
            limit = np.sqrt(6.0 / (array.fan_in + array.fan_out))
        case "uniform_fan_in":
            limit = 1.0 / np.sqrt(array.fan_in)
        case constant:
            return np.full(array.shape, {"zeros": 0.0, "ones": 1.0}[constant])
    return generator.uniform(-limit, limit, array.shape)


def initial_weights(arrays: Iterable[ArraySpec], seed: int) -> dict[str, np.ndarray]:
    """Return the initial values of every array by canonical name, float64."""
    return {array.name: draw(array, seed) for array in arrays}
