"""Resizing and augmentation against plain loops; mixup, cutmix and every random number by their distributions."""

import cv2
import numpy as np
import pytest
from data_files import random_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from diptych.data.augment import Draws, augment, blend, own_shares, partners, rotate, words
from diptych.data.preprocess import CHUNK_IMAGES, GRAY_LEVEL, channel_statistics, resize, to_channels
from diptych.spec.recipe import Recipe

COLORS = ("brightness", "contrast", "saturation")
EVERYTHING = {"flip": "both", "crop_padding": 2, "rotation": 20.0, **dict.fromkeys(COLORS, 0.3), "cutout": 3}


def quiet(**changes):
    """A recipe that changes nothing but what is named."""
    return Recipe(**{"flip": "none", "crop_padding": 0, **changes})


def noise(num_images=40, height=9, width=12, channels=3):
    images_nhwc = np.random.default_rng(0).integers(0, 256, (num_images, height, width, channels), dtype=np.uint8)
    images_nhwc.flags.writeable = False
    return images_nhwc


def augmented(images_nhwc, recipe, indices=None, seed=5, epoch=1, mean_color=None):
    draws = Draws(seed, epoch, np.arange(len(images_nhwc)) if indices is None else np.array(indices))
    black = np.zeros(images_nhwc.shape[-1], np.uint8)
    return augment(images_nhwc, recipe, draws, black if mean_color is None else np.array(mean_color, np.uint8))


def moved(image_hwc, flip, padding, index):
    """One sample's flip and crop, step by step."""
    draws = Draws(5, 1, np.array([index]))
    if flip in ("horizontal", "both") and draws.coin("horizontal flip")[0]:
        image_hwc = np.fliplr(image_hwc)
    if flip in ("vertical", "both") and draws.coin("vertical flip")[0]:
        image_hwc = np.flipud(image_hwc)
    top, left = (draws.below(f"crop {side}", 2 * padding + 1)[0] for side in ("top", "left"))
    padded = np.pad(image_hwc, ((padding, padding), (padding, padding), (0, 0)))
    return padded[top : top + 9, left : left + 12]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flip", ["none", "horizontal", "vertical", "both"])
@pytest.mark.parametrize("padding", [0, 4])
def test_flips_and_crops_are_those_of_a_plain_loop(flip, padding, channels):
    images_nhwc = noise(channels=channels)
    expected = [moved(image_hwc, flip, padding, index) for index, image_hwc in enumerate(images_nhwc)]
    np.testing.assert_array_equal(expected, augmented(images_nhwc, quiet(flip=flip, crop_padding=padding)))


@pytest.mark.parametrize("channels", [1, 3])
def test_rotation_by_right_angles_moves_pixels_counter_clockwise(channels):
    images_nhwc = noise(height=8, width=8, channels=channels)
    turned = rotate(images_nhwc, np.repeat([90.0, 180.0, -90.0, 360.0], 10))
    for block, num_turns in enumerate((1, 2, 3, 4)):
        here = slice(10 * block, 10 * block + 10)
        np.testing.assert_array_equal(np.rot90(images_nhwc[here], num_turns, axes=(1, 2)), turned[here])


@pytest.mark.parametrize("degrees", [-33.0, 7.5, 120.0])
def test_rotation_is_bilinear_about_the_center_with_black_around(degrees):
    smooth_hwc = cv2.GaussianBlur(noise(1, 9, 12)[0], (5, 5), 2.0)
    expected = ndimage.rotate(smooth_hwc.astype(float), degrees, reshape=False, order=1, mode="grid-constant")
    difference = np.abs(expected - rotate(smooth_hwc[np.newaxis], np.array([degrees]))[0])
    assert difference.max() <= 255 / 32 + 1  # positions are whole 32nds of a pixel
    assert difference.mean() < 1


def plain_color(image_hwc, brightness, contrast, saturation):
    pixels = image_hwc * brightness
    luma = np.array([0.299, 0.587, 0.114]) if image_hwc.shape[-1] == 3 else np.ones(1)
    pixels = (pixels @ luma).mean() + (pixels - (pixels @ luma).mean()) * contrast
    gray = (pixels @ luma)[..., np.newaxis]
    return np.clip(gray + (pixels - gray) * saturation, 0, 255)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("names", [*zip(COLORS), COLORS])
