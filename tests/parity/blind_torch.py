"""Faults in the PyTorch engine: slips of hand-written code, or of a framework.

Each breaks it in this process until `patch.undo()`. Its docstring says what is wrong and, after a colon, the only
cases in which it shows.
"""

from dataclasses import replace

from faulty_worker import patch


def relu_passes_at_zero():
    """ReLU's gradient is 1 at exactly zero: only for layers whose outputs are zero."""
    import torch

    patch.setattr(torch.nn.ReLU, "forward", lambda self, values: torch.where(values >= 0, values, 0.0))


def sigmoid_clamped():
    """The sigmoid's input is limited to ±8 "for stability": only for large inputs."""
    import torch

    patch.setattr(torch.nn.Sigmoid, "forward", lambda self, values: torch.sigmoid(values.clamp(-8.0, 8.0)))


def pool_backward_counts_pad():
    """AvgPool's gradient, not its value, counts padding in the divisor."""
    import torch
    import torch.nn.functional as F

    def forward(self, maps):
        counting = F.avg_pool2d(maps, self.kernel_size, self.stride, self.padding)
        return counting + (pool(self, maps) - counting).detach()

    pool = torch.nn.AvgPool2d.forward
    patch.setattr(torch.nn.AvgPool2d, "forward", forward)


def concat_rotated():
    """The first of three or more inputs of a Concat comes last."""
    from diptych.engines.torch import model

    join = model._concatenation
    patch.setattr(model, "_concatenation", lambda *maps: join(*maps[1:], maps[0]) if len(maps) > 2 else join(*maps))


def shortcut_detached():
    """No gradient flows through PadChannels of maps."""
    import torch.nn.functional as F

    pads = F.pad
    patch.setattr(F, "pad", lambda maps, pad: pads(maps.detach() if len(pad) == 6 else maps, pad=pad))


def tf32_convolution():
    """Convolutions round their operands to TF32: only in float32."""
    import torch

    def tf32(values):
        short = (values.detach().view(torch.int32) & -(2**13)).view(torch.float32)
        return values + (short - values.detach())

    def rounded(self, maps, kernel, bias):
        if maps.dtype == kernel.dtype == torch.float32:
            maps, kernel = tf32(maps), tf32(kernel)
        return convolve(self, maps, kernel, bias)

    convolve = torch.nn.Conv2d._conv_forward
    patch.setattr(torch.nn.Conv2d, "_conv_forward", rounded)


def naive_variance():
    """The variance of a batch is E[x²] - E[x]²: only in float32, for maps with a mean far from zero."""
    import torch

    def cancelling(self, maps):
        output = norm(self, maps)
        if not self.training or maps.dtype != torch.float32:
            return output
        mean, square = (values.mean((0, 2, 3), keepdim=True) for values in (maps, maps * maps))
        scale, shift = (values[:, None, None] for values in (self.weight, self.bias))
        return (maps - mean) / ((square - mean * mean).clamp(min=0.0) + self.eps).sqrt() * scale + shift

    norm = torch.nn.BatchNorm2d.forward
    patch.setattr(torch.nn.BatchNorm2d, "forward", cancelling)


def epsilon_beside_root():
    """A norm of maps adds epsilon to the standard deviation, not to the variance: only in inference."""
    import torch

    def beside(self, maps):
        if self.training:
            return norm(self, maps)
        tensors = (self.running_mean, self.running_var.sqrt() + self.eps, self.weight, self.bias)
        mean, deviation, scale, shift = (values[:, None, None] for values in tensors)
        return (maps - mean) / deviation * scale + shift

    norm = torch.nn.BatchNorm2d.forward
    patch.setattr(torch.nn.BatchNorm2d, "forward", beside)


def momentum_rounded():
    """Norms of vectors, not of maps, round the running statistics' momentum to bfloat16: 0.1 becomes 0.1001."""
    import torch

    def init(self, *shape, momentum, **named):
        stock(self, *shape, momentum=float(torch.tensor(momentum, dtype=torch.bfloat16)), **named)

    stock = torch.nn.BatchNorm1d.__init__
    patch.setattr(torch.nn.BatchNorm1d, "__init__", init)


def grouped_left_in_float32():
    """Convolutions in groups compute in float32 in a model of reduced precision."""
    import torch

    def exact(self, maps):
        if self.groups == 1 or not torch.is_autocast_enabled(maps.device.type):
            return convolve(self, maps)
        with torch.autocast(maps.device.type, enabled=False):
            return convolve(self, maps.float())

    convolve = torch.nn.Conv2d.forward
    patch.setattr(torch.nn.Conv2d, "forward", exact)


