"""Calibration images are drawn by a repeatable rule and must resemble the training images."""

import numpy as np
import pytest

from diptych.data import datasets
from diptych.deployment import quantization
from diptych.errors import DataError


@pytest.fixture(scope="module")
def train():
    return datasets.load("digits").train


def test_every_class_has_the_same_share_of_a_repeatable_draw(train):
    drawn = quantization.draw(train, "digits", num_images=50)
    labels = train.labels[drawn.record["indices"]]
    assert [5] * 10 == np.bincount(labels).tolist()
    np.testing.assert_array_equal(train.images[drawn.record["indices"]], drawn.images_nhwc)
    assert drawn.record == quantization.draw(train, "digits", num_images=50).record
    assert drawn.record["sha256"] != quantization.draw(train, "digits", 50, seed=1).record["sha256"]


def test_a_small_class_contributes_all_its_images(train):
    assert len(train) == quantization.draw(train, "digits", num_images=10**6).record["num_images"]


def test_images_like_the_training_images_pass(train):
    quantization.check(datasets.load("digits").test.images, train.images)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda images: images / 255.0, "got float64 of shape .* from 0 to 1"),
        (lambda images: (images / 255.0).astype(np.uint8), "If they were scaled"),
        (lambda images: 255 - images, "If they were scaled"),
        (lambda images: np.full_like(images, 77), "If they were scaled"),
        (lambda images: images[:, :4], r"of shape \(N, 8, 8, 1\); got uint8 of shape \(.*, 4, 8, 1\)"),
        (lambda images: images[:0], r"got uint8 of shape \(0, 8, 8, 1\)"),
    ],
)
def test_images_of_another_range_are_an_error(train, spoil, message):
    with pytest.raises(DataError, match=message):
        quantization.check(spoil(train.images), train.images)
