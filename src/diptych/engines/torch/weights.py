"""Weights between NumPy and PyTorch; the canonical names and layouts are PyTorch's own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from diptych.engines.contract import Arrays, check_arrays
from diptych.engines.torch.model import Network

__all__ = ["load_weights", "read_weights", "variables"]


def read_weights(model: Network) -> Arrays:
    """Every array of a model, running statistics included, by canonical name in canonical layout."""
    tensors = variables(model)
    return {array.name: to_numpy(tensors[array.name]) for array in model.spec.arrays}


def load_weights(model: Network, arrays: Mapping[str, np.ndarray]) -> None:
    """Put arrays into a model."""
    check_arrays(arrays, model.spec.arrays, f"the weights of {model.spec.name}")
    tensors = variables(model)
    for array in model.spec.arrays:
        from_numpy(tensors[array.name], arrays[array.name])


def variables(model: Network) -> dict[str, Tensor]:
    """The model's own storage of every array, by canonical name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A copy in canonical layout."""
    # differs: conv-kernel-axes, dense-kernel-axes
    return np.array(tensor.detach().cpu().numpy(), order="C")


def from_numpy(tensor: Tensor, array: np.ndarray) -> None:
    """Overwrite a tensor with an array in canonical layout."""
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))
