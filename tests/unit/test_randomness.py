"""The hash behind every random number: its published values, and that its numbers look independent and uniform."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from diptych.data.randomness import Draws, words

MANY = np.arange(100_000)
SIX_SIGMA = 6 / np.sqrt(len(MANY))  # of a correlation of this many independent pairs


def test_words_are_the_published_outputs_of_splitmix64():
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert published == words(1234567, np.arange(1, 6)).tolist()


@pytest.mark.parametrize(("seed", "epoch", "purpose"), [(0, 1, "order"), (0, 2, "order"), (7, 1, "crop top")])
def test_uniform_numbers_are_uniform(seed, epoch, purpose):
    uniform_n = Draws(seed, epoch, MANY).uniform(purpose)
    assert 0 <= uniform_n.min() and uniform_n.max() < 1
    assert stats.kstest(uniform_n, "uniform").pvalue > 0.001
    assert pytest.approx(0.5, abs=6 / np.sqrt(12 * len(MANY))) == uniform_n.mean()


@pytest.mark.parametrize("other", [Draws(0, 2, MANY), Draws(1, 1, MANY), Draws(0, 1, MANY + 1), Draws(0, 1, MANY + 64)])
def test_other_epochs_seeds_and_neighbors_have_unrelated_numbers(other):
    here, there = Draws(0, 1, MANY).uniform("rotation"), other.uniform("rotation")
    assert abs(np.corrcoef(here, there)[0, 1]) < SIX_SIGMA


@given(st.integers(0, 2**31), st.integers(0, 1000), st.lists(st.integers(0, 10**7), min_size=1, max_size=20))
def test_a_sample_has_the_same_number_in_any_batch(seed, epoch, indices):
    together = Draws(seed, epoch, np.array(indices)).uniform("flip")
    alone = [Draws(seed, epoch, np.array([index])).uniform("flip")[0] for index in indices]
    assert alone == together.tolist()


def test_whole_numbers_coins_and_ranges_are_uniform():
    counts = np.bincount(Draws(3, 1, MANY).below("crop top", 9), minlength=9)
    assert 9 == len(counts)
    assert stats.chisquare(counts).pvalue > 0.001
    assert pytest.approx(0.5, abs=3 / np.sqrt(len(MANY))) == Draws(3, 1, MANY).coin("flip").mean()
    symmetric_n = Draws(3, 1, MANY).symmetric("rotation", 15.0)
    assert pytest.approx((-15.0, 15.0), abs=0.01) == (symmetric_n.min(), symmetric_n.max())
