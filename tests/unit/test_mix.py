"""Mixup and cutmix: how the shares are distributed, and that pixels and labels are shared alike."""

import numpy as np
import pytest
from scipy import stats

from diptych.data.augment import blend, own_shares, partners
from diptych.data.randomness import Draws
from diptych.spec.recipe import Recipe

MANY = Draws(4, 1, np.arange(20_000))
SIZE = (7, 9)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixup_shares_have_their_beta_distribution(alpha):
    pixels, labels_n = own_shares(Recipe(mixup=alpha), MANY, SIZE)
    assert stats.kstest(labels_n, stats.beta(alpha, alpha).cdf).pvalue > 0.001
    np.testing.assert_array_equal(labels_n.astype(np.float32), pixels[:, 0, 0, 0])


def test_cutmix_labels_share_exactly_as_the_pixels_do():
    pixels, labels_n = own_shares(Recipe(cutmix=1.0), MANY, SIZE)
    white, black = (np.full((len(labels_n), *SIZE, 1), level, np.uint8) for level in (255, 0))
    num_own_n = (blend(white, black, pixels) == 255).sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(num_own_n / 63, labels_n)
    assert {0.0, 1.0} == set(pixels.ravel())


def test_cutmix_boxes_have_the_area_that_was_drawn_where_no_border_cuts_them():
    large = (201, 201)
    draws = Draws(4, 1, np.arange(300))
    _, mixup_n = own_shares(Recipe(cutmix=1.0), draws, large)
    drawn_n = draws.uniform("cutmix share")  # Beta(1, 1) is uniform
    assert (mixup_n >= drawn_n - 0.01).all()
    assert np.isclose(mixup_n, drawn_n, atol=0.01).mean() > 0.1


def test_with_both_each_sample_takes_one_of_them():
    pixels, labels_n = own_shares(Recipe(mixup=1.0, cutmix=1.0), MANY, SIZE)
    is_patch_n = ((pixels == 0) | (pixels == 1)).all(axis=(1, 2, 3))
    assert pytest.approx(0.5, abs=0.02) == is_patch_n.mean()
    assert (np.ptp(pixels[~is_patch_n], axis=(1, 2, 3)) == 0).all()
    np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3), dtype=np.float64), labels_n, rtol=1e-6)


def test_partners_come_from_the_whole_split():
    counts = np.bincount(partners(MANY, 50).indices, minlength=50)
    assert 50 == len(counts)
    assert stats.chisquare(counts).pvalue > 0.001


def test_blending_rounds_to_nearest():
    images, others = (np.array(levels, np.uint8).reshape(-1, 1, 1, 1) for levels in ([255, 0, 10, 3], [0, 255, 20, 3]))
    share = np.array([0.3, 0.3, 0.25, 0.7], np.float32).reshape(-1, 1, 1, 1)
    assert [76, 178, 18, 3] == blend(images, others, share).ravel().tolist()
