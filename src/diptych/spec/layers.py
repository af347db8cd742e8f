"""The layers of a model, one frozen dataclass each.

Shapes are NHWC without the batch: `(height, width, channels)` for maps and `(features,)` for vectors.
Arrays have canonical names and layouts, which are PyTorch's (see ARCHITECTURE.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias

from diptych.spec.typed import Count, Natural, NonNegative, Positive, Share

Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[Count, Count]
Padding: TypeAlias = tuple[Natural, Natural, Natural, Natural]
Initializer: TypeAlias = Literal["he_normal", "glorot_uniform", "uniform_fan_in", "zeros", "ones"]
Role: TypeAlias = Literal["kernel", "bias", "scale", "shift", "mean", "variance"]
RunningVariance: TypeAlias = Literal["unbiased", "biased"]
DropoutMode: TypeAlias = Literal["element", "channel", "sample"]
Function: TypeAlias = Literal["relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid"]


@dataclass(frozen=True)
class ArraySpec:
    """One array of a model, in canonical (PyTorch) layout."""

    name: str
    """Canonical name, such as `layer1.0.conv1.weight`."""
    shape: Shape
    role: Role
    """The array's purpose in its layer; running statistics are `mean` and `variance`."""
    initializer: Initializer
    fan_in: int = 1
    """Number of inputs of one output, for the initializer."""
    fan_out: int = 1

    @property
    def trainable(self) -> bool:
        """Whether the array has a gradient; running statistics have none."""
        return self.role not in ("mean", "variance")

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Node:
    """Base of all layers: a name, and the names of its inputs."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Normalize(Node):
    """`(pixels / 255 − mean) / std` per channel; the first layer of every model."""

    mean: tuple[float, ...]
    std: tuple[Positive, ...]


@dataclass(frozen=True)
class Conv(Node):
    """Two-dimensional convolution (cross-correlation). `padding` is (top, bottom, left, right) zeros."""

    filters: Count
    kernel: Pair
    strides: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: Count = 1
    use_bias: bool = True
    initializer: Initializer = "he_normal"
    bias_initializer: Initializer = "zeros"


@dataclass(frozen=True)
class BatchNorm(Node):
    """Batch normalization over the last axis. `decay` is the weight of the *old* running statistics.

    `running_variance` is averaged over batch variances that are unbiased (PyTorch) or biased (Keras).
    """

    decay: Share = 0.9
    epsilon: Positive = 1e-5
    running_variance: RunningVariance = "unbiased"


@dataclass(frozen=True)
class Activation(Node):
    """An elementwise function; `slope` is for negative inputs of `leaky_relu`. `gelu` is exact."""

    function: Function = "relu"
    slope: NonNegative = 0.01


@dataclass(frozen=True)
class Pool(Node):
    """Base of both kinds of pooling; padding is equal on opposite sides."""

    kernel: Pair
    strides: Pair
    padding: Padding = (0, 0, 0, 0)


@dataclass(frozen=True)
class MaxPool(Pool):
    """Maximum over windows; padding is minus infinity."""


@dataclass(frozen=True)
class AvgPool(Pool):
    """Mean over windows; padding is excluded from the divisor."""


@dataclass(frozen=True)
class GlobalAvgPool(Node):
    """Mean over height and width."""


@dataclass(frozen=True)
class Flatten(Node):
    """Flatten a map into a vector in channel, height, width order."""


@dataclass(frozen=True)
class Dense(Node):
    """Fully connected layer."""

    units: Count
    use_bias: bool = True
    initializer: Initializer = "he_normal"
    bias_initializer: Initializer = "zeros"


@dataclass(frozen=True)
class Dropout(Node):
    """In training, zero each element with probability `rate` and scale the others by 1/(1 − rate).

    Mode `channel` drops whole channels of a map (PyTorch's Dropout2d, Keras's SpatialDropout2D), `sample` the whole
    input of a sample (DropPath, stochastic depth).
    """

    rate: Share = 0.5
    mode: DropoutMode = "element"


@dataclass(frozen=True)
class Add(Node):
    """Elementwise sum of two or more inputs of the same shape."""


@dataclass(frozen=True)
class Concat(Node):
    """Concatenation of the inputs along the channels."""


@dataclass(frozen=True)
class PadChannels(Node):
    """Zero channels before and after: the parameter-free shortcut (option A) of He et al. 2015."""

    before: Natural
    after: Natural


Layer: TypeAlias = (
    Normalize | Conv | BatchNorm | Activation | MaxPool | AvgPool | GlobalAvgPool
    | Flatten | Dense | Dropout | Add | Concat | PadChannels
)  # fmt: skip


def scale_and_offset(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """Return the factors of `pixels * scale + offset` per channel, the form of Normalize that both engines compute."""
    scale = [1.0 / (255.0 * deviation) for deviation in std]
    offset = [-average / deviation for average, deviation in zip(mean, std, strict=True)]
    return scale, offset
