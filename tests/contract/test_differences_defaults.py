"""What a comparison calls a framework's default is the default of the installed framework."""

import keras
import numpy as np
import pytest
import tiny
import torch

from diptych.comparison import defaults
from diptych.engines import NAMES
from diptych.spec import Recipe
from diptych.spec import layers as L
from diptych.spec.init import initial_weights

GRAPH = tiny.graph((8, 8, 1))
GRAPH.conv("conv", 64)
GRAPH.add(L.BatchNorm, "norm")
GRAPH.add(L.Activation, "activation", function="leaky_relu")
GRAPH.add(L.Flatten, "flatten")
GRAPH.add(L.Dense, "head", units=10)
SPEC = GRAPH.model("net")


def native(engine, rule="adamw", **settings):
    """Spec and recipe with every default as the engine's framework has it."""
    setup = SPEC, Recipe(optimizer=rule, **settings)
    for default in defaults.of(setup):
        setup = default.switch(setup, engine)
    return setup


def test_layers_and_optimizers_have_each_frameworks_own_defaults():
    (spec, adamw), rmsprop = native("torch"), native("torch", "rmsprop")[1]
    theirs, ours = torch.nn.BatchNorm2d(4), spec.layer("norm")
    assert (theirs.eps, 1 - theirs.momentum, "unbiased") == (ours.epsilon, ours.decay, ours.running_variance)
    assert torch.nn.LeakyReLU().negative_slope == spec.layer("activation").slope
    theirs = torch.optim.AdamW([torch.zeros(1)]).defaults
    assert (theirs["eps"], theirs["weight_decay"]) == (adamw.epsilon, adamw.decay)
    theirs = torch.optim.RMSprop([torch.zeros(1)]).defaults
    assert (theirs["alpha"], theirs["eps"]) == (rmsprop.rho, rmsprop.epsilon)

    (spec, adamw), rmsprop = native("tensorflow"), native("tensorflow", "rmsprop")[1]
    theirs, ours = keras.layers.BatchNormalization(), spec.layer("norm")
    assert (theirs.epsilon, theirs.momentum, "biased") == (ours.epsilon, ours.decay, ours.running_variance)
    assert keras.layers.LeakyReLU().negative_slope == pytest.approx(spec.layer("activation").slope)
    theirs = keras.optimizers.AdamW()
    assert (theirs.epsilon, theirs.weight_decay, ()) == (adamw.epsilon, adamw.decay, adamw.no_decay)
    assert keras.optimizers.Adam().epsilon == native("tensorflow", "adam")[1].epsilon
    theirs = keras.optimizers.RMSprop()
    assert (theirs.rho, theirs.epsilon) == (rmsprop.rho, rmsprop.epsilon)


def test_initial_weights_spread_as_each_frameworks_own():
    kernel, bias = torch.nn.Conv2d(1, 64, 3).weight.detach().numpy(), torch.nn.Linear(2304, 1000).bias.detach().numpy()
    ours = initial_weights(native("torch")[0].arrays, 0)
    assert np.abs(kernel).max() == pytest.approx(np.abs(ours["conv.weight"]).max(), rel=0.03)
    assert np.abs(bias).max() == pytest.approx(2304**-0.5, rel=0.01)
    assert 0 < np.abs(ours["head.bias"]).max() <= 2304**-0.5
    layer = keras.layers.Conv2D(64, 3)
    layer.build((None, 8, 8, 1))
    ours = initial_weights(native("tensorflow")[0].arrays, 0)
    assert np.abs(layer.kernel.numpy()).max() == pytest.approx(np.abs(ours["conv.weight"]).max(), rel=0.03)
    assert not np.any(layer.bias.numpy()) and not np.any(ours["conv.bias"])


def test_weight_decay_applies_to_the_gradient_in_pytorch_and_to_the_weight_in_keras():
    (_, ours), (_, theirs) = (native(engine, "sgd", l2=1e-3) for engine in NAMES)
    assert (1e-3, 0.0, ()) == (ours.l2, ours.decay, ours.no_decay)
    assert (0.0, 1e-3, ()) == (theirs.l2, theirs.decay, theirs.no_decay)
