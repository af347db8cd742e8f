"""Weights between NumPy, in canonical layout (PyTorch's), and Keras: its models, and files from untrusted sources."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from diptych.engines.contract import Arrays, Stored, check_arrays
from diptych.engines.hdf5 import Tree, read_tree
from diptych.engines.tensorflow.model import is_depthwise, native_order
from diptych.errors import ArtifactError, cannot_read
from diptych.spec import ArraySpec, ModelSpec
from diptych.spec import layers as L

Variable: TypeAlias = Any
Layers: TypeAlias = Sequence[tuple[str, str, str]]
"""Group in Keras 3's files, path such as `base/conv`, and class such as `conv2d` of each layer of a configuration."""
_ATTRIBUTES = {"kernel": "kernel", "bias": "bias", "scale": "gamma", "shift": "beta"}
_ATTRIBUTES |= {"mean": "moving_mean", "variance": "moving_variance"}
_OPTIMIZERS = ("optimizer", "_optimizer", "optimizer_weights")
_NUMBERED = re.compile(r"(.+)/vars/(\d+)")
# Roles of numbered arrays, by the number of axes of a layer's first array, and of named arrays.
_ROLES = {4: ("weight", "bias"), 2: ("weight", "bias"), 1: ("weight", "bias", "running_mean", "running_var")}
_NAMES = {"kernel": "weight", "depthwise_kernel": "weight", "gamma": "weight", "beta": "bias"}
_NAMES |= {"moving_mean": "running_mean", "moving_variance": "running_var"}


def read_weights(model: keras.Model) -> Arrays:
    """Return every array of a model, running statistics included, by canonical name in canonical layout."""
    known = variables(model)
    return {array.name: to_numpy(model.spec, array, known[array.name]) for array in model.spec.arrays}


