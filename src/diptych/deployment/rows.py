"""Weights behind a Flatten, from a file's order of a map's elements to the canonical one: channel, height, width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.engines.contract import Arrays
from diptych.errors import ArtifactError
from diptych.spec import ModelSpec
from diptych.spec import layers as L


def canonical_rows(spec: ModelSpec, arrays: Arrays, permutes: Sequence[str] | None, where: str) -> Arrays:
    """A file's arrays with those behind a Flatten in canonical order.

    Args:
        spec: the model.
        arrays: by canonical name; changed nowhere.
        permutes: the file's layers that reorder axes; None where it flattens in canonical order.
        where: what to call the file.

    Raises:
        ArtifactError: what stands behind a Flatten cannot be followed.
    """
    # differs: flatten-order
    if permutes is None:
        return arrays
    found = dict(arrays)
    for name, flatten in _behind(spec, permutes, where).items():
        height, width, channels = spec.input_shapes(flatten)[0]
        order = np.arange(height * width * channels).reshape(height, width, channels).transpose(2, 0, 1).ravel()
        for array in spec.arrays:
            if spec.owner(array).name == name and (array.role == "kernel" or isinstance(spec.layer(name), L.BatchNorm)):
                found[array.name] = found[array.name][..., order]
    return found


def _behind(spec: ModelSpec, permutes: Sequence[str], where: str) -> dict[str, L.Flatten]:
    """Layers that see the elements of a flattened map one by one, in the file's order."""
    ours = {f"{layer.name}.permute" for layer in spec.layers}
    behind: dict[str, L.Flatten] = {}
    seeing: dict[str, L.Flatten] = {}
    for layer in spec.layers:
        flattens = [seeing[name] for name in layer.inputs if name in seeing]
        if isinstance(layer, L.Flatten) and _matters(spec, layer) and f"{layer.name}.permute" not in permutes:
            seeing[layer.name] = layer
        elif flattens and isinstance(layer, L.Dense | L.BatchNorm):
            behind[layer.name] = flattens[0]
        if flattens and isinstance(layer, L.Activation | L.Dropout | L.BatchNorm | L.Flatten):
            seeing[layer.name] = flattens[0]
        elif flattens and not isinstance(layer, L.Dense):
            raise _lost(where, f"'{layer.name}' mixes what '{flattens[0].name}' gives")
    foreign = [name for name in permutes if name not in ours]
    if foreign and behind:
        raise _lost(where, f"its layer '{foreign[0]}' reorders axes")
    return behind


def _matters(spec: ModelSpec, flatten: L.Flatten) -> bool:
    shape = spec.input_shapes(flatten)[0]
    return len(shape) == 3 and shape[0] * shape[1] > 1 and shape[2] > 1


def _lost(where: str, reason: str) -> ArtifactError:
    return ArtifactError(
        f"Cannot load '{where}': {reason}, so the order of the weights behind its Flatten is not known. "
        "Transfer a file that diptych wrote, or one of PyTorch's."
    )
