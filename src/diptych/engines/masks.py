"""Dropout masks: a hash of seed, step, layer and element, so all engines drop the same elements.

There is no generator state, so training can resume at any step with the same masks. `mix` is `lowbias32` (Christopher
Wellons 2018, https://nullprogram.com/blog/2018/07/31/).
"""

from __future__ import annotations

import zlib
from math import prod
from typing import TypeVar

import numpy as np

from diptych.spec.layers import Dropout, Shape

# Elements are numbered in steps of 2³² divided by the golden ratio, modulo 2³².
STRIDE = 0x9E3779B1
# The shift and the factor of each round of the hash.
ROUNDS = ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1))
BITS = 2**32
T = TypeVar("T", int, np.ndarray)


def mix(word: T) -> T:
    """Return the hash of a 32-bit word, or of each in an array of uint64: `lowbias32`."""
    for shift, factor in ROUNDS:
        word = (word ^ word >> shift) * factor % BITS
    return word


def layer_word(name: str) -> int:
    """Return the word that identifies a layer in its keys."""
    return zlib.crc32(name.encode())


def key(seed: int, step: int, name: str) -> int:
    """Return the key of a layer's mask in a step, counted from 0 over the whole training."""
    return mix(mix(mix(seed % BITS) ^ step % BITS) ^ layer_word(name))


def mask_shape(layer: Dropout, shape: Shape) -> Shape:
    """Return the shape of one sample's mask for a layer whose input has `shape`, (H, W, C) or (features,)."""
    kept = {"element": shape, "channel": (1,) * (len(shape) - 1) + shape[-1:], "sample": (1,) * len(shape)}
    return kept[layer.mode]


def offsets(layer: Dropout, shape: Shape) -> np.ndarray:
    """Return the number of each element of one sample's mask, times STRIDE: uint32, `mask_shape`."""
    drawn = mask_shape(layer, shape)
    return (np.arange(prod(drawn), dtype=np.uint64) * STRIDE % BITS).astype(np.uint32).reshape(drawn)


def least(rate: float) -> int:
    """Return the smallest hash of an element that is kept."""
    return min(round(rate * BITS), BITS - 1)


def keep(layer: Dropout, shape: Shape, num_samples: int, seed: int, step: int) -> np.ndarray:
    """Return which elements a layer keeps: bool, (N, *mask_shape), in height, width, channel order.

    The reference that both engines are tested against.
    """
    first_n = np.arange(num_samples, dtype=np.uint64) * prod(mask_shape(layer, shape)) * STRIDE
    numbers = first_n.reshape(-1, *(1,) * len(shape)) + offsets(layer, shape) + key(seed, step, layer.name)
    return np.asarray(mix(numbers % BITS) >= least(layer.rate))