def test_colors_are_those_of_a_plain_loop(names, channels):
    images_nhwc = noise(channels=channels)
    expected = []
    for index, image_hwc in enumerate(images_nhwc):
        draws = Draws(5, 1, np.array([index]))
        factors = (1 + draws.symmetric(name, 0.6)[0] if name in names else 1 for name in COLORS)
        expected.append(plain_color(image_hwc, *factors))
    difference = np.abs(np.array(expected) - augmented(images_nhwc, quiet(**dict.fromkeys(names, 0.6))))
    assert difference.max() <= 1  # the gray is rounded too


def test_cutout_paints_a_square_of_the_given_color_cut_off_at_the_border():
    blank_nhwc = np.zeros((2000, 8, 10, 3), np.uint8)
    painted = augmented(blank_nhwc, quiet(cutout=3), mean_color=[10, 20, 30])
    is_painted = painted.any(axis=-1)
    np.testing.assert_array_equal(np.tile([10, 20, 30], (is_painted.sum(), 1)), painted[is_painted])
    heights, widths = is_painted.any(axis=2).sum(axis=1), is_painted.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(heights * widths, is_painted.sum(axis=(1, 2)))
    assert {2, 3} == set(heights) == set(widths)
    assert pytest.approx(6 / 8, abs=0.05) == (heights == 3).mean()
    assert pytest.approx(8 / 10, abs=0.05) == (widths == 3).mean()


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    indices=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    changes=st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in EVERYTHING.items()}),
)
def test_any_recipe_yields_fresh_bytes_of_the_same_shape(height, width, channels, indices, changes):
    images_nhwc = noise(5, height, width, channels)
    before = images_nhwc.copy()
    changed = augmented(images_nhwc, quiet(**changes), indices)
    assert (np.uint8, (len(indices), height, width, channels)) == (changed.dtype, changed.shape)
    assert changed.flags.c_contiguous and changed.flags.writeable and not np.shares_memory(changed, images_nhwc)
    np.testing.assert_array_equal(before, images_nhwc)


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


def test_with_mixup_and_cutmix_each_sample_gets_one_of_them():
    pixels, labels_n = own_shares(Recipe(mixup=1.0, cutmix=1.0), MANY, SIZE)
    is_patch_n = ((pixels == 0) | (pixels == 1)).all(axis=(1, 2, 3))
    assert pytest.approx(0.5, abs=0.02) == is_patch_n.mean()
    assert (np.ptp(pixels[~is_patch_n], axis=(1, 2, 3)) == 0).all()
    np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3), dtype=np.float64), labels_n, rtol=1e-6)


def test_blending_rounds_to_nearest():
    images, others = (np.array(levels, np.uint8).reshape(-1, 1, 1, 1) for levels in ([255, 0, 10, 3], [0, 255, 20, 3]))
    share = np.array([0.3, 0.3, 0.25, 0.7], np.float32).reshape(-1, 1, 1, 1)
    assert [76, 178, 18, 3] == blend(images, others, share).ravel().tolist()


PLACES = np.arange(100_000)


def test_words_are_the_published_outputs_of_splitmix64():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert published == words(1234567, np.arange(1, 5)).tolist()


@pytest.mark.parametrize(("seed", "epoch", "purpose"), [(0, 1, "order"), (0, 2, "order"), (7, 1, "crop top")])
def test_uniform_numbers_are_uniform(seed, epoch, purpose):
    uniform_n = Draws(seed, epoch, PLACES).uniform(purpose)
    assert 0 <= uniform_n.min() and uniform_n.max() < 1
    assert stats.kstest(uniform_n, "uniform").pvalue > 0.001


@pytest.mark.parametrize(
    "other", [Draws(0, 2, PLACES), Draws(1, 1, PLACES), Draws(0, 1, PLACES + 1), Draws(0, 1, PLACES + 64)]
)
def test_other_epochs_seeds_and_neighbors_have_unrelated_numbers(other):
    here, there = Draws(0, 1, PLACES).uniform("rotation"), other.uniform("rotation")
    assert abs(np.corrcoef(here, there)[0, 1]) < 6 / np.sqrt(len(PLACES))  # six standard deviations


def test_whole_numbers_partners_coins_and_ranges_are_uniform():
    for num_values, values in ((9, Draws(3, 1, PLACES).below("crop top", 9)), (50, partners(MANY, 50).indices)):
        counts = np.bincount(values, minlength=num_values)
        assert num_values == len(counts)
        assert stats.chisquare(counts).pvalue > 0.001
    assert pytest.approx(0.5, abs=3 / np.sqrt(len(PLACES))) == Draws(3, 1, PLACES).coin("flip").mean()
    symmetric_n = Draws(3, 1, PLACES).symmetric("rotation", 15.0)
    assert pytest.approx((-15.0, 15.0), abs=0.01) == (symmetric_n.min(), symmetric_n.max())


