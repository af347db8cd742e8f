"""Faults in layers, masks and number formats of the PyTorch engine: rules of other frameworks, and slips.

Each breaks it in this process until `patch.undo()`.
"""

from faulty_worker import patch


def norm_epsilon():
    """A norm of maps has Keras's default epsilon."""
    set_otherwise("BatchNorm2d", eps=1e-3)


def pad_in_divisor():
    """Average pooling counts padding."""
    set_otherwise("AvgPool2d", count_include_pad=True)


def tanh_gelu():
    """GELU is tanh's approximation."""
    set_otherwise("GELU", approximate="tanh")


def set_otherwise(name, **settings):
    """Build one of PyTorch's modules with these settings always."""
    from torch import nn

    init = getattr(nn, name).__init__
    patch.setattr(getattr(nn, name), "__init__", lambda self, *args, **given: init(self, *args, **given | settings))


def biased_variance():
    """A running variance is Keras's, divided by n."""
    from torch import nn

    from diptych.engines.torch import model

    patch.setattr(nn, "BatchNorm2d", model.BiasedBatchNorm)


def shifted_pad():
    """Unequal padding is on the other side."""
    from diptych.engines.torch import model

    init = model.PaddedConv2d.__init__

    def shifted(self, margins, *shape, **settings):
        left, right, top, bottom = margins
        init(self, (right, left, bottom, top), *shape, **settings)

    patch.setattr(model.PaddedConv2d, "__init__", shifted)


def flatten_order():
    """Flatten keeps Keras's height, width, channel order."""
    from torch import nn

    patch.setattr(nn.Flatten, "forward", lambda self, maps_nchw: maps_nchw.permute(0, 2, 3, 1).flatten(1))


def wrong_backward():
    """GELU's gradient is 0.1% too large."""
    from torch import nn

    forward = nn.GELU.forward

    def scaled(self, values):
        found = forward(self, values)
        return (found * 1.001) - (found * 0.001).detach()

    patch.setattr(nn.GELU, "forward", scaled)


def dropout_unscaled():
    """Dropout does not scale what it keeps."""
    from diptych.engines.torch.model import Dropout

    forward = Dropout.forward

    def plain(self, values):
        kept = forward(self, values)
        return kept * (1.0 - self.layer.rate) if self.training else kept

    patch.setattr(Dropout, "forward", plain)


def same_mask_at_every_step():
    """A dropout mask depends on seed and layer only."""
    set_masks_with(lambda seed, step: (seed, 0))


def mask_from_step_1():
    """Steps of masks are counted from 1."""
    set_masks_with(lambda seed, step: (seed, step + 1))


def set_masks_with(change):
    """Draw masks with another seed and step."""
    from diptych.engines.torch import train

    draw = train.set_masks
    patch.setattr(train, "set_masks", lambda model, seed, step: draw(model, *change(seed, step)))


def layers_share_masks():
    """The key of a mask leaves out the layer."""
    from diptych.engines import masks

    patch.setattr(masks, "layer_word", lambda name: 0)


def mask_of_nchw():
    """The elements of a mask are numbered in PyTorch's order of axes."""
    from diptych.engines import masks

    def offsets(layer, shape):
        height, width, channels = (1, 1, *masks.mask_shape(layer, shape))[-3:]
        drawn = nhwc(layer, shape)
        return drawn.reshape(channels, height, width).transpose(1, 2, 0).reshape(drawn.shape).copy()

    nhwc = masks.offsets
    patch.setattr(masks, "offsets", offsets)


def mask_not_in_gradient():
    """Dropout's gradient is that of the identity."""
    from diptych.engines.torch.model import Dropout

    forward = Dropout.forward
    patch.setattr(Dropout, "forward", lambda self, values: values + (forward(self, values) - values).detach())


def head_in_bfloat16():
    """In reduced precision, the head computes in it as the other layers do."""
    import torch

    from diptych.engines.torch.model import Network

    def run_short(self, layer, *inputs):
        output = run(self, layer, *inputs)
        if self.reduced and layer is self.spec.layers[-1]:
            with torch.autocast(inputs[0].device.type, getattr(torch, self.precision)):
                output = self.get_submodule(layer.name)(*inputs)
        return output

    run = Network.run
    patch.setattr(Network, "run", run_short)
