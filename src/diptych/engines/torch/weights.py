"""Weights between NumPy and PyTorch, whose names and layouts are canonical."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from diptych.engines.contract import Arrays, check_arrays
from diptych.engines.torch.model import Network


def read_weights(model: Network) -> Arrays:
    """Return every array of a model, running statistics included, by canonical name in canonical layout."""
    tensors = variables(model)
    return {array.name: to_numpy(tensors[array.name]) for array in model.spec.arrays}


def load_weights(model: Network, arrays: Mapping[str, np.ndarray]) -> None:
    """Load arrays into a model."""
    check_arrays(arrays, model.spec.arrays, f"the weights of {model.spec.name}")
    tensors = variables(model)
    for array in model.spec.arrays:
        from_numpy(tensors[array.name], arrays[array.name])


def variables(model: Network) -> dict[str, Tensor]:
    """Return the model's variable of every array, by canonical name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Return a copy in canonical layout."""
    # differs: conv-kernel-axes, dense-kernel-axes
    return np.array(tensor.detach().cpu().numpy(), order="C")


def from_numpy(tensor: Tensor, array: np.ndarray) -> None:
    """Set a tensor to an array in canonical layout."""
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))
