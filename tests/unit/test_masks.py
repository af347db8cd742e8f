"""Dropout masks are random in every respect that matters to training, and they never change.

Each bound is five standard deviations of independent coin tosses. By chance, one number in a million exceeds it, and
these tests check about 25,000. Everything is seeded, so a test passes always or never.
"""

from itertools import combinations, pairwise, product

import numpy as np
import pytest

from diptych.engines import masks
from diptych.spec import zoo
from diptych.spec.layers import Dropout

SIGMAS = 5.0
SHAPE = (16, 16, 32)
MODES = {"element": (256, SHAPE), "channel": (512, (2, 2, 4096)), "sample": (2**20, (2, 2, 3))}


def kept(rate=0.5, mode="element", num_samples=32, shape=SHAPE, *, name="dropout", seed=0, step=0):
    return masks.keep(Dropout(name, ("x",), rate, mode), shape, num_samples, seed, step)


def standardized(kept, rate):
    """Masks with mean 0 and variance 1."""
    share = 1.0 - masks.least(rate) / masks.BITS
    return (kept - share) / (share * (1.0 - share)) ** 0.5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rate", [0.001, 0.1, 1 / 3, 0.5, 0.9, 0.999])
def test_as_many_are_dropped_as_the_rate_says(rate, mode):
    num_samples, shape = MODES[mode]
    found = kept(rate, mode, num_samples, shape, seed=3, step=7)
    assert (num_samples, *masks.mask_shape(Dropout("x", ("x",), rate, mode), shape)) == found.shape
    assert abs(standardized(found, rate).sum()) < SIGMAS * found.size**0.5


def test_nothing_is_dropped_at_a_rate_of_0_and_a_rate_close_to_1_is_not_1():
    assert kept(0.0).all()
    assert 2**32 - 1 == masks.least(1.0 - 1e-15)
    assert round(0.3 * 2**32) == masks.least(0.3)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_number_that_is_dropped_scatters_from_step_to_step_as_coin_tosses_do(rate):
    """Numbers that were spread too evenly, or masks that recur, would have another variance."""
    counts = np.array([standardized(kept(rate, num_samples=1, step=step), rate).sum() for step in range(1000)])
    squares = counts**2 / np.prod(SHAPE)  # chi-squared with 1,000 degrees of freedom, whose variance is 2,000
    assert abs(squares.sum() - 1000) < SIGMAS * 2000**0.5


FAMILIES = {
    "steps": [{"step": step} for step in range(64)],
    "steps far apart": [{"step": 2**place + offset} for place in range(16, 31) for offset in range(4)],
    "seeds": [{"seed": seed} for seed in range(64)],
    "seeds and steps, either way round": [{"seed": seed, "step": step} for seed, step in product(range(8), range(8))],
    "layers": [{"name": name} for name in ("dropout", "drop", *(f"block{place}.drop" for place in range(60)))],
    "layers and steps": [{"name": f"dropout{place}", "step": step} for place, step in product(range(8), range(8))],
}


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("family", FAMILIES)
def test_masks_of_other_steps_seeds_and_layers_are_independent(family, rate):
    found = np.stack([standardized(kept(rate, num_samples=4, **one), rate).ravel() for one in FAMILIES[family]])
    products = found @ found.T / found.shape[1] ** 0.5  # each a sum of products of independent numbers
    assert np.abs(products[np.triu_indices(len(found), 1)]).max() < SIGMAS


@pytest.mark.parametrize("family", FAMILIES)
def test_no_mask_is_a_shifted_part_of_another(family):
    """Of 3 million sums for all shifts, the largest is beyond 7 standard deviations with a probability of 1e-5."""
    found = [standardized(kept(num_samples=1, **one), 0.5).ravel() for one in FAMILIES[family][:20]]
    spectra = np.fft.rfft(found, 2 * len(found[0]))
    for first, second in combinations(spectra, 2):
        products = np.fft.irfft(first * second.conj())
        assert np.abs(products).max() < 7.0 * len(found[0]) ** 0.5


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("axis", range(4), ids=["samples", "rows", "columns", "channels"])
def test_neighbours_in_a_mask_are_independent(axis, rate):
    found = np.moveaxis(standardized(kept(rate, num_samples=128), rate), axis, 0)
    for distance in (1, 2, 3, 5, 8):
        products = found[distance:] * found[:-distance]
        assert abs(products.sum()) < SIGMAS * products.size**0.5, distance


@pytest.mark.parametrize("mode", ["channel", "sample"])
def test_neighbouring_samples_and_steps_are_independent_in_small_masks(mode):
    """Masks of a few words each: of 16 channels, or of one."""
    steps = [kept(0.5, mode, 64, (4, 4, 16), step=step) for step in range(2000)]
    found = standardized(np.stack(steps), 0.5)
    for axis in (0, 1, -1)[: 3 if mode == "channel" else 2]:
        moved = np.moveaxis(found, axis, 0)
        products = moved[1:] * moved[:-1]
        assert abs(products.sum()) < SIGMAS * products.size**0.5, axis


@pytest.mark.parametrize("axis", range(5), ids=["steps", "samples", "rows", "columns", "channels"])
def test_eight_in_a_row_form_every_pattern_equally_often(axis):
    found = np.stack([kept(num_samples=16, shape=(16, 16, 16), step=step) for step in range(16)])
    patterns = np.packbits(found, axis=axis)  # with no element in two of them
    expected = patterns.size / 256
    squares = ((np.bincount(patterns.ravel(), minlength=256) - expected) ** 2 / expected).sum()
    assert abs(squares - 255) < SIGMAS * (2 * 255) ** 0.5  # chi-squared with 255 degrees of freedom


