"""Proofs of the ledger's rows on layers: what the frameworks do by default, and that the engines follow the spec."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
import torch

from diptych.comparison.parity import samples
from diptych.engines import masks
from diptych.engines.tensorflow.model import BatchNorm
from diptych.spec import Recipe
from diptych.spec import layers as L
from diptych.spec.init import initial_weights

VECTORS = (1, 1, 3)
"""A shape of images that become vectors of the three channels."""


def test_a_norms_epsilon_is_the_specs(both):
    assert (1e-3, 1e-5) == (keras.layers.BatchNormalization().epsilon, torch.nn.BatchNorm2d(1).eps)

    spec = tiny.one_layer(L.BatchNorm, epsilon=0.5)
    weights = samples.weights(spec, seed=0)
    scale, shift, mean, variance = (weights[array.name] for array in spec.arrays if "layer" in array.name)
    tiny.assert_layer(both, spec, lambda maps: (maps - mean) / np.sqrt(variance + 0.5) * scale + shift)


def native_statistics(momentum):
    """Means and variances of Keras's layer, PyTorch's module and our fused layer, after a batch of 1 and 3."""
    values = np.array([[1.0], [3.0]], np.float32)
    layers = keras.layers.BatchNormalization(momentum=momentum), BatchNorm("unbiased", momentum=momentum)
    for layer in layers:
        layer(values, training=True)
    stock, fused = [(layer.moving_mean.numpy().item(), layer.moving_variance.numpy().item()) for layer in layers]
    module = torch.nn.BatchNorm1d(1, momentum=momentum)
    module(torch.from_numpy(values))
    return stock, (module.running_mean.item(), module.running_var.item()), fused


def assert_statistics(both, name, statistic, *, shape=tiny.SHAPE, precision="float64", rtol=1e-12, **settings):
    """After a step, both engines' running statistics are three quarters old and one quarter the batch's."""
    model = tiny.graph(shape)
    source = model.add(L.Flatten, "flatten") if shape == VECTORS else "normalize"
    model.add(L.BatchNorm, "layer", decay=0.75, **settings)
    spec = tiny.with_head(model)
    (batch,) = samples.batches(spec, 1, 6, seed=0)
    seen = both[0].layer_outputs(tiny.loaded(both[0], spec), batch.images, training=False)[source]
    expected = 0.75 * samples.weights(spec, seed=0)[name] + 0.25 * statistic(seen.reshape(-1, 3))
    for engine in both:
        trained = tiny.train(engine, spec, Recipe(optimizer="sgd"), [0.0], batches=[batch], precision=precision)
        np.testing.assert_allclose(trained.weights()[name], expected, rtol=rtol)


def test_a_norms_decay_is_the_share_of_the_old_statistics(both):
    (stock, _), (module, _), _ = native_statistics(momentum=0.9)
    assert [0.1 * 2.0, 0.9 * 2.0] == pytest.approx([stock, module])
    assert (0.99, 0.1) == (keras.layers.BatchNormalization().momentum, torch.nn.BatchNorm1d(1).momentum)

    assert_statistics(both, "layer.running_mean", lambda rows: rows.mean(axis=0))


def test_a_norms_running_variance_is_the_unbiased_one(both):
    (_, stock), _, (_, fused) = native_statistics(momentum=0.0)
    _, (_, module), _ = native_statistics(momentum=1.0)
    assert [1.0, 2.0, 2.0] == pytest.approx([stock, fused, module])

    assert_statistics(both, "layer.running_var", lambda rows: rows.var(axis=0, ddof=1))


@pytest.mark.parametrize(("precision", "rtol"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("shape", [tiny.SHAPE, VECTORS], ids=["maps", "vectors"])
def test_a_biased_running_variance_is_that_of_the_batch_itself(both, shape, precision, rtol):
    settings = {"shape": shape, "precision": precision, "rtol": rtol, "running_variance": "biased"}
    assert_statistics(both, "layer.running_var", lambda rows: rows.var(axis=0), **settings)


def test_leaky_relus_slope_is_the_specs(both):
    assert 0.3 == pytest.approx(keras.layers.LeakyReLU().negative_slope)
    assert 0.2 == inspect.signature(keras.ops.leaky_relu).parameters["negative_slope"].default
    assert 0.01 == torch.nn.LeakyReLU().negative_slope

    spec = tiny.one_layer(L.Activation, function="leaky_relu", slope=0.1)
    tiny.assert_layer(both, spec, lambda maps: np.where(maps < 0, 0.1 * maps, maps))


def exact_gelu(maps):
    maps = torch.as_tensor(maps, dtype=torch.float64)
    return (0.5 * maps * (1.0 + torch.erf(maps / 2**0.5))).numpy()


def test_gelu_is_the_exact_one(both):
    assert abs(float(keras.ops.gelu(np.array(1.0))) - exact_gelu(1.0)) > 1e-5
    assert exact_gelu(1.0) == pytest.approx(torch.nn.GELU()(torch.ones(1, dtype=torch.float64)).item(), abs=1e-12)

    tiny.assert_layer(both, tiny.one_layer(L.Activation, function="gelu"), exact_gelu)


@pytest.mark.parametrize("mode", ["element", "channel", "sample"])
def test_dropout_masks_are_the_same_bits_in_both(both, mode):
    spec = tiny.one_layer(L.Dropout, (64, 64, 2), rate=0.3, mode=mode)
    ones_nhwc = np.ones((9, 64, 64, 2))
    for step in (0, 5):
        kept = np.broadcast_to(masks.keep(spec.layer("layer"), (64, 64, 2), 9, 0, step), ones_nhwc.shape)
        for engine in both:
            model = tiny.loaded(engine, spec)
            found = engine.layer_alone(model, "layer", {"normalize": ones_nhwc}, ones_nhwc, training=True, step=step)
            np.testing.assert_allclose(found["output"], kept / 0.7, rtol=1e-15)
            np.testing.assert_array_equal(found["output"], found["input/normalize"])

    spec = tiny.one_layer(L.Dropout, rate=0.0)
    tiny.assert_same_outputs(both, spec, tiny.images(spec, 2), training=True)


def test_normalization_constants_keep_their_last_digits(both):
    ones = np.ones((1, 1))
    assert 1e-9 < abs(keras.layers.Rescaling([0.1], [0.2], dtype="float64")(ones).numpy().item() - 0.3)
    assert 0.3 == pytest.approx(torch.tensor([0.1], dtype=torch.float64).item() + 0.2, abs=1e-15)

    spec = tiny.linear()
    images_nhwc = tiny.images(spec, 2)
    outputs = tiny.assert_same_outputs(both, spec, images_nhwc)
    expected = (images_nhwc / 255.0 - np.array(tiny.MEAN)) / np.array(tiny.STD)
    np.testing.assert_allclose(outputs["normalize"], expected, rtol=1e-13, atol=1e-13)


def test_constants_keep_their_float64_digits(both):
    assert 1e-9 < abs(tf.cast(0.1, tf.float64).numpy() - 0.1)
    assert 0.1 == tf.constant(0.1, tf.float64).numpy() == torch.tensor(0.1, dtype=torch.float64).item()
    values = np.linspace(-2.0, 2.0, 9)
    for name, function in (("gelu", torch.nn.functional.gelu), ("leaky_relu", torch.nn.functional.leaky_relu)):
        theirs = getattr(tf.nn, name)(values, **({"alpha": 0.01} if name == "leaky_relu" else {})).numpy()
        assert 1e-10 < np.abs(theirs - function(torch.from_numpy(values)).numpy()).max() < 1e-7

    model = tiny.graph()
    model.add(L.Activation, "leaky", function="leaky_relu", slope=0.01)
    model.add(L.Activation, "gelu", function="gelu")
    spec = tiny.with_head(model)
    tiny.assert_same_outputs(both, spec, tiny.images(spec, 2))
    batches = samples.batches(spec, 1, 6, seed=0)
    for engine in both:
        _, slopes = engine.gradients(tiny.loaded(engine, spec), batches[0])
        found = tiny.train(engine, spec, Recipe(optimizer="sgd", momentum=0.0), [0.1]).weights()
        expected = samples.weights(spec, seed=0)["head.bias"] - 0.1 * slopes["head.bias"]
        np.testing.assert_allclose(found["head.bias"], expected, rtol=1e-14)


def test_initial_weights_are_drawn_by_the_spec_for_both(both):
    dense = keras.layers.Dense(300)
    dense.build((None, 100))
    linear = torch.nn.Linear(100, 300)
    assert np.sqrt(6 / 400) == pytest.approx(np.abs(dense.kernel.numpy()).max(), rel=0.01)
    assert np.sqrt(1 / 100) == pytest.approx(linear.weight.abs().max().item(), rel=0.01)
    assert (False, True) == (dense.bias.numpy().any(), linear.bias.any().item())
    deviation = np.sqrt(2 / 1000)
    truncated = np.abs(keras.initializers.HeNormal(seed=0)((1000, 100)).numpy()).max() / deviation
    assert 2.0 / 0.8796 == pytest.approx(truncated, rel=0.01)
    assert torch.nn.init.kaiming_normal_(torch.empty(100, 1000)).abs().max().item() / deviation > 3.0

    spec = tiny.conv_net()
    drawn = initial_weights(spec.arrays, seed=3)
    for engine in both:
        model = engine.build(spec, "float64")
        engine.load_weights(model, drawn)
        tiny.assert_same_arrays(drawn, engine.read_weights(model))


def test_training_and_inference_are_never_a_state_left_behind(both):
    assert torch.nn.Dropout().training
    assert np.array_equal(np.ones((4, 4)), keras.layers.Dropout(0.5, seed=0)(np.ones((4, 4))))

    spec = tiny.conv_net()
    images_nhwc = tiny.images(spec, 4)
    for engine in both:
        trained = tiny.train(engine, spec, Recipe(optimizer="sgd"), [0.01])
        fresh = engine.build(spec, "float64")
        engine.load_weights(fresh, trained.weights())
        np.testing.assert_array_equal(engine.predict(fresh, images_nhwc), engine.predict(trained.model, images_nhwc))
        engine.train_epoch(trained.model, trained.optimizer, samples.batches(spec, 1, 6, seed=1), [0.0], seed=0)
        moved = trained.weights()["stem.norm.running_mean"]
        assert not np.array_equal(engine.read_weights(fresh)["stem.norm.running_mean"], moved)


def test_bfloat16_is_arithmetic_and_weights_and_logits_stay_float32(both):
    assert "bfloat16" == keras.layers.Add(dtype="mixed_bfloat16")([tf.ones((1, 2)), tf.ones((1, 2))]).dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.float32 == (torch.ones(1, 2) + torch.ones(1, 2)).dtype

    spec = tiny.conv_net()
    images_nhwc = tiny.images(spec, 32)
    for engine in both:
        model = tiny.loaded(engine, spec, "bfloat16")
        assert {np.dtype("float32")} == {array.dtype for array in engine.read_weights(model).values()}
        logits_nk = engine.predict(model, images_nhwc)
        assert np.float32 == logits_nk.dtype
        exact_nk = engine.predict(tiny.loaded(engine, spec), images_nhwc)
        assert 1e-4 < np.abs(logits_nk - exact_nk).max() < 0.2