def linear_along_axis(values, length, axis):
    """Interpolate between pixel centers along one axis, edges repeated, in float64."""
    positions = (np.arange(length) + 0.5) * values.shape[axis] / length - 0.5
    positions = positions.clip(0, values.shape[axis] - 1)
    lower = np.floor(positions).astype(int)
    upper = np.minimum(lower + 1, values.shape[axis] - 1)
    share = (positions - lower).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    return values.take(lower, axis) * (1 - share) + values.take(upper, axis) * share


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("vertical", "horizontal"), [(2, 2), (1, 2), (2, 1), (3, 3), (4, 2), (1, 5)])
def test_shrinking_by_whole_factors_is_the_mean_of_each_block(vertical, horizontal, channels):
    image_hwc = random_bytes(6 * vertical, 7 * horizontal, channels)
    block_means = image_hwc.reshape(6, vertical, 7, horizontal, channels).mean(axis=(1, 3))
    assert np.abs(block_means - resize(image_hwc, (6, 7))).max() <= 0.5 + 1e-6


def block_means(image_hwc, height, width):
    """Means of the centered whole blocks of as many pixels as go into one of the result."""
    for axis, length in ((0, height), (1, width)):
        block = max(1, image_hwc.shape[axis] // length)
        number, left_over = divmod(image_hwc.shape[axis], block)
        kept = np.moveaxis(image_hwc, axis, 0)[left_over // 2 :][: number * block]
        image_hwc = np.moveaxis(kept.reshape(number, block, *kept.shape[1:]).mean(axis=1), 0, axis)
    return image_hwc


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(7, 9), (5, 4), (3, 20), (17, 2), (40, 48), (23, 29), (24, 31), (20, 70)])
def test_a_fraction_takes_means_of_whole_blocks_and_interpolates_the_rest(size, channels):
    image_hwc = random_bytes(23, 29, channels)
    means = block_means(image_hwc.astype(float), *size)
    expected = linear_along_axis(linear_along_axis(means, size[0], 0), size[1], 1)
    is_averaged = size[0] <= 23 / 2 or size[1] <= 29 / 2
    assert np.abs(expected - resize(image_hwc, size)).max() <= (1.5 if is_averaged else 1)


def test_an_image_of_the_wanted_size_is_returned_untouched():
    image_hwc = random_bytes(5, 6, 3)
    assert resize(image_hwc, (5, 6)) is image_hwc


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_resized_like_its_images(channels):
    images_nhwc = random_bytes(3, 10, 12, channels)
    expected = np.stack([resize(image_hwc, (7, 20)) for image_hwc in images_nhwc])
    np.testing.assert_array_equal(expected, resize(images_nhwc, (7, 20)))
    assert resize(images_nhwc[:0], (7, 20)).shape == (0, 7, 20, channels)


def test_gray_becomes_rgb_by_repeating_the_channel():
    images_nhwc = random_bytes(2, 3, 4, 1)
    np.testing.assert_array_equal(np.concatenate([images_nhwc] * 3, axis=3), to_channels(images_nhwc, 3))


def test_rgb_becomes_gray_by_bt_601_luma():
    images_nhwc = random_bytes(2, 3, 4, 3)
    luma = images_nhwc @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma[..., np.newaxis] - to_channels(images_nhwc, 1)).max() <= 1


def test_statistics_are_those_of_float64_over_more_than_one_chunk():
    images_nhwc = random_bytes(CHUNK_IMAGES + 300, 3, 5, 3)
    mean_c, std_c = channel_statistics(images_nhwc)
    expected = [(images_nhwc / 255).mean(axis=(0, 1, 2)), (images_nhwc / 255).std(axis=(0, 1, 2))]
    np.testing.assert_allclose(expected, (mean_c, std_c), rtol=1e-12)
    assert [float] * 6 == [type(value) for value in (*mean_c, *std_c)]


def test_a_blank_channel_has_a_deviation_of_one_gray_level():
    mean_c, std_c = channel_statistics(np.full((10, 4, 4, 1), 51, np.uint8))
    assert (pytest.approx((0.2,)), (GRAY_LEVEL,)) == (mean_c, std_c)
