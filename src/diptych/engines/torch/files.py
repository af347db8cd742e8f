"""Read weights files of PyTorch from untrusted sources: only tensors are loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.engines.contract import MOST_BYTES, Stored
from diptych.errors import ArtifactError, in_one_line

_EXACT = (torch.float16, torch.float32, torch.float64)
_REMEDY = "Save only model.state_dict()."


def read_file(path: Path) -> Stored:
    """Read a weights file of this framework without running code from it."""
    tensors = {name: tensor for name, tensor in _state_dict(_loaded(path), path).items() if tensor.is_floating_point()}
    odd = next((name for name, tensor in tensors.items() if not _is_plain(tensor)), None)
    if odd:
        raise ArtifactError(f"Cannot read '{path}': {odd!r:.80} is not a plain tensor. {_REMEDY}")
    # Checked before copying, because an expanded tensor repeats one element's memory.
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if num_bytes > MOST_BYTES:
        raise ArtifactError(f"Cannot read '{path}': it holds {num_bytes:,} bytes; the limit is {MOST_BYTES:,}.")
    arrays = {name: _to_numpy(tensor) for name, tensor in tensors.items()}
    return Stored(arrays, sequences=(tuple(dict.fromkeys(name.rpartition(".")[0] for name in arrays)),))


def _loaded(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        raise ArtifactError(f"Cannot read '{path}': {_fault(error)}") from error


def _fault(error: Exception) -> str:
    name = re.search(r"GLOBAL ([\w.]{1,80})", str(error))
    if name or "TorchScript" in str(error):
        what = f"asks for {name[1]}" if name else "is a TorchScript program"
        return f"it {what}, and loading it could execute code. {_REMEDY}"
    if "Weights only load failed" in str(error):  # PyTorch's message advises to load it all the same
        return f"it holds more than weights. {_REMEDY}"
    return f"the PyTorch file is corrupt or truncated ({in_one_line(error)})."


def _state_dict(content: Any, path: Path) -> Mapping[str, Tensor]:
    """Return the state dict that the file is, or that it contains beside epoch numbers and the like."""
    if not isinstance(content, Mapping):
        raise ArtifactError(f"Cannot read '{path}': expected a state dict, got a {type(content).__name__}. {_REMEDY}")
    wrapped = [key for key, value in content.items() if isinstance(value, Mapping) and _is_state_dict(value)]
    if len(wrapped) > 1:
        names = ", ".join(f"{key!r:.40}" for key in wrapped)
        raise ArtifactError(f"Cannot read '{path}': it holds {len(wrapped)} state dicts, {names}. {_REMEDY}")
    tensors = _tensors(content[wrapped[0]] if wrapped else content)
    if not tensors:
        raise ArtifactError(f"Cannot read '{path}': it holds no state dict. {_REMEDY}")
    return tensors


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _is_state_dict(content: Mapping[Any, Any]) -> bool:
    return len(_tensors(content)) == len(content) > 0


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized


def _to_numpy(tensor: Tensor) -> np.ndarray:
    """Return a copy; bfloat16, which NumPy lacks, becomes float32 without loss."""
    return np.array(tensor.detach().to(tensor.dtype if tensor.dtype in _EXACT else torch.float32).numpy(), order="C")
