"""Build a spec as an `nn.Module`; corresponds case by case to the TensorFlow engine's model.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from diptych.engines import masks
from diptych.engines.contract import Pixels
from diptych.engines.torch.runtime import device
from diptych.errors import SpecError
from diptych.spec import Layer, ModelSpec
from diptych.spec import layers as L


class Network(nn.Module):
    """The graph of a spec: modules with the layers' dotted names, run in the spec's order."""

    def __init__(self, spec: ModelSpec, precision: str, plain: Pixels | None) -> None:
        super().__init__()
        self.spec = spec
        self.precision, self.reduced = precision, precision in ("bfloat16", "float16")
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        for layer in spec.layers:
            _attach(self, layer.name, _module(layer, spec.input_shapes(layer), plain))

    def forward(self, images_nhwc: Tensor) -> Tensor:
        """Return logits, (N, K), of images, (N, H, W, C)."""
        return self.outputs(images_nhwc)[self.spec.layers[-1].name]

    def outputs(self, images_nhwc: Tensor) -> dict[str, Tensor]:
        """Return the output of every layer; maps as (N, C, H, W)."""
        # differs: image-layout
        values = {"input": images_nhwc.permute(0, 3, 1, 2)}
        for layer in self.spec.layers:
            values[layer.name] = self.run(layer, *[values[name] for name in layer.inputs])
        return values

    def run(self, layer: Layer, *inputs: Tensor) -> Tensor:
        """Return the output of one layer; in reduced precision, the first and the last one compute in float32."""
        module: Any = self
        for part in layer.name.split("."):  # at each call, so that a layer can be replaced
            module = module._modules[part]
        # differs: mixed-precision
        if not self.reduced or layer is self.spec.layers[0]:
            return cast(Tensor, module(*inputs))
        if layer is self.spec.layers[-1]:
            return cast(Tensor, module(*(one.float() for one in inputs)))
        dtype = getattr(torch, self.precision)
        with torch.autocast(inputs[0].device.type, dtype):
            return cast(Tensor, module(*(one.to(dtype) for one in inputs)))

    def __prepare_scriptable__(self) -> nn.Module:
        """Return the same layers, called one after the other, for `torch.jit.script`."""
        if self.reduced or any(isinstance(module, BiasedBatchNorm) for module in self.modules()):
            raise SpecError("TorchScript cannot script autocast or a biased running variance; use torch.jit.trace.")
        traced = fx.symbolic_trace(self)
        for node in traced.graph.nodes:
            node.type = None  # TorchScript does not know the annotations of `forward`, which are texts
        traced.recompile()
        return traced


def build(spec: ModelSpec, precision: str = "float32", plain: Pixels | None = None) -> Network:
    """Build the model of `spec`: uint8 images, (N, H, W, C), in; float logits, (N, K), out."""
    network = Network(spec, precision, plain)
    return cast(Network, network.to(device(), network.dtype).to(memory_format=torch.channels_last))


def _attach(root: nn.Module, name: str, module: nn.Module) -> None:
    *path, last = name.split(".")
    for part, child in [*((part, nn.Module()) for part in path), (last, module)]:
        if not hasattr(root, part):
            root.add_module(part, child)
        root = getattr(root, part)
        if not isinstance(root, nn.Module):
            raise SpecError(f"Layer '{name}': '{part}' is an attribute of PyTorch's modules; choose another name.")


def set_masks(model: Network, seed: int, step: int) -> None:
    """Choose the dropout masks of the next forward passes in training."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.key = masks.key(seed, step, module.layer.name)


def _module(layer: Layer, inputs: tuple[L.Shape, ...], plain: Pixels | None) -> nn.Module:  # noqa: PLR0912  (a table)
    channels = inputs[0][-1]
    match layer:
        case L.Normalize(mean=mean, std=std):
            return Normalize(mean, std, plain or "uint8")
        case L.Conv():
            return _conv(layer, channels)
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
        case L.Dropout():
            # differs: dropout-stream
            stock = {"element": nn.Dropout, "channel": nn.Dropout2d, "sample": partial(DropPath, len(inputs[0]))}
            return stock[layer.mode](layer.rate) if plain else Dropout(layer, inputs[0])
        case L.Add():
            return Lambda(_sum)
        case L.Concat():
            return Lambda(_concatenation)
        case L.PadChannels(before=before, after=after):
            return Lambda(partial(F.pad, pad=(0, 0) * (len(inputs[0]) - 1) + (before, after)))


