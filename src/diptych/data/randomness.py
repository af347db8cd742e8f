"""Random numbers as a pure function of (seed, epoch, purpose, sample index).

With a stateful generator, a sample's numbers would depend on what was drawn before it, and so on the batch, the number
of workers and the step at which training resumed. NumPy's distributions may also change between versions (NEP 19); the
integer arithmetic here does not.
"""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

_STEP = 0x9E3779B97F4A7C15
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_DROPPED_BITS = np.uint64(11)


def words(key: int, counters: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash int64 counters, from 1, to 64 random bits each, uint64, in the stream `key`, below 2**64.

    Word n is the n-th output of SplitMix64 seeded with `key`: Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators" (2014), with the constants of Vigna's https://prng.di.unimi.it/splitmix64.c.
    """
    state = counters.astype(np.uint64) * np.uint64(_STEP) + np.uint64(key)
    state = (state ^ (state >> _SHIFTS[0])) * _FACTORS[0]
    state = (state ^ (state >> _SHIFTS[1])) * _FACTORS[1]
    return state ^ (state >> _SHIFTS[2])


@dataclass(frozen=True, eq=False)
class Draws:
    """The random numbers of some samples, by their int64 (N,) indices, in one epoch; a stream for each purpose."""

    seed: int
    epoch: int
    indices: NDArray[np.int64]

    def words(self, purpose: str) -> NDArray[np.uint64]:
        """64 random bits a sample: uint64, (N,)."""
        digest = sha256(f"{self.seed}/{self.epoch}/{purpose}".encode()).digest()
        return words(int.from_bytes(digest[:8], "little"), self.indices + 1)

    def uniform(self, purpose: str) -> NDArray[np.float64]:
        """A number in [0, 1) a sample, a multiple of 2**-53: float64, (N,)."""
        return (self.words(purpose) >> _DROPPED_BITS).astype(np.float64) * 2.0**-53

    def symmetric(self, purpose: str, limit: float) -> NDArray[np.float64]:
        """A number in [-limit, limit) a sample: float64, (N,)."""
        return limit * (2 * self.uniform(purpose) - 1)

    def below(self, purpose: str, limit: int) -> NDArray[np.int64]:
        """A whole number in [0, limit) a sample: int64, (N,)."""
        return (self.uniform(purpose) * limit).astype(np.int64)

    def coin(self, purpose: str) -> NDArray[np.bool_]:
        """True for about half of the samples: bool, (N,)."""
        return self.uniform(purpose) < 0.5