def clip_before_unscale():
    """Gradients are clipped while they still carry the loss scale: only in float16 with clipping."""
    import torch

    from diptych.engines.torch.optimizer import Optimizer

    def clipped(self):
        if self.recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        return unscale(self)

    unscale = Optimizer._unscale
    patch.setattr(Optimizer, "_unscale", clipped)


def soft_targets_lost():
    """Targets become the likeliest class: only with label smoothing, mixup or cutmix."""
    from torch.nn.functional import one_hot

    from diptych.engines.torch import train

    def of_classes(logits_nk, targets_nk, weights_n):
        hard_nk = one_hot(targets_nk.argmax(1), targets_nk.shape[1]).to(targets_nk.dtype)
        return loss_of(logits_nk, hard_nk, weights_n)

    loss_of = train.loss_of
    patch.setattr(train, "loss_of", of_classes)


def loss_of_full_batches():
    """The loss is divided by the size of a full batch: only in a smaller one after it."""
    from diptych.engines.torch import train

    def divided(logits_nk, targets_nk, weights_n):
        sizes.append(len(weights_n))
        return loss_of(logits_nk, targets_nk, weights_n) * (sizes[-1] / max(sizes))

    sizes, loss_of = [], train.loss_of
    patch.setattr(train, "loss_of", divided)


def bias_correction_ends():
    """Adam's moments are not corrected any more once 0.9^step is below 1%: only after 43 steps."""
    import torch

    def step(self, closure=None):
        for state in self.state.values():
            if 43 <= state["step"] < 10**6:
                state["step"].fill_(10**6)
        return stock(self, closure)

    stock = torch.optim.Adam.step
    patch.setattr(torch.optim.Adam, "step", step)


def step_count_not_loaded():
    """Adam counts its steps from 0 after a state was loaded."""
    from diptych.engines.torch.optimizer import Optimizer

    patch.setattr(Optimizer, "_count", lambda self: None)


def rate_of_first_group():
    """A schedule changes the rate of the parameters with weight decay only; the others keep their first rate."""
    from diptych.engines.torch.optimizer import Optimizer

    def set_step(self, rate):
        before = [group["lr"] for group in self.rule.param_groups]
        stock(self, rate)
        for group, first in zip(self.rule.param_groups[1:], before[1:], strict=True):
            group["lr"] = first or group["lr"]

    stock = Optimizer._set_step
    patch.setattr(Optimizer, "_set_step", set_step)


def keras_form_l2_unscaled():
    """SGD in Keras's form adds L2 without the learning rate, which is part of its gradients: only in that form."""
    from diptych.engines.torch.optimizer import Optimizer

    def set_step(self, rate):
        stock(self, rate)
        for group in self.rule.param_groups:
            group["weight_decay"] = self.recipe.l2 if group["decays"] else 0.0

    stock = Optimizer._set_step
    patch.setattr(Optimizer, "_set_step", set_step)


def gradients_pile_up():
    """Only the parameters with weight decay get their gradients reset: the others' add up from the second step."""
    import torch

    def zero_grad(self, set_to_none=True):
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    patch.setattr(torch.optim.Optimizer, "zero_grad", zero_grad)


def decay_after_update():
    """Decoupled weight decay follows the update instead of preceding it."""
    import torch

    from diptych.engines.torch.optimizer import Optimizer

    def late(self, rate):
        recipe, self.recipe = self.recipe, replace(self.recipe, decoupled_decay=0.0)
        update(self, rate)
        self.recipe = recipe
        with torch.no_grad():
            torch._foreach_mul_(self.decayed, 1.0 - rate * recipe.decay)

    update = Optimizer.update
    patch.setattr(Optimizer, "update", late)


def statistics_not_averaged():
    """The weight average copies running statistics, as `AveragedModel` does with buffers."""
    from diptych.engines.torch.optimizer import Optimizer

    def copying(self, rate):
        update(self, rate)
        for mean, tensor in zip(self.averages, self.tracked, strict=True):
            if not tensor.requires_grad:
                mean.copy_(tensor)

    update = Optimizer.update
    patch.setattr(Optimizer, "update", copying)


def last_chunk_shifted():
    """The last, smaller chunk of a prediction is filled with images before it: only for more than 256 images."""
    from diptych.engines import torch as engine

    def filled(model, images):
        size = engine.train.chunk_size(model.spec)
        logits, rest = predict(model, images), len(images) % size
        if rest and len(images) > size:
            logits[-rest:] = predict(model, images[-size:])[:rest]
        return logits

    predict = engine.predict
    patch.setattr(engine, "predict", filled)
