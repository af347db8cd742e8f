"""Proofs of the ledger's rows on axes, order and padding: what the frameworks do, and that the engines agree."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
import torch
import torch.nn.functional as F

from diptych.spec import layers as L


def maps(height=6, width=6, channels=2, seed=0):
    """A map for Keras, (1, H, W, C), all below zero, and the same map for PyTorch, (1, C, H, W)."""
    maps_nhwc = -1.0 - np.random.default_rng(seed).random((1, height, width, channels))
    return maps_nhwc, torch.from_numpy(maps_nhwc).permute(0, 3, 1, 2)


def nhwc(maps_nchw):
    return maps_nchw.permute(0, 2, 3, 1).numpy()


def test_images_are_nhwc_outside_and_reach_pytorch_without_a_copy(both):
    assert "channels_last" == keras.config.image_data_format()
    with pytest.raises(RuntimeError, match=r"expected input.* to have 2 channels"):
        torch.nn.Conv2d(2, 1, 1)(torch.zeros(1, 6, 5, 2))

    images_nhwc = torch.zeros(4, 6, 5, 2)
    view_nchw = images_nhwc.permute(0, 3, 1, 2)
    assert images_nhwc.data_ptr() == view_nchw.data_ptr()
    assert view_nchw.is_contiguous(memory_format=torch.channels_last)
    spec = tiny.one_layer(L.Conv, (6, 5, 2), filters=3, kernel=(3, 2))
    outputs = tiny.assert_same_outputs(both, spec, tiny.images(spec, 2))
    assert (2, 4, 4, 3) == outputs["layer"].shape


@pytest.mark.parametrize(("groups", "filters"), [(1, 6), (2, 6), (4, 8)])
def test_convolution_kernels_are_oihw_outside(both, groups, filters):
    assert (6, 4, 2, 5) == tuple(torch.nn.Conv2d(4, 6, (2, 5)).weight.shape)
    conv = keras.layers.Conv2D(6, (2, 5))
    conv.build((None, 8, 8, 4))
    assert (2, 5, 4, 6) == conv.kernel.shape
    depthwise = keras.layers.DepthwiseConv2D((2, 5), depth_multiplier=2)
    depthwise.build((None, 8, 8, 4))
    assert (2, 5, 4, 2) == depthwise.kernel.shape

    model = tiny.graph()
    model.conv("widen", 4, kernel=1)
    model.add(L.Conv, "layer", filters=filters, kernel=(2, 5), groups=groups)
    spec = tiny.with_head(model)
    for engine in both:
        assert (filters, 4 // groups, 2, 5) == engine.read_weights(engine.build(spec))["layer.weight"].shape
    tiny.assert_same_outputs(both, spec, tiny.images(spec, 2))


def test_dense_kernels_are_outputs_by_inputs_outside(both):
    assert (5, 7) == tuple(torch.nn.Linear(7, 5).weight.shape)
    dense = keras.layers.Dense(5)
    dense.build((None, 7))
    assert (7, 5) == dense.kernel.shape

    spec = tiny.linear()
    for engine in both:
        assert (3, 48) == engine.read_weights(engine.build(spec))["head.weight"].shape
    tiny.assert_same_outputs(both, spec, tiny.images(spec, 2))


def test_flattened_maps_are_in_channel_height_width_order(both):
    maps_nhwc, maps_nchw = maps(2, 3, 2)
    keras_order = np.array(keras.layers.Flatten()(tf.constant(maps_nhwc)))
    assert not np.array_equal(torch.nn.Flatten()(maps_nchw).numpy(), keras_order)

    spec = tiny.one_layer(L.Flatten, (2, 3, 2))
    tiny.assert_layer(both, spec, lambda maps: maps.transpose(0, 3, 1, 2).reshape(len(maps), -1), rtol=0, atol=0)


@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (0, 1, 0, 1), (2, 0, 1, 3)])
def test_convolutions_are_padded_by_explicit_amounts(both, padding):
    maps_nhwc, maps_nchw = maps()
    kernel_oihw = torch.ones(1, 2, 3, 3, dtype=torch.float64)
    kernel_hwio = tf.constant(kernel_oihw.permute(2, 3, 1, 0).numpy())
    same_nhwc = tf.nn.conv2d(maps_nhwc, kernel_hwio, 2, "SAME").numpy()
    with pytest.raises(ValueError, match="padding='same' is not supported for strided"):
        torch.nn.Conv2d(2, 1, 3, stride=2, padding="same")
    assert not np.allclose(same_nhwc, nhwc(F.conv2d(maps_nchw, kernel_oihw, stride=2, padding=1)))
    bottom_right = F.conv2d(F.pad(maps_nchw, (0, 1, 0, 1)), kernel_oihw, stride=2)
    np.testing.assert_allclose(same_nhwc, nhwc(bottom_right))

    spec = tiny.one_layer(L.Conv, filters=2, kernel=(3, 3), strides=(2, 2), padding=padding)
    tiny.assert_same_outputs(both, spec, tiny.images(spec, 2))


def test_max_pooling_pads_with_minus_infinity_on_both_sides(both):
    maps_nhwc, maps_nchw = maps()
    same_nhwc = tf.nn.max_pool2d(maps_nhwc, 3, 2, "SAME").numpy()
    assert not np.allclose(same_nhwc, nhwc(F.max_pool2d(maps_nchw, 3, 2, padding=1)))

    spec = tiny.one_layer(L.MaxPool, kernel=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1))
    black_nhwc = np.zeros((1, *spec.input_shape), np.uint8)
    tiny.assert_layer(both, spec, lambda maps: maps[:, ::2, ::2], images_nhwc=black_nhwc)


def test_average_pooling_leaves_padding_out_of_the_divisor(both):
    ones_nhwc = np.ones((1, 4, 4, 1))
    assert 1.0 == tf.nn.avg_pool2d(ones_nhwc, 3, 1, "SAME").numpy()[0, 0, 0, 0]
    assert pytest.approx(4 / 9) == torch.nn.AvgPool2d(3, 1, padding=1)(torch.ones(1, 1, 4, 4))[0, 0, 0, 0].item()

    spec = tiny.one_layer(L.AvgPool, kernel=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1))
    gray_nhwc = np.full((1, *spec.input_shape), 200, np.uint8)
    tiny.assert_layer(both, spec, lambda maps: maps[:, ::2, ::2], images_nhwc=gray_nhwc)
