"""Tiny models, their training, and comparisons of arrays."""

from typing import NamedTuple

import numpy as np

from diptych.comparison.parity import samples
from diptych.engines.contract import Totals
from diptych.spec import layers as L
from diptych.spec.zoo import Graph

SHAPE = (8, 8, 3)
NUM_CLASSES = 3
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


class Trained(NamedTuple):
    engine: object
    model: object
    optimizer: object
    totals: Totals

    def weights(self):
        return self.engine.read_weights(self.model)

    def state(self):
        return self.engine.read_optimizer(self.optimizer)


def graph(shape=SHAPE):
    return Graph(shape, MEAN[: shape[-1]], STD[: shape[-1]])


def with_head(model):
    """The model with a Dense layer at its end, and a Flatten before it if necessary."""
    if not any(isinstance(layer, L.Flatten | L.GlobalAvgPool) for layer in model.layers):
        model.add(L.Flatten, "flatten")
    model.add(L.Dense, "head", units=NUM_CLASSES)
    return model.model("tiny")


def one_layer(kind, shape=SHAPE, **settings):
    """A model around the layer under test, which is called `layer`."""
    model = graph(shape)
    model.add(kind, "layer", **settings)
    return with_head(model)


def linear():
    """Softmax regression, whose gradient is one line of NumPy."""
    return with_head(graph((4, 4, 3)))


def conv_net(dropout=0.3):
    """A chain with a convolution, a norm and dropout."""
    model = graph()
    model.conv("stem.conv", 4, padding=1, use_bias=False)
    model.add(L.BatchNorm, "stem.norm")
    model.relu("stem.relu")
    model.max_pool("stem.pool")
    model.add(L.Flatten, "flatten")
    model.add(L.Dropout, "dropout", rate=dropout)
    return with_head(model)


def dropouts(rate=0.4):
    """A residual block and a head with every kind of dropout."""
    model = graph()
    start = model.add(L.Conv, "start", filters=6, kernel=(3, 3))
    model.add(L.Dropout, "channels", rate=rate, mode="channel")
    model.add(L.Dropout, "path", rate=rate, mode="sample")
    model.add(L.Add, "sum", inputs=("path", start))
    model.add(L.Dropout, "map", rate=rate)
    model.add(L.Flatten, "flatten")
    model.add(L.Dropout, "vector", rate=rate)
    model.add(L.Activation, "tanh", function="tanh")
    model.add(L.Dropout, "samples", rate=rate, mode="sample")
    return with_head(model)


def branching():
    """A graph with branches and the layers that `conv_net` lacks."""
    model = graph()
    start = model.add(L.Conv, "start", filters=4, kernel=(3, 2), strides=(2, 1), padding=(0, 1, 1, 0))
    model.conv("grouped", 8, padding=1, groups=2)
    model.conv("depthwise", 8, padding=1, groups=8)
    model.add(L.Activation, "gelu", function="gelu")
    model.add(L.PadChannels, "widened", inputs=(start,), before=1, after=3)
    model.add(L.Add, "sum", inputs=("gelu", "widened"))
    model.add(L.AvgPool, "average", kernel=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1))
    model.add(L.MaxPool, "largest", inputs=("sum",), kernel=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1))
    model.add(L.Concat, "both", inputs=("average", "largest"))
    model.add(L.BatchNorm, "norm", running_variance="biased")
    model.add(L.Activation, "silu", function="silu")
    model.add(L.GlobalAvgPool, "pool")
    return with_head(model)


def loaded(engine, spec, precision="float64"):
    """The spec's model with weights of which none is all zeros or ones."""
    model = engine.build(spec, precision)
    engine.load_weights(model, samples.weights(spec, seed=0))
    return model


def train(engine, spec, recipe, rates, *, batches=None, precision="float64", seed=0):
    """A model and its optimizer after one step at each of `rates`."""
    model = loaded(engine, spec, precision)
    optimizer = engine.make_optimizer(model, recipe)
    batches = batches or samples.batches(spec, len(rates), batch_size=6, seed=0)
    return Trained(engine, model, optimizer, engine.train_epoch(model, optimizer, batches, rates, seed))


def images(spec, num_images, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num_images, *spec.input_shape), dtype=np.uint8)


def assert_same_arrays(expected, found, **tolerance):
    """Both dictionaries hold the same arrays, bit for bit where no tolerance is given."""
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, **{"rtol": 0.0, **tolerance}, err_msg=name)


def assert_same_outputs(both, spec, images_nhwc, training=False):
    """Both engines return the same outputs of every layer, in float64; returns PyTorch's."""
    first, second = (engine.layer_outputs(loaded(engine, spec), images_nhwc, training) for engine in both)
    assert_same_arrays(first, second, atol=1e-11, rtol=1e-11)
    return first


def assert_layer(both, spec, formula, *, images_nhwc=None, **tolerance):
    """In both engines, the outputs of `layer` are `formula` of those of `normalize`, in float64."""
    outputs = assert_same_outputs(both, spec, images(spec, 4) if images_nhwc is None else images_nhwc)
    expected = formula(outputs["normalize"])
    np.testing.assert_allclose(outputs["layer"], expected, **{"rtol": 1e-12, "atol": 1e-12, **tolerance})


def linear_gradients(weights, batch):
    """Loss of softmax regression and its gradients, by the definition."""
    pixels = (batch.images / 255.0 - np.array(MEAN)) / np.array(STD)
    features_nf = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    logits_nk = features_nf @ weights["head.weight"].T + weights["head.bias"]
    log_probabilities_nk = logits_nk - np.log(np.exp(logits_nk).sum(axis=1, keepdims=True))
    share_n = batch.weights.astype(np.float64) / batch.weights.astype(np.float64).sum()
    loss = -(share_n * (batch.targets * log_probabilities_nk).sum(axis=1)).sum()
    sums_n1 = batch.targets.astype(np.float64).sum(axis=1, keepdims=True)
    slopes_nk = share_n[:, None] * (np.exp(log_probabilities_nk) * sums_n1 - batch.targets)
    return loss, {"head.weight": slopes_nk.T @ features_nf, "head.bias": slopes_nk.sum(axis=0)}