def test_a_mask_has_no_period():
    """Each frequency's share of the power is exponential: it exceeds t times the mean with probability exp(-t)."""
    found = standardized(kept(num_samples=16), 0.5).ravel()
    power = np.abs(np.fft.rfft(found)[1:-1]) ** 2 / found.size
    assert power.max() < np.log(power.size) + 15  # exp(-15) is the chance of five standard deviations
    assert power.mean() == pytest.approx(1.0, abs=SIGMAS / power.size**0.5)


def test_no_two_keys_of_seeds_steps_and_layers_are_equal():
    parts = {"seed": range(20), "step": range(200), "name": [f"dropout{place}" for place in range(5)]}
    keys = {masks.key(*one) for one in product(*parts.values())}
    assert 20 * 200 * 5 == len(keys)


@pytest.mark.parametrize(("seed", "step"), [*product([0, 1, 2**31], [0, 1, 12345])])
def test_every_bit_of_seed_step_and_name_changes_half_the_bits_of_a_key(seed, step):
    changes = [masks.key(seed, step, "dropout") ^ masks.key(seed ^ 1 << bit, step, "dropout") for bit in range(32)]
    changes += [masks.key(seed, step, "dropout") ^ masks.key(seed, step ^ 1 << bit, "dropout") for bit in range(32)]
    changes += [masks.key(seed, step, first) ^ masks.key(seed, step, second) for first, second in pairwise("abcdefghi")]
    bits = np.array([change.bit_count() for change in changes])
    assert abs(bits.sum() - 16 * bits.size) < SIGMAS * (8 * bits.size) ** 0.5  # 32 tosses have the variance 8
    assert 1 < bits.min()


def test_no_two_seeds_give_the_same_masks_at_other_steps():
    """Seeds a and b have the same masks at steps s and t if mix(a) ^ mix(b) is s ^ t."""
    drawn = np.array([masks.mix(seed) for seed in range(1000)])
    between = (drawn[:, None] ^ drawn)[np.triu_indices(1000, 1)]
    assert 2000 < between.min()
    assert np.bitwise_count(between).mean() == pytest.approx(16.0, abs=0.1)


def test_all_layers_of_a_built_in_model_have_words_of_their_own():
    for name in zoo.MODELS:
        layers = zoo.model(name).layers
        assert len(layers) == len({masks.layer_word(layer.name) for layer in layers})


def test_a_samples_mask_depends_on_its_place_but_not_on_the_number_of_samples():
    for mode in MODES:
        whole = kept(mode=mode, num_samples=64)
        np.testing.assert_array_equal(whole[:5], kept(mode=mode, num_samples=5))
    assert not np.array_equal(*kept(num_samples=2))


def test_the_element_and_the_channel_mode_of_one_layer_number_what_they_draw():
    """A map of one row and one column has the same masks in both; so has a vector."""
    flat = kept(num_samples=8, shape=(1, 1, 24))
    np.testing.assert_array_equal(flat, kept(mode="channel", num_samples=8, shape=(1, 1, 24)))
    np.testing.assert_array_equal(flat[:, 0, 0], kept(num_samples=8, shape=(24,)))
    np.testing.assert_array_equal(kept(num_samples=3, shape=(2, 3, 4)).reshape(3, -1), kept(num_samples=3, shape=(24,)))


# Packed bits, first element first. A checkpoint resumes with the masks that these fix: never change them.
KNOWN = [
    (0, 0, "dropout", 0.5, "element", (2, 3, 4), 4, "f74f4b85529d070f0861ec1b"),
    (0, 1, "dropout", 0.5, "element", (2, 3, 4), 4, "74912516bb23c5405f9c6145"),
    (1, 0, "dropout", 0.5, "element", (2, 3, 4), 4, "9b782fb3f41220ef88426e06"),
    (0, 0, "dropout1", 0.5, "element", (2, 3, 4), 4, "aab30bf1b8abdcdc458d4305"),
    (7, 4690, "layer1.0.drop", 0.3, "element", (96,), 1, "73a5fe637e5b7faffb46fdfe"),
    (7, 4690, "layer1.0.drop", 0.3, "channel", (5, 5, 32), 3, "73a5fe637e5b7faffb46fdfe"),
    (2**32 - 1, 2**32 - 1, "path", 0.2, "sample", (8, 8, 3), 96, "fdef9f8fbbfedbda3bb7f7aa"),
]


@pytest.mark.parametrize(("seed", "step", "name", "rate", "mode", "shape", "num_samples", "expected"), KNOWN)
def test_masks_stay_what_they_are(seed, step, name, rate, mode, shape, num_samples, expected):
    found = kept(rate, mode, num_samples, shape, name=name, seed=seed, step=step)
    assert expected == np.packbits(found).tobytes().hex()


def test_an_element_is_kept_if_the_hash_of_its_number_is_at_least_the_rate():
    assert (0, 0x688990C0, 0x6768824A) == tuple(map(masks.mix, (0, 1, 2**32 - 1)))
    key = masks.key(7, 4690, "path")
    assert masks.mix(masks.mix(masks.mix(7) ^ 4690) ^ masks.layer_word("path")) == key
    expected = [masks.mix((place * masks.STRIDE + key) % 2**32) >= 0.3 * 2**32 for place in range(5 * 24)]
    found = kept(0.3, num_samples=5, shape=(2, 3, 4), name="path", seed=7, step=4690)
    assert expected == found.ravel().tolist()
