"""Build a spec as an `nn.Module`; corresponds case by case to the TensorFlow engine's model.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from diptych.engines.torch.runtime import device
from diptych.errors import SpecError
from diptych.spec import ModelSpec
from diptych.spec import layers as L
from diptych.spec.layers import Layer


class Network(nn.Module):
    """The graph of a spec: modules with the layers' dotted names, run in the spec's order."""

    def __init__(self, spec: ModelSpec, precision: str) -> None:
        super().__init__()
        self.spec = spec
        self.precision = precision
        self.steps: list[tuple[str, tuple[str, ...], nn.Module]] = []
        for layer in spec.layers:
            module = _module(layer, spec.input_shapes(layer))
            _attach(self, layer.name, module)
            self.steps.append((layer.name, layer.inputs, module))

    def forward(self, images_nhwc: Tensor) -> Tensor:
        """Return logits, (N, K), of uint8 images, (N, H, W, C)."""
        # differs: image-layout
        values = {"input": images_nhwc.permute(0, 3, 1, 2)}
        # differs: mixed-precision
        reduced = self.precision in ("bfloat16", "float16")
        with torch.autocast(images_nhwc.device.type, getattr(torch, self.precision), enabled=reduced):
            for name, inputs, module in self.steps[:-1]:
                values[name] = module(*(values[source] for source in inputs))
        name, inputs, head = self.steps[-1]
        last = [values[source] for source in inputs]
        return head(*([value.float() for value in last] if reduced else last))


def build(spec: ModelSpec, precision: str = "float32") -> Network:
    """Build the model of `spec`: uint8 images, (N, H, W, C), in; float logits, (N, K), out."""
    dtype = torch.float64 if precision == "float64" else torch.float32
    network = Network(spec, precision).to(device=device(), dtype=dtype)
    return cast(Network, network.to(memory_format=torch.channels_last))


def _attach(root: nn.Module, name: str, module: nn.Module) -> None:
    *path, last = name.split(".")
    for part, child in [*((part, nn.Module()) for part in path), (last, module)]:
        if not hasattr(root, part):
            root.add_module(part, child)
        root = getattr(root, part)
        if not isinstance(root, nn.Module):
            raise SpecError(f"Layer '{name}': '{part}' is an attribute of PyTorch's modules; choose another name.")


def _module(layer: Layer, inputs: tuple[L.Shape, ...]) -> nn.Module:  # noqa: PLR0912  (a table)
    channels = inputs[0][-1]
    match layer:
        case L.Normalize(mean=mean, std=std):
            return Normalize(mean, std)
        case L.Conv():
            return Conv2d(layer, channels)
        case L.BatchNorm():
            # differs: norm-epsilon, norm-momentum, norm-running-variance
            stock = nn.BatchNorm2d if len(inputs[0]) == 3 else nn.BatchNorm1d
            norm = BiasedBatchNorm if layer.running_variance == "biased" else stock
            return norm(channels, eps=layer.epsilon, momentum=1.0 - layer.decay)
        case L.Activation():
            return _activation(layer)
        case L.MaxPool():
            # differs: max-pool-padding
            return nn.MaxPool2d(layer.kernel, layer.strides, padding=layer.padding[::2])
        case L.AvgPool():
            # differs: avg-pool-padding
            return nn.AvgPool2d(layer.kernel, layer.strides, padding=layer.padding[::2], count_include_pad=False)
        case L.GlobalAvgPool():
            return Lambda(partial(torch.mean, dim=(2, 3)))
        case L.Flatten():
            # differs: flatten-order
            return nn.Flatten()
        case L.Dense(units=units, use_bias=use_bias):
            return nn.Linear(channels, units, bias=use_bias)
        case L.Dropout(rate=rate):
            # differs: dropout-stream
            return nn.Dropout(rate)
        case L.Add():
            return Lambda(_sum)
        case L.Concat():
            return Lambda(_concatenation)
        case L.PadChannels(before=before, after=after):
            return Lambda(partial(F.pad, pad=(0, 0) * (len(inputs[0]) - 1) + (before, after)))


def _activation(layer: L.Activation) -> nn.Module:
    match layer.function:
        case "relu":
            return nn.ReLU()
        case "leaky_relu":
            # differs: leaky-relu
            return nn.LeakyReLU(layer.slope)
        case "gelu":
            # differs: gelu
            return nn.GELU(approximate="none")
        case "silu":
            return nn.SiLU()
        case "tanh":
            return nn.Tanh()
        case "sigmoid":
            return nn.Sigmoid()


class Normalize(nn.Module):
    """`(pixels / 255 − mean) / std`; its constants are not weights."""

    scale: Tensor
    offset: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        scale, offset = L.scale_and_offset(mean, std)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64).view(-1, 1, 1), persistent=False)
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float64).view(-1, 1, 1), persistent=False)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Return normalized floats of pixels in any number format."""
        return images_nchw * self.scale + self.offset


class Conv2d(nn.Conv2d):
    """A convolution with separate padding for each side."""

    def __init__(self, layer: L.Conv, channels: int) -> None:
        # differs: same-padding
        top, bottom, left, right = layer.padding
        symmetric = top == bottom and left == right
        padding = (top, left) if symmetric else 0
        settings = {"groups": layer.groups, "bias": layer.use_bias}
        super().__init__(channels, layer.filters, layer.kernel, layer.strides, padding, **settings)
        self.margins = None if symmetric else (left, right, top, bottom)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (PyTorch's name)
        """Return the convolved maps, (N, filters, height, width)."""
        return super().forward(F.pad(input, self.margins) if self.margins else input)


class BiasedBatchNorm(_BatchNorm):
    """Batch normalization of maps or vectors whose running variance is biased, as in Keras's layer."""

    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  (PyTorch's name)
        """Accept maps and vectors."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (PyTorch's name)
        """Return normalized values of the same shape; in training, update the running statistics."""
        if not self.training:
            return super().forward(input)
        # A copy, because the backward pass needs the tensor that the kernel updates unchanged.
        updated = self.running_var.clone()
        output = F.batch_norm(input, self.running_mean, updated, self.weight, self.bias, True, self.momentum, self.eps)
        share = input.shape[1] / input.numel()
        self.running_var.mul_((1.0 - self.momentum) * share).add_(updated, alpha=1.0 - share)
        return output


def _sum(first: Tensor, *others: Tensor) -> Tensor:
    return sum(others, start=first)


def _concatenation(*inputs: Tensor) -> Tensor:
    return torch.cat(inputs, dim=1)


class Lambda(nn.Module):
    """A layer without weights, as a function that can be pickled with the model."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the function's value."""
        return self.function(*inputs)
