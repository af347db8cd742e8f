"""Read weights files of Keras from untrusted sources: HDF5 and JSON are parsed, no layer is built."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from diptych.engines.contract import Arrays, Stored
from diptych.engines.hdf5 import Tree, read_tree
from diptych.errors import ArtifactError, in_one_line

Config: TypeAlias = Mapping[str, Any] | None
_OPTIMIZERS = ("optimizer", "_optimizer", "optimizer_weights")
# Layer classes, and the names under which Keras 3 numbers them in files.
_KINDS = {
    "Conv2D": "conv2d",
    "DepthwiseConv2D": "depthwise_conv2d",
    "Dense": "dense",
    "BatchNormalization": "batch_normalization",
    "BatchNorm": "batch_norm",
    "Permute": "permute",
}
_COUNTED = re.compile(rf"({'|'.join(_KINDS.values())})(?:_(\d+))?")
_NUMBERED = re.compile(r"(.+)/vars/(\d+)")
# Roles of numbered arrays, by the number of axes of a layer's first array, and of named arrays.
_ROLES = {4: ("weight", "bias"), 2: ("weight", "bias"), 1: ("weight", "bias", "running_mean", "running_var")}
_NAMES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def read_file(path: Path) -> Stored:
    """Read a weights file of this framework without running code from it."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                weights = io.BytesIO(archive.read("model.weights.h5"))
            return _numbered(read_tree(weights, str(path), _OPTIMIZERS), config)
        tree = read_tree(path, str(path), _OPTIMIZERS)
        config = json.loads(tree.attributes[""].get("model_config", "null"))
        named = next((group for group in ("model_weights", "") if _texts(tree, group, "layer_names")), None)
        return _numbered(tree, config) if named is None else _named(tree, named, config)
    except ArtifactError:
        raise
    except Exception as error:  # a damaged archive or unexpected JSON can raise anything
        raise ArtifactError(
            f"Cannot read '{path}': the Keras file is corrupt or truncated ({in_one_line(error)})."
        ) from error


def _numbered(tree: Tree, config: Config) -> Stored:
    """Read Keras 3's layout: `layers/conv2d_1/vars/0`, numbered by class in the order of `model.layers`."""
    names = _names_of_groups(tree, config)
    arrays: Arrays = {}
    for path, array in tree.arrays.items():
        match = _NUMBERED.fullmatch(path)
        if match:
            group, number = match[1], int(match[2])
            first = tree.arrays.get(f"{group}/vars/0", array)
            role = dict(enumerate(_ROLES.get(first.ndim, ()))).get(number, f"array{number}")
            arrays[f"{names[group]}.{role}"] = _canonical(array, role, _kind(group))
    permutes = [name for group, name in names.items() if _kind(group) == "permute"]
    return Stored(arrays, _sequences(names), permutes)


def _names_of_groups(tree: Tree, config: Config) -> dict[str, str]:
    """Return the layer name of each group, or the attribute's name if layers are attributes."""
    names = {}
    for path, attributes in tree.attributes.items():
        group = path.removesuffix("/vars")
        if group != path:
            own = attributes.get("name") if group.rpartition("/")[0].endswith("layers") else None
            names[group] = own if isinstance(own, str) else group.replace("/", ".")
    names |= {group: name for group, name in _counted(config) if group in names}
    unique = len(set(names.values())) == len(names)
    return names if unique else {group: group.replace("/", ".") for group in names}


def _counted(config: Config) -> Iterator[tuple[str, str]]:
    """Yield group and name of each layer by Keras's numbering, because older files do not store names in groups."""
    seen: Counter[str] = Counter()
    for layer in _layers(config):
        kind = _KINDS.get(layer["class_name"])
        if kind:
            yield f"layers/{kind}" + (f"_{seen[kind]}" if seen[kind] else ""), layer["config"]["name"]
            seen[kind] += 1


def _sequences(names: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    runs: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for group, name in names.items():
        container, _, last = group.rpartition("/")
        counted = _COUNTED.fullmatch(last)
        if counted:
            runs[container, counted[1]].append((int(counted[2] or 0), name))
    return tuple(tuple(name for _, name in sorted(run)) for run in runs.values())


def _named(tree: Tree, top: str, config: Config) -> Stored:
    """Read the older layout: `model_weights/conv2d_1/.../kernel`, with lists of names in order."""
    kinds = {layer["config"]["name"]: _KINDS.get(layer["class_name"], "") for layer in _layers(config)}
    layers = _texts(tree, top, "layer_names")
    arrays: Arrays = {}
    for layer in layers:
        group = f"{top}/{layer}".lstrip("/")
        weights = [name for name in _texts(tree, group, "weight_names") if f"{group}/{name}" in tree.arrays]
        nested = len({name.rpartition("/")[0] for name in weights}) > 1
        for weight in weights:
            *_, owner, last = [layer, *weight.partition(":")[0].split("/")]
            name, role = owner if nested else layer, _NAMES.get(last, last)
            if f"{name}.{role}" in arrays:
                raise ValueError(f"two layers have the name '{name}'")
            kind = "depthwise_conv2d" if last == "depthwise_kernel" else kinds.get(name, "")
            arrays[f"{name}.{role}"] = _canonical(tree.arrays[f"{group}/{weight}"], role, kind)
    permutes = [name for name in layers if kinds.get(name, name).startswith("permute")]
    order = tuple(dict.fromkeys(name.rpartition(".")[0] for name in arrays))
    return Stored(arrays, (order,), permutes)


def _texts(tree: Tree, group: str, key: str) -> list[str]:
    """Return a list of texts; Keras splits a long one into `<key>0`, `<key>1` and so on."""
    attributes = tree.attributes.get(group, {})
    parts = [attributes.get(name, ()) for name in (key, *(f"{key}{place}" for place in range(len(attributes))))]
    return [text.decode() if isinstance(text, bytes) else str(text) for part in parts for text in part]


def _canonical(array: np.ndarray, role: str, kind: str) -> np.ndarray:
    if role != "weight":
        return array
    # differs: conv-kernel-axes, dense-kernel-axes
    match array.ndim:
        case 4 if kind == "depthwise_conv2d":
            height, width, channels, multiplier = array.shape
            return array.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
        case 4:
            return array.transpose(3, 2, 0, 1)
        case _:
            return array.T


def _kind(group: str) -> str:
    counted = _COUNTED.fullmatch(group.rpartition("/")[2])
    return counted[1] if counted else ""


def _layers(config: Config) -> list[dict[str, Any]]:
    """Return the layers of a model, or none if they are unknown or nested models."""
    layers = config["config"].get("layers", []) if config else []
    return [] if any("layers" in layer["config"] for layer in layers) else layers
