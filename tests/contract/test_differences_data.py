"""Proofs of the ledger's rows on data: where the frameworks' readers differ, and that diptych has only one of each."""

import io

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
import torch
from PIL import Image

from diptych.data.batches import batch_bounds, epoch_batches
from diptych.data.datasets import Split
from diptych.data.decode import decode
from diptych.data.preprocess import resize
from diptych.errors import ImageError
from diptych.spec import Recipe


def jpeg(exif=None):
    """A small photograph-like JPEG: 16 rows of 24 pixels."""
    noise_hwc = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(cv2.GaussianBlur(noise_hwc, (5, 5), 1.0)).save(file, "JPEG", exif=exif or Image.Exif())
    return file.getvalue()


def test_images_are_decoded_once_upright_over_white_and_whole():
    theirs = tf.io.decode_jpeg(jpeg()).numpy().astype(int)
    pillow = np.array(Image.open(io.BytesIO(jpeg())))
    assert 0 < np.abs(theirs - pillow).max() < 16
    np.testing.assert_array_equal(pillow, decode(jpeg(), "photo.jpg"))

    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6
    turned = jpeg(on_its_side)
    assert (16, 24) == tf.io.decode_jpeg(turned).shape[:2] == np.array(Image.open(io.BytesIO(turned))).shape[:2]
    np.testing.assert_array_equal(np.rot90(pillow, -1), decode(turned, "photo.jpg"))

    file = io.BytesIO()
    Image.new("RGBA", (2, 1), (200, 100, 0, 51)).save(file, "PNG")
    assert [200, 100, 0] == tf.io.decode_png(file.getvalue(), channels=3).numpy()[0, 0].tolist()
    assert (200, 100, 0) == Image.open(file).convert("RGB").getpixel((0, 0))
    assert [244, 224, 204] == decode(file.getvalue(), "glass.png")[0, 0].tolist()

    scan = jpeg().index(b"\xff\xda") + 20
    with_a_gap = jpeg()[:scan] + jpeg()[scan + 40 :]
    for painted_over in (tf.io.decode_jpeg(with_a_gap).numpy(), np.array(Image.open(io.BytesIO(with_a_gap)))):
        assert (16, 24, 3) == painted_over.shape
    with pytest.raises(ImageError, match="damaged"):
        decode(with_a_gap, "photo.jpg")


def test_images_are_resized_once_by_means_of_blocks():
    stripes = np.tile(np.array([0, 255, 255, 0], np.uint8), (16, 4))
    assert {255.0} == set(tf.image.resize(stripes[..., np.newaxis], (4, 4)).numpy().ravel())
    pillow = np.array(Image.fromarray(stripes).resize((4, 4), Image.Resampling.BILINEAR))
    assert 120 < pillow.min() <= pillow.max() < 140
    ramp_nhwc = np.random.default_rng(0).random((1, 8, 8, 1))
    bicubic = torch.nn.functional.interpolate(torch.from_numpy(ramp_nhwc).permute(0, 3, 1, 2), (5, 5), mode="bicubic")
    theirs = tf.image.resize(ramp_nhwc, (5, 5), method="bicubic").numpy()
    assert 0.01 < np.abs(theirs[..., 0] - bicubic.numpy()[:, 0]).max()

    shrunk = resize(stripes[..., np.newaxis], (4, 4))
    assert {127, 128} >= set(shrunk.ravel().tolist())


def test_the_order_of_samples_follows_from_seed_and_epoch_alone():
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(torch.arange(20), batch_size=20, shuffle=True)
    first, second = (next(iter(loader)).tolist() for _ in range(2))
    assert first != second
    window = tf.data.Dataset.range(20).shuffle(4, seed=0).as_numpy_iterator()
    assert int(next(window)) < 4

    orders = [_samples_of(epoch=epoch) for epoch in (1, 2, 1)]
    assert list(range(20)) == sorted(orders[0])
    assert orders[0] == orders[2] != orders[1]
    assert _samples_of(epoch=1, seed=1) != orders[0]


def test_each_sample_is_augmented_on_its_own_whatever_its_batch():
    images_nhwc = np.tile(np.arange(64.0).reshape(1, 8, 8, 1), (6, 1, 1, 1))
    cropped_nhwc = keras.layers.RandomCrop(4, 4, seed=0)(images_nhwc, training=True).numpy()
    assert 1 == len({crop.tobytes() for crop in cropped_nhwc})

    split = Split(np.tile(tiny.images(tiny.conv_net(), 1), (12, 1, 1, 1)), np.zeros(12, np.int64), np.arange(12))
    small, large = (
        np.concatenate([batch.images for batch in _batches(split, batch_size=size, crop_padding=2)]) for size in (3, 6)
    )
    assert 6 < len({image.tobytes() for image in large})
    np.testing.assert_array_equal(small, large)


def test_a_last_sample_on_its_own_joins_the_batch_before(both):
    one = np.ones((1, 1, 1, 2), np.float32)
    assert 0.0 == np.abs(keras.layers.BatchNormalization()(one, training=True)).max()
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        torch.nn.BatchNorm2d(2)(torch.from_numpy(one).permute(0, 3, 1, 2))

    batches = list(_batches(_numbered(9), batch_size=4))
    assert [4, 5] == [len(batch.images) for batch in batches]
    assert 2 == len(batch_bounds(9, 4))
    for engine in both:
        totals = tiny.train(engine, tiny.conv_net(), Recipe(), [0.0] * 2, batches=batches).totals
        assert 9 == totals.count and np.isfinite(totals.loss)


def _numbered(num_samples):
    """Images of one gray level each, which is the sample's number."""
    levels = np.arange(num_samples, dtype=np.uint8)[:, None, None, None]
    return Split(np.tile(levels, (1, *tiny.SHAPE)), np.arange(num_samples) % tiny.NUM_CLASSES, np.arange(num_samples))


def _batches(split, batch_size, seed=0, epoch=1, **changes):
    recipe = Recipe(**{"batch_size": batch_size, "flip": "none", "crop_padding": 0, **changes})
    return epoch_batches(split, recipe, num_classes=tiny.NUM_CLASSES, seed=seed, epoch=epoch)


def _samples_of(epoch, seed=0):
    batches = _batches(_numbered(20), 8, seed, epoch)
    return [int(image[0, 0, 0]) for batch in batches for image in batch.images]
