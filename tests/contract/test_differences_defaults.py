"""What a comparison calls a framework's default is what the installed framework does unasked."""

import inspect

import keras
import numpy as np
import pytest
import torch

from diptych.comparison import defaults
from diptych.engines import NAMES
from diptych.spec import ModelSpec, Recipe
from diptych.spec import layers as L
from diptych.spec.init import initial_weights

SPEC = ModelSpec(
    "net",
    (8, 8, 1),
    (
        L.Normalize("normalize", ("input",), (0.5,), (0.25,)),
        L.Conv("conv", ("normalize",), 64, (3, 3)),
        L.BatchNorm("norm", ("conv",)),
        L.Activation("activation", ("norm",), "leaky_relu"),
        L.Flatten("flatten", ("activation",)),
        L.Dense("head", ("flatten",), 10),
    ),
)


def native(engine, rule="adamw", **settings):
    """Spec and recipe with every default as the engine's framework has it."""
    setup = SPEC, Recipe(optimizer=rule, **settings)
    return defaults.switched(setup, defaults.of(setup), engine)


def torch_default(kind, name):
    return inspect.signature(kind).parameters[name].default


def test_batch_norms_defaults_are_each_frameworks_own():
    theirs, ours = torch.nn.BatchNorm2d(4), native("torch")[0].layer("norm")
    assert (theirs.eps, 1 - theirs.momentum) == (ours.epsilon, ours.decay)
    assert "unbiased" == ours.running_variance
    theirs, ours = keras.layers.BatchNormalization(), native("tensorflow")[0].layer("norm")
    assert (theirs.epsilon, theirs.momentum) == (ours.epsilon, ours.decay)
    assert "biased" == ours.running_variance


def test_leaky_relus_slopes_are_each_frameworks_own():
    assert torch.nn.LeakyReLU().negative_slope == native("torch")[0].layer("activation").slope
    slope = native("tensorflow")[0].layer("activation").slope
    assert keras.layers.LeakyReLU().negative_slope == pytest.approx(slope)


def test_adams_and_adamws_defaults_are_each_frameworks_own():
    ours = native("torch")[1]
    assert torch_default(torch.optim.AdamW, "eps") == ours.epsilon
    assert torch_default(torch.optim.AdamW, "weight_decay") == ours.decay
    theirs, ours = keras.optimizers.AdamW(), native("tensorflow")[1]
    assert (theirs.epsilon, theirs.weight_decay) == (ours.epsilon, ours.decay)
    assert () == ours.no_decay
    assert keras.optimizers.Adam().epsilon == native("tensorflow", "adam")[1].epsilon


def test_rmsprops_defaults_are_each_frameworks_own():
    ours = native("torch", "rmsprop")[1]
    assert torch_default(torch.optim.RMSprop, "alpha") == ours.rho
    assert torch_default(torch.optim.RMSprop, "eps") == ours.epsilon
    theirs, ours = keras.optimizers.RMSprop(), native("tensorflow", "rmsprop")[1]
    assert (theirs.rho, theirs.epsilon) == (ours.rho, ours.epsilon)


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
    assert not np.any(layer.bias.numpy())
    assert not np.any(ours["conv.bias"])


def test_a_word_for_weight_decay_means_the_gradient_in_one_and_the_weight_in_the_other():
    (_, ours), (_, theirs) = (native(engine, "sgd", l2=1e-3) for engine in NAMES)
    assert (1e-3, 0.0, ()) == (ours.l2, ours.decay, ours.no_decay)
    assert (0.0, 1e-3, ()) == (theirs.l2, theirs.decay, theirs.no_decay)