def load_weights(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Load arrays into a model; raise ArtifactError if names or shapes do not match."""
    check_arrays(arrays, model.spec.arrays, f"the weights of {model.spec.name}")
    known = variables(model)
    for array in model.spec.arrays:
        from_numpy(model.spec, array, known[array.name], arrays[array.name])


def variables(model: keras.Model) -> dict[str, Variable]:
    """Return the model's variable of every array, by canonical name."""
    owners = {array: model.get_layer(model.spec.owner(array).name) for array in model.spec.arrays}
    return {array.name: getattr(layer, _ATTRIBUTES[array.role]).value for array, layer in owners.items()}


def to_numpy(spec: ModelSpec, array: ArraySpec | None, variable: Variable) -> np.ndarray:
    """Return a copy in canonical layout; without `array`, in the variable's layout."""
    values = np.array(variable.numpy())
    if array is None or array.role != "kernel":
        return values
    layer = spec.owner(array)
    order = native_order(spec, layer.inputs[0]) if isinstance(layer, L.Dense) else None
    if order is not None:
        values = values[np.argsort(order)]
    is_deep = isinstance(layer, L.Conv) and is_depthwise(layer, spec.input_shapes(layer)[0][-1])
    return np.ascontiguousarray(_canonical(values, is_deep))


def from_numpy(spec: ModelSpec, array: ArraySpec | None, variable: Variable, values: np.ndarray) -> None:
    """Set a variable to values in canonical layout; without `array`, in the variable's layout."""
    match array and array.role == "kernel" and spec.owner(array):
        case L.Conv() as conv:
            # differs: conv-kernel-axes
            channels = spec.input_shapes(conv)[0][-1]
            if is_depthwise(conv, channels):
                values = values.reshape(channels, -1, *conv.kernel).transpose(2, 3, 0, 1)
            else:
                values = values.transpose(2, 3, 1, 0)
        case L.Dense() as dense:
            # differs: dense-kernel-axes
            order = native_order(spec, dense.inputs[0])
            values = values.T if order is None else values.T[order]
    variable.assign(tf.cast(values, variable.dtype))


def read_file(path: Path, key: str | None = None) -> Stored:
    """Read a weights file of this framework without running code from it."""
    if key is not None:
        raise ArtifactError(f"'{path}' has no state dict '{key}': --key is for PyTorch checkpoints.")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                tree = read_tree(io.BytesIO(archive.read("model.weights.h5")), str(path), _OPTIMIZERS)
        else:
            tree = read_tree(path, str(path), _OPTIMIZERS)
            config = json.loads(tree.attributes[""].get("model_config", "null"))
        layers = [*_listed(config["config"])] if config else []
        top = next((group for group in ("model_weights", "") if _texts(tree, group, "layer_names")), None)
        is_turned = "theano" in str([tree.attributes[group].get("backend") for group in {"", top or ""}])
        stored = _read_numbered(tree, layers) if top is None else _read_named(tree, top, layers)
    except ArtifactError:
        raise
    except Exception as error:  # a damaged archive or unexpected JSON can raise anything
        raise cannot_read(path, "Keras file", error) from error
    if is_turned:
        raise ArtifactError(f"Cannot read '{path}': Theano's kernels are turned by 180°; save the model in TensorFlow.")
    return replace(stored, config=config)


def _listed(config: Mapping[str, Any], inside: str = "", path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the layers of a configuration, nested ones too; Keras 3 numbers their groups by class."""
    seen: Counter[str] = Counter()
    for layer in config.get("layers", ()):
        name = path + layer["config"]["name"]
        kind = re.sub("(.)([A-Z][a-z]+)|(?<=[a-z])(?=[A-Z])", r"\1_\2", layer["class_name"].rpartition(">")[2]).lower()
        group = f"{inside}layers/{kind}_{seen[kind]}".removesuffix("_0")
        seen[kind] += 1
        yield group, name, kind
        yield from _listed(layer["config"], f"{group}/", f"{name}/")


def _read_numbered(tree: Tree, layers: Layers) -> Stored:
    """Read Keras 3's layout: `layers/conv2d_1/vars/0`, numbered by class in the order of `model.layers`."""
    names = _names_of_groups(tree) | {group: name.replace("/", ".") for group, name, _ in layers}
    arrays: Arrays = {}
    runs: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for path, array in tree.arrays.items():
        if match := _NUMBERED.fullmatch(path):
            group, number = match[1], int(match[2])
            kind, place = _class_and_number(group)
            first = tree.arrays.get(f"{group}/vars/0", array)
            role = dict(enumerate(_ROLES.get(first.ndim, ()))).get(number, f"array{number}")
            is_deep = kind.endswith("depthwise_conv2d")
            arrays[f"{names[group]}.{role}"] = _canonical(array, is_deep) if role == "weight" else array
            runs[kind].append((place, names[group]))
    permutes = [name for group, name in names.items() if _class_and_number(group)[0].endswith("permute")]
    return Stored(arrays, [[*dict.fromkeys(name for _, name in sorted(run))] for run in runs.values()], permutes)


def _class_and_number(group: str) -> tuple[str, int]:
    kind, _, number = group.rpartition("_")
    return (kind, int(number)) if number.isdecimal() else (group, 0)


def _names_of_groups(tree: Tree) -> dict[str, str]:
    """Return the path of each group's layer, or of the attributes if layers are attributes."""
    names = {"": ""}
    for path in sorted(tree.attributes, key=lambda path: path.count("/")):
        if path.endswith("/vars"):
            group = path.removesuffix("/vars")
            outer, listed, last = f"/{group}".rpartition("/layers/")
            name = tree.attributes[path].get("name") if listed and "/" not in last else None
            before = names.get(outer.removeprefix("/"), "")
            names[group] = f"{before}.{name}".lstrip(".") if name else group.replace("/", ".")
    return names


def _read_named(tree: Tree, top: str, layers: Layers) -> Stored:
    """Read the older layout: `model_weights/conv2d_1/.../kernel`, with lists of names in order."""
    kinds = {name: kind for _, name, kind in layers}
    outermost = _texts(tree, top, "layer_names")
    arrays: Arrays = {}
    for layer in outermost:
        group = f"{top}/{layer}".lstrip("/")
        weights = _texts(tree, group, "weight_names")
        parts = [weight.partition(":")[0].split("/") for weight in weights]
        roles = [_NAMES.get(last, last) for *_, last in parts]
        inner = [name for name in kinds if name.startswith(f"{layer}/")]
        for weight, (*path, last), role in zip(weights, parts, roles, strict=True):
            # A layer may be renamed after its arrays were made, but those of a nested model have its layers' names.
            name = layer if len(set(roles)) == len(roles) and not inner else f"{layer}/{'/'.join(path)}"
            if inner:
                ends = (f"/{'/'.join(path)}", f"/{path[-1]}")
                name = next((one for end in ends for one in inner if f"/{one}".endswith(end)), name)
            array = tree.arrays.get(f"{group}/{weight}")
            is_deep = last == "depthwise_kernel" or kinds.get(name) == "depthwise_conv2d"
            full = f"{name}.{role}".replace("/", ".")
            if full in arrays:
                raise ValueError(f"two layers have the name '{name}'")
            if array is not None:
                arrays[full] = _canonical(array, is_deep) if role == "weight" else array
    permutes = [name for name in kinds or outermost if kinds.get(name, name).startswith("permute")]
    return Stored(arrays, permutes=permutes)  # without an order: that of a subclassed model is that of its attributes


def _texts(tree: Tree, group: str, key: str) -> list[str]:
    """Return a list of texts; Keras splits a long one into `<key>0`, `<key>1` and so on."""
    attributes = tree.attributes.get(group, {})
    parts = [attributes.get(name, ()) for name in (key, *(f"{key}{place}" for place in range(len(attributes))))]
    return [text.decode() if isinstance(text, bytes) else str(text) for part in parts for text in part]


def _canonical(kernel: np.ndarray, is_deep: bool) -> np.ndarray:
    """Return the view of a kernel, of a depthwise convolution if `is_deep`, in canonical layout."""
    # differs: conv-kernel-axes, dense-kernel-axes
    if kernel.ndim == 4 and is_deep:
        height, width, channels, multiplier = kernel.shape
        return kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    return kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
