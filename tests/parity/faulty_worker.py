"""Sessions with a fault: one engine is broken until the next session of the process.

Each fault is a disagreement that the two frameworks have by themselves, or a slip that is easily made.
"""

from dataclasses import replace

import pytest
from torch import nn

from diptych.engines import torch as engine
from diptych.engines.session import Session
from diptych.engines.torch import model, optimizer, train

patch = pytest.MonkeyPatch()


# PyTorch's modules with settings that are not the spec's: Keras's ε, padding that counts, TensorFlow's raw operation.
SETTINGS = {
    "norm_epsilon": ("BatchNorm2d", {"eps": 1e-3}),
    "pad_in_divisor": ("AvgPool2d", {"count_include_pad": True}),
    "tanh_gelu": ("GELU", {"approximate": "tanh"}),
}


def set_otherwise(name, settings):
    """One of the modules is always built with these settings."""
    init = getattr(nn, name).__init__
    patch.setattr(getattr(nn, name), "__init__", lambda self, *args, **given: init(self, *args, **given | settings))


def biased_variance():
    """Keras's running variance in PyTorch: divided by n."""
    patch.setattr(nn, "BatchNorm2d", model.BiasedBatchNorm)


def shifted_pad():
    """TensorFlow's "same" padding in PyTorch: the odd pixel on the other side."""
    init = model.PaddedConv2d.__init__

    def shifted(self, margins, *shape, **settings):
        left, right, top, bottom = margins
        init(self, (right, left, bottom, top), *shape, **settings)

    patch.setattr(model.PaddedConv2d, "__init__", shifted)


def flatten_order():
    """Keras's height, width, channel order in PyTorch."""
    patch.setattr(nn.Flatten, "forward", lambda self, maps_nchw: maps_nchw.permute(0, 2, 3, 1).flatten(1))


def wrong_backward():
    """A right forward pass with a wrong gradient."""
    forward = nn.GELU.forward

    def scaled(self, values):
        found = forward(self, values)
        return (found * 1.001) - (found * 0.001).detach()

    patch.setattr(nn.GELU, "forward", scaled)


def mean_by_count():
    """Keras's class weights in PyTorch: the sum divided by the number of samples."""
    loss_of = train.loss_of
    patch.setattr(train, "loss_of", lambda *args: loss_of(*args) * args[2].mean())


def rate_in_momentum():
    """Keras's SGD in TensorFlow: the learning rate goes into the velocity."""
    from diptych.engines.tensorflow import optimizer as rules

    def apply(recipe, parameter, gradient, rate, step, state):
        velocity = state["momentum"].assign(recipe.momentum * state["momentum"] - rate * gradient)
        parameter.assign_add(recipe.momentum * velocity - rate * gradient)

    patch.setitem(rules._RULES, "sgd", apply)


def clip_each():
    """Keras's clipnorm in PyTorch: every gradient by itself."""
    clip = nn.utils.clip_grad_norm_
    patch.setattr(nn.utils, "clip_grad_norm_", lambda tensors, most: [clip([tensor], most) for tensor in tensors])


def decay_everything():
    """Keras's weight decay in PyTorch: biases and norms decay too."""
    patch.setattr(engine, "make_optimizer", lambda net, recipe: optimizer.Optimizer(net, replace(recipe, no_decay=())))


def faulty_session(fault, name):
    """A session of an engine with this fault and no other, for the process that it runs in."""
    patch.undo()
    set_otherwise(*SETTINGS[fault]) if fault in SETTINGS else globals()[fault]()
    return Session(name, 1)
