"""Writes a model layer by layer: each call takes the last layer's output unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diptych.spec import layers as L
from diptych.spec.layers import Layer
from diptych.spec.model import ModelSpec


class Graph:
    """A model in the making.

    Example:
        >>> graph = Graph((28, 28, 1), mean=(0.5,), std=(0.25,))
        >>> graph.add(L.Flatten, "flatten")
        'flatten'
        >>> graph.add(L.Dense, "linear", units=10)
        'linear'
        >>> graph.model("softmax_regression").num_parameters
        7850
    """

    def __init__(self, input_shape: tuple[int, int, int], mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.input_shape = input_shape
        self.layers: list[Layer] = []
        self.add(L.Normalize, "normalize", inputs=("input",), mean=mean, std=std)

    @property
    def last(self) -> str:
        """Name of the layer added last."""
        return self.layers[-1].name

    def add(self, kind: Callable[..., Layer], name: str, *, inputs: tuple[str, ...] = (), **settings: Any) -> str:
        """Append a layer that reads `inputs` (or the last layer) and return its name."""
        self.layers.append(kind(name=name, inputs=inputs or (self.last,), **settings))
        return name

    def conv(self, name: str, filters: int, kernel: int = 3, stride: int = 1, padding: int = 0, **settings: Any) -> str:
        """Append a square convolution with the same padding on all four sides."""
        return self.add(
            L.Conv,
            name,
            filters=filters,
            kernel=(kernel, kernel),
            strides=(stride, stride),
            padding=(padding,) * 4,
            **settings,
        )

    def max_pool(self, name: str, size: int = 2) -> str:
        """Append a max-pooling over windows side by side."""
        return self.add(L.MaxPool, name, kernel=(size, size), strides=(size, size))

    def relu(self, name: str) -> str:
        """Append a ReLU."""
        return self.add(L.Activation, name, function="relu")

    def model(self, name: str) -> ModelSpec:
        """The finished model."""
        return ModelSpec(name, self.input_shape, tuple(self.layers))
