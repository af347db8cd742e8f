"""A model as a graph of named layers, with its shapes, arrays and costs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from diptych.errors import SpecError
from diptych.spec import arithmetic
from diptych.spec import layers as L
from diptych.spec.layers import ArraySpec, Layer, Normalize, Shape
from diptych.spec.typed import Count, check_types

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class ModelSpec:
    """A classifier: `uint8` images in, logits out."""

    name: str
    """Letters, digits, `_`, `-` and `.`; also used in file names."""
    input_shape: tuple[Count, Count, Count]
    """(height, width, channels) of the images."""
    layers: tuple[Layer, ...]
    """Each layer follows its inputs; the last one returns the logits."""

    def __post_init__(self) -> None:
        """Check the whole graph; raise SpecError, which names the layer, if it is invalid. Other code relies on it."""
        check_types(self, "Model spec: ")
        if not _NAME.fullmatch(self.name):
            raise SpecError(f"Model {self.name!r:.60}: the name must consist of letters, digits, '_', '-' and '.'.")
        for layer in self.layers:
            check_types(layer, f"Layer '{layer.name}' ({type(layer).__name__}): ")
        if not self.layers or not isinstance(self.layers[0], Normalize):
            raise SpecError(f"Model '{self.name}': the first layer must be a Normalize layer.")
        self._check_names()
        if not self.trainable:
            raise SpecError(f"Model '{self.name}': no layer has trainable weights; add a Dense layer.")
        last = self.layers[-1].name
        if len(self.shapes[last]) != 1:
            raise SpecError(f"Layer '{last}': the last layer must output a vector, got shape {self.shapes[last]}.")

    def _check_names(self) -> None:
        known = {"input"}
        for layer in self.layers:
            where = f"Layer '{layer.name}'"
            if missing := [name for name in layer.inputs if name not in known]:
                raise SpecError(f"{where}: its input '{missing[0]}' is not a preceding layer.")
            if layer.name in known or not all(part.isidentifier() or part.isdigit() for part in layer.name.split(".")):
                raise SpecError(f"{where}: names must be unique and consist of letters, digits, '_' and '.'.")
            if layer.name == "images":
                raise SpecError(f"{where}: this name is reserved for the model's input.")
            if isinstance(layer, Normalize) != (layer.inputs == ("input",)):
                raise SpecError(f"{where}: 'input' must be the input of the Normalize layer only.")
            known.add(layer.name)
        used = {name for layer in self.layers for name in layer.inputs}
        if dangling := [layer.name for layer in self.layers[:-1] if layer.name not in used]:
            raise SpecError(f"Layer '{dangling[0]}': no layer uses its output; remove or connect it.")
        for outer, name in pairwise(sorted(known)):  # "." sorts before every other character of a name
            if name.startswith(f"{outer}."):
                raise SpecError(f"Layer '{name}': names that begin with '{outer}.' conflict with layer '{outer}'.")

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Output shapes of `input` and of every layer, without the batch."""
        shapes: dict[str, Shape] = {"input": self.input_shape}
        for layer in self.layers:
            shapes[layer.name] = arithmetic.output_shape(layer, tuple(shapes[name] for name in layer.inputs))
        return shapes

    def input_shapes(self, layer: Layer) -> tuple[Shape, ...]:
        """Return the shapes of the layer's inputs."""
        return tuple(self.shapes[name] for name in layer.inputs)

    @cached_property
    def arrays(self) -> tuple[ArraySpec, ...]:
        """All arrays, in layer order."""
        return tuple(array for layer in self.layers for array in arithmetic.arrays(layer, self.input_shapes(layer)))

    @property
    def trainable(self) -> tuple[ArraySpec, ...]:
        """The trainable arrays."""
        return tuple(array for array in self.arrays if array.trainable)

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(array.size for array in self.trainable)

    @cached_property
    def flops(self) -> int:
        """Floating-point operations of one image's forward pass; a multiply-add counts as two."""
        return sum(arithmetic.flops(layer, self.input_shapes(layer), self.shapes[layer.name]) for layer in self.layers)

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self.shapes[self.layers[-1].name][0]

    @property
    def head(self) -> tuple[Layer, ...]:
        """The last layer with a unit for each class, and the layers after it."""
        places = [place for place, layer in enumerate(self.layers) if isinstance(layer, L.Dense | L.Conv)]
        return self.layers[places[-1] :]

    def with_classes(self, num_classes: int) -> ModelSpec:
        """Return the model for another number of classes; raise SpecError if its layers do not end in one head."""
        first, *rest = self.head
        size: dict[str, Any] = {"units" if isinstance(first, L.Dense) else "filters": num_classes}
        if any(after.inputs != (before.name,) for before, after in pairwise(self.head)):
            raise SpecError(f"Model '{self.name}' has no single last layer; its classes cannot be changed.")
        return replace(self, layers=(*self.layers[: -len(self.head)], replace(first, **size), *rest))

    def layer(self, name: str) -> Layer:
        """Return the layer called `name`."""
        return next(layer for layer in self.layers if layer.name == name)

    def array(self, name: str) -> ArraySpec:
        """Return the array called `name`."""
        return next(array for array in self.arrays if array.name == name)

    def owner(self, array: ArraySpec) -> Layer:
        """Return the layer of `array`."""
        return self.layer(array.name.rpartition(".")[0])

    def flatten_behind(self, layer: Layer) -> L.Flatten | None:
        """Return the Flatten of a map that reaches `layer` through elementwise layers, or None."""
        while isinstance(layer, L.Activation | L.Dropout):
            layer = self.layer(layer.inputs[0])
        return layer if isinstance(layer, L.Flatten) and len(self.input_shapes(layer)[0]) == 3 else None

    def only_feeds_dense(self, layer: Layer) -> bool:
        """Whether the output of `layer` reaches only Dense layers, directly or through elementwise layers."""
        users = [user for user in self.layers if layer.name in user.inputs]
        return bool(users) and all(
            isinstance(user, L.Dense) or (isinstance(user, L.Activation | L.Dropout) and self.only_feeds_dense(user))
            for user in users
        )

    @property
    def is_chain(self) -> bool:
        """Whether each layer reads only the previous one."""
        return all(after.inputs == (before.name,) for before, after in pairwise(self.layers))