def _conv(layer: L.Conv, channels: int) -> nn.Module:
    # differs: same-padding
    top, bottom, left, right = layer.padding
    shape = (channels, layer.filters, layer.kernel, layer.strides)
    settings: dict[str, Any] = {"groups": layer.groups, "bias": layer.use_bias}
    if (top, left) == (bottom, right):
        return nn.Conv2d(*shape, (top, left), **settings)
    return PaddedConv2d((left, right, top, bottom), *shape, **settings)


def _activation(layer: L.Activation) -> nn.Module:
    match layer.function:
        case "leaky_relu":
            # differs: leaky-relu
            return nn.LeakyReLU(layer.slope)
        case "gelu":
            # differs: gelu
            return nn.GELU(approximate="none")
        case "relu" | "silu" | "tanh" | "sigmoid" as name:
            return {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[name]()


class Normalize(nn.Module):
    """`(pixels / 255 − mean) / std`; its constants are not weights."""

    scale: Tensor
    offset: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], pixels: Pixels) -> None:
        super().__init__()
        self.pixels = pixels
        scale, offset = (torch.tensor(one, dtype=torch.float64).view(-1, 1, 1) for one in L.scale_and_offset(mean, std))
        self.register_buffer("scale", scale * 255.0 if pixels == "0-1" else scale, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Return normalized floats of pixels; raise TypeError for another number format."""
        return _accepted(images_nchw, self.pixels) * self.scale + self.offset


@fx.wrap
def _accepted(images: Tensor, pixels: str) -> Tensor:
    if (pixels == "uint8" and images.dtype != torch.uint8) or (pixels == "0-1" and not images.is_floating_point()):
        raise TypeError(f"Expected images='{pixels}', got {images.dtype}; build the model with another 'images'.")
    return images


class PaddedConv2d(nn.Conv2d):
    """A convolution with separate padding for each side: left, right, top, bottom."""

    def __init__(self, margins: tuple[int, int, int, int], *shape: Any, **settings: Any) -> None:
        super().__init__(*shape, **settings)
        self.margins = margins

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (PyTorch's name)
        """Return the convolved maps, (N, filters, height, width)."""
        return super().forward(F.pad(input, self.margins))


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


class Dropout(nn.Module):
    """Dropout with the masks of `engines.masks`, drawn by `key`."""

    def __init__(self, layer: L.Dropout, shape: L.Shape) -> None:
        super().__init__()
        self.layer, self.key = layer, masks.key(0, 0, layer.name)
        self.offsets = torch.from_numpy(masks.offsets(layer, shape).view(np.int32))

    def forward(self, values: Tensor) -> Tensor:
        """Return the values with some of them zero and the others scaled, in training."""
        if not (self.training and self.layer.rate):
            return values
        # PyTorch has few operations on uint32. int32 wraps around alike, but its shifts and comparisons are signed.
        self.offsets = self.offsets.to(values.device)
        words = torch.arange(len(values), dtype=torch.int32, device=values.device)
        words = words.mul_(_signed(self.offsets.numel() * masks.STRIDE)).add_(_signed(self.key))
        words = words.view(-1, *[1] * self.offsets.ndim) + self.offsets
        for shift, factor in masks.ROUNDS:
            words ^= (words >> shift).bitwise_and_((1 << (32 - shift)) - 1)
            words *= _signed(factor)
        kept = (words ^ _signed(1 << 31)) >= _signed(masks.least(self.layer.rate) ^ 1 << 31)
        factors = kept.to(values.dtype).mul_(1.0 / (1.0 - self.layer.rate))
        return values * (factors.permute(0, 3, 1, 2) if factors.ndim == 4 else factors)


class DropPath(nn.Module):
    """Dropout of whole samples with PyTorch's own generator, for plain models."""

    def __init__(self, num_axes: int, rate: float) -> None:
        super().__init__()
        self.shape, self.dropout = (1,) * num_axes, nn.Dropout(rate)

    def forward(self, values: Tensor) -> Tensor:
        """Return the values with some samples zero and the others scaled, in training."""
        return values * self.dropout(values.new_ones((values.shape[0], *self.shape)))


def _signed(word: int) -> int:
    """Return the int32 with the bits of a 32-bit word."""
    return (word + 2**31) % 2**32 - 2**31


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
