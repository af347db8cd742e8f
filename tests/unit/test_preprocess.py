"""Resizing against plain NumPy, and statistics against NumPy's own."""

import numpy as np
import pytest
from data_files import random_bytes

from diptych.data.preprocess import CHUNK_IMAGES, GRAY_LEVEL, channel_statistics, resize, to_channels


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
