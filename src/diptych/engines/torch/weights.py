"""Weights between NumPy and PyTorch, whose layout is canonical: its models, and files from untrusted sources."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path, PosixPath, WindowsPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.engines.contract import MOST_BYTES, Arrays, Stored, check_arrays
from diptych.engines.torch.model import Network
from diptych.errors import ArtifactError, cannot_read

_EXACT = (torch.float16, torch.float32, torch.float64)
_REMEDY = "Save only model.state_dict()."
# Values of training scripts, such as their arguments and an accuracy, whose pickles can only hold data.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_ARRAY: Any = np.zeros(0).__reduce__()[0]
_PLAIN: list[Any] = [Namespace, SimpleNamespace, PosixPath, WindowsPath, datetime, timedelta]
_PLAIN += [_SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"), _ARRAY, (_ARRAY, "numpy.core.multiarray._reconstruct")]
_PLAIN += [np.ndarray, np.dtype, *(type(np.dtype(name)) for name in "?bBhHiIlLqQefd")]


def read_weights(model: Network) -> Arrays:
    """Return every array of a model, running statistics included, by canonical name in canonical layout."""
    tensors = variables(model)
    return {array.name: to_numpy(tensors[array.name]) for array in model.spec.arrays}


def load_weights(model: Network, arrays: Mapping[str, np.ndarray]) -> None:
    """Load arrays into a model; raise ArtifactError if names or shapes do not match."""
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


def read_file(path: Path, key: str | None = None) -> Stored:
    """Read a weights file of this framework without running code from it."""
    try:
        with torch.serialization.safe_globals(_PLAIN):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        raise _refusal(path, error) from error
    state, remarks = _state_dict(content, path, key)
    tensors = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise ArtifactError(f"Cannot read '{path}': {name!r:.80} is not a plain tensor. {_REMEDY}")
    # Checked before copying, because an expanded tensor repeats one element's memory.
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if num_bytes > MOST_BYTES:
        raise ArtifactError(f"Cannot read '{path}': it has {num_bytes:,} bytes; the limit is {MOST_BYTES:,}.")
    # NumPy lacks bfloat16, which becomes float32 without loss.
    arrays = {name: to_numpy(tensor if tensor.dtype in _EXACT else tensor.float()) for name, tensor in tensors.items()}
    return Stored(arrays, remarks=remarks)  # without an order: modules may be used in another than they are defined


def _refusal(path: Path, error: Exception) -> ArtifactError:
    name = re.search(r"GLOBAL ([\w.]{1,80})", str(error))
    if name or "TorchScript" in str(error):
        what = f"asks for {name[1]}" if name else "is a TorchScript program"
        return ArtifactError(f"Cannot read '{path}': it {what}, and loading it could execute code. {_REMEDY}")
    if "Weights only load failed" in str(error):  # PyTorch's message suggests loading it anyway
        return ArtifactError(f"Cannot read '{path}': it contains more than weights. {_REMEDY}")
    return cannot_read(path, "PyTorch file", error)


def _state_dict(content: Any, path: Path, key: str | None) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the state dict called `key`, or the only one, and a remark about the entries that are not used."""
    if not isinstance(content, Mapping):
        raise ArtifactError(f"Cannot read '{path}': expected a state dict, got a {type(content).__name__}. {_REMEDY}")
    states = dict(_state_dicts(content)) or {".": content}
    choices = " or ".join(f"--key {name:.80}" for name in states)
    if key is None and len(states) > 1:
        raise ArtifactError(f"'{path}' contains {len(states)} state dicts: choose with {choices}.")
    if key is not None and key not in states:
        raise ArtifactError(f"'{path}' has no state dict '{key}'; expected {choices}.")
    name = key or next(iter(states))
    tensors = _tensors(states[name])
    if not tensors:
        raise ArtifactError(f"Cannot read '{path}': it contains no state dict. {_REMEDY}")
    others = [f"{other!s:.40}" for other in content if other != name.partition(".")[0]]
    rest = f"; not used: {', '.join(others[:6])}{', …' if others[6:] else ''}" if others else ""
    return tensors, () if name == "." else (f"weights from the entry '{name}'{rest}",)


def _state_dicts(content: Mapping[Any, Any]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield each dict that has a kernel (a tensor of two or more axes), by its keys, `.` for the outermost."""
    todo, seen = [("", content)], set[int]()
    while todo:
        name, entries = todo.pop(0)
        if id(entries) not in seen and any(tensor.ndim > 1 for tensor in _tensors(entries).values()):
            yield name or ".", entries
        inner = {} if id(entries) in seen else entries
        seen.add(id(entries))
        for key, value in inner.items():
            if isinstance(key, str) and isinstance(value, Mapping) and not key.startswith("optim"):
                todo.append((f"{name}.{key}".lstrip("."), value))


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
