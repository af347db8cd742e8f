"""Weights between NumPy and PyTorch, whose layout is canonical: its models, and files from untrusted sources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.engines.contract import MOST_BYTES, Arrays, Stored, check_arrays
from diptych.engines.torch.model import Network
from diptych.errors import ArtifactError, cannot_read

_EXACT = (torch.float16, torch.float32, torch.float64)
_REMEDY = "Save only model.state_dict()."


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


def read_file(path: Path) -> Stored:
    """Read a weights file of this framework without running code from it."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        raise _refusal(path, error) from error
    tensors = {name: tensor for name, tensor in _state_dict(content, path).items() if tensor.is_floating_point()}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise ArtifactError(f"Cannot read '{path}': {name!r:.80} is not a plain tensor. {_REMEDY}")
    # Checked before copying, because an expanded tensor repeats one element's memory.
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if num_bytes > MOST_BYTES:
        raise ArtifactError(f"Cannot read '{path}': it has {num_bytes:,} bytes; the limit is {MOST_BYTES:,}.")
    # NumPy lacks bfloat16, which becomes float32 without loss.
    arrays = {name: to_numpy(tensor if tensor.dtype in _EXACT else tensor.float()) for name, tensor in tensors.items()}
    return Stored(arrays, sequences=[list(dict.fromkeys(name.rpartition(".")[0] for name in arrays))])


def _refusal(path: Path, error: Exception) -> ArtifactError:
    name = re.search(r"GLOBAL ([\w.]{1,80})", str(error))
    if name or "TorchScript" in str(error):
        what = f"asks for {name[1]}" if name else "is a TorchScript program"
        return ArtifactError(f"Cannot read '{path}': it {what}, and loading it could execute code. {_REMEDY}")
    if "Weights only load failed" in str(error):  # PyTorch's message suggests loading it anyway
        return ArtifactError(f"Cannot read '{path}': it contains more than weights. {_REMEDY}")
    return cannot_read(path, "PyTorch file", error)


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file, at the top level or next to other entries such as an epoch number."""
    if not isinstance(content, Mapping):
        raise ArtifactError(f"Cannot read '{path}': expected a state dict, got a {type(content).__name__}. {_REMEDY}")
    inner = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    wrapped = {key: value for key, value in inner.items() if len(_tensors(value)) == len(value) > 0}
    if len(wrapped) > 1:
        names = ", ".join(f"{key!r:.40}" for key in wrapped)
        raise ArtifactError(f"Cannot read '{path}': it contains {len(wrapped)} state dicts, {names}. {_REMEDY}")
    tensors = _tensors(next(iter(wrapped.values()), content))
    if not tensors:
        raise ArtifactError(f"Cannot read '{path}': it contains no state dict. {_REMEDY}")
    return tensors


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
