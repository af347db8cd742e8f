"""The model in a Keras file, from its configuration, which is read as data: no class or function of it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import Any, TypeAlias, cast

import numpy as np

from diptych.engines.contract import Stored
from diptych.errors import ArtifactError, SpecError, first_of, in_one_line
from diptych.spec import ModelSpec, arithmetic
from diptych.spec import layers as L
from diptych.spec.function import Foreign
from diptych.spec.layers import Shape

Entry: TypeAlias = Mapping[str, Any]
_MODELS = ("Sequential", "Functional", "Model")
_FUNCTIONS = {"relu": "relu", "leakyrelu": "leaky_relu", "gelu": "gelu", "silu": "silu", "swish": "silu"}
_FUNCTIONS |= {"tanh": "tanh", "sigmoid": "sigmoid", "linear": "", "identity": ""}
_ZEROS = re.compile('"mode": "constant".*"constant_values": null')
_WITHOUT_EFFECT = re.compile(r"Random(?!\w*Crop)\w+|Gaussian(Noise|Dropout)|AlphaDropout|ActivityRegularization")
# Each class's layer here, and Keras's names of its settings.
_LAYERS: dict[str, tuple[Callable[..., Any], dict[str, str]]] = {
    "Conv2D": (L.Conv, {"filters": "filters", "groups": "groups", "use_bias": "use_bias"}),
    "MaxPooling2D": (L.MaxPool, {}),
    "AveragePooling2D": (L.AvgPool, {}),
    "GlobalAveragePooling2D": (L.GlobalAvgPool, {}),
    "BatchNormalization": (L.BatchNorm, {"decay": "momentum", "epsilon": "epsilon"}),
    "Dense": (L.Dense, {"units": "units", "use_bias": "use_bias"}),
    "Dropout": (L.Dropout, {"rate": "rate"}),
    "SpatialDropout2D": (L.Dropout, {"rate": "rate"}),
    "Flatten": (L.Flatten, {}),
    "Add": (L.Add, {}),
    "Concatenate": (L.Concat, {}),
}


@dataclass(frozen=True)
class _Value:
    """A layer's output, which may be padded, have channels first, or have them as the columns of one long map."""

    name: str
    padding: tuple[int, ...] = (0, 0, 0, 0)
    is_first: bool = False
    is_columns: bool = False
    num_scaled: int = 0
    """How many layers have scaled it, if it is the images."""


class KerasGraph:
    """The model in a Keras file in a spec's terms; `stored` are its weights by the names of `layers`.

    `foreign` are the layers that specs do not have, and `spec` is None if there are any.
    """

    def __init__(self, stored: Stored, like: ModelSpec | None, size: Shape, where: str) -> None:
        """Read the model of the file `where`; where it leaves them open, images are scaled as in `like` and of `size`.

        Raises ArtifactError if the configuration is not one of Keras, and SpecError if the model is not a classifier.
        """
        self.layers: list[Any] = [None]
        self.remarks: list[str] = []
        self._scale, self._offset, self._num_scaled = np.ones(1), np.zeros(1), 0
        self._names, self._orders, self._constants = dict[str, str](), set[bool](), list[str]()
        self._arrays = dict(stored.arrays)
        try:
            self._read(cast(Entry, stored.config), size)
        except Exception as error:  # a configuration can be anything
            raise ArtifactError(f"Cannot read the layers of '{where}': {in_one_line(error)}.") from error
        if not self._num_scaled:
            self.layers[0] = like.layers[0] if like else self.layers[0]
            what = "scales them by itself" if like else "takes pixels from 0 to 255 as they are"
            self.remarks.append(f"not checked: the file does not scale its images, so the model {what}")
        if self._constants:
            names = first_of(self._constants, 3)
            self.remarks.append(f"no scale or shift in {len(self._constants)} norms ({names}); recorded: ones or zeros")
        self.foreign = [f"{layer.text} ('{layer.name}')" for layer in self.layers if isinstance(layer, Foreign)]
        shape = cast(tuple[int, int, int], self.shapes["input"])
        self.spec = None if self.foreign else ModelSpec(self._name, shape, tuple(self.layers))
        parts = {path.rpartition("."): array for path, array in self._arrays.items()}
        arrays = {f"{self._names.get(one, one)}.{role}": array for (one, _, role), array in parts.items()}
        arrays = {path: array for path, array in arrays.items() if path[0] != "."}
        self.stored = replace(stored, arrays=arrays, permutes=None if True in self._orders else (), sequences=())

    def _read(self, top: Entry, size: Shape) -> None:
        text = json.dumps(top)
        is_first = '"channels_first"' in text
        shape = re.search(r'"(?:batch_shape|batch_input_shape|build_input_shape)": (\[[^]]+\])', text)
        full: list[Any] = json.loads(shape[1]) if shape else [None, None, None, 3]
        *area, channels = (*full[2:], full[1]) if is_first else full[1:]
        if None in area:
            area = [*size[:2]]
            self.remarks.append(f"the file leaves the size of its images open; recorded: {area[0]} × {area[1]}")
        if half := re.search(r'"(mixed_)?b?float16"', text):
            self.remarks.append(f"the file computes in {half[0][1:-1]}, models here in float32")
        self._name = re.sub(r"[^\w.-]|^(?=\W)", "_", top["config"]["name"], flags=re.ASCII)
        self.shapes: dict[str, Shape] = {"input": (*area, channels), "normalize": (*area, channels)}
        self._model(top, [_Value("normalize", is_first=is_first)])
        scale, offset = (np.broadcast_to(np.ravel(value), channels) for value in (self._scale, self._offset))
        values = (numbers / (255 * scale) for numbers in (-offset, np.ones(channels)))
        mean, std = (tuple(float(f"{number:.7g}") + 0.0 for number in numbers) for numbers in values)
        self.layers[0] = L.Normalize("normalize", ("input",), mean, std)
        last = self.layers[-1]
        if isinstance(last, Foreign) and last.text.lower() == "softmax":
            self.layers.pop()
            self.remarks.append("the file's final softmax is left out, as models here output logits")
        elif isinstance(last, L.Activation) and last.function == "sigmoid":
            self.layers[-1] = Foreign(last.name, last.inputs, "sigmoid as output, not a logit per class")

    def _model(self, entry: Entry, inputs: list[_Value], path: str = "") -> _Value:
        """Add the layers of a model, which may be inside another; return its output."""
        config, is_chain = entry["config"], entry["class_name"] == "Sequential"
        values: dict[str, _Value] = {}
        before, name = inputs[0], ""
        for layer in config["layers"]:
            name, kind, calls = layer["config"]["name"], _kind(layer), layer.get("inbound_nodes", [])
            known = [before] if is_chain else [values[one] for one in _called(calls) if one in values]
            odd = "used twice" * (len(calls) > 1)
            odd = odd or "called with training=True" * ('"training": true' in json.dumps(calls))
            odd = odd or "not of zeros" * (kind == "Pad" and not _ZEROS.search(json.dumps(layer)))
            if kind == "InputLayer":
                before = inputs[0]
            elif odd:
                before = self._put(Foreign, path + name, known[0], text=f"{kind} {odd}")
            elif kind in _MODELS:
                before = self._model(layer, known, f"{path}{name}/")
            else:
                before = self._layer(kind, (path + name).replace("/", "."), layer["config"], known)
            values[name] = before
        ends = [name] if is_chain else [*_called(config["output_layers"])]
        if max(len(ends), sum(_kind(layer) == "InputLayer" for layer in config["layers"])) > 1:
            return self._put(Foreign, f"{path}{name}_ends", before, text="several inputs or outputs")
        return values[ends[0]]

    def _layer(self, kind: str, name: str, config: Entry, inputs: list[_Value]) -> _Value:
        """Add a layer and its activation; return the output."""
        if _WITHOUT_EFFECT.fullmatch(kind):
            self.remarks.append(f"{kind} '{name}' is left out, as it has no effect on predictions")
            return inputs[0]
        are_images = inputs[0] == _Value("normalize", is_first=inputs[0].is_first, num_scaled=self._num_scaled)
        if are_images and len(self.layers) == 1 and self._scales(kind, name, config, inputs[0].is_first):
            return replace(inputs[0], num_scaled=self._num_scaled)
        try:
            why = f" (noise_shape {noise})" if (noise := config.get("noise_shape")) else ""
            added = self._known(kind, name, config, inputs)
        except SpecError as error:
            added, why = None, f" ({str(error).partition('): ')[2].rstrip('.')})"
        value = added or self._put(Foreign, name, inputs[0], text=kind + why)
        function = None if kind == "Activation" else config.get("activation")
        return self._activation(f"{name}_activation", function, value) if function else value

    def _scales(self, kind: str, name: str, config: Entry, is_first: bool) -> bool:
        """Apply a layer that scales the images, if it is one."""
        axis = np.ravel(config.get("axis", -1)).tolist()
        if kind == "Rescaling":
            scale, offset = _numbers(config["scale"]), _numbers(config["offset"])
        elif kind == "Normalization" and not config.get("invert") and axis in ([], [-1], [1 if is_first else 3]):
            mean, variance = (
                _numbers(config.get(key) or self._arrays.get(f"{name}.{key}", self._arrays.get(f"{name}.{role}")))
                for key, role in (("mean", "weight"), ("variance", "bias"))
            )
            scale = 1 / np.maximum(np.sqrt(variance), 1e-7)
            offset = -mean * scale
            self._names[name] = ""  # its arrays are not weights
        else:
            return False
        self._scale, self._offset = self._scale * scale, self._offset * scale + offset
        self._num_scaled += 1
        return bool(np.all(scale > 0))

    def _known(self, kind: str, name: str, config: Entry, inputs: list[_Value]) -> _Value | None:
        """Add a layer that specs have, or return None."""
        value, shape, order = inputs[0], self.shapes[inputs[0].name], config.get("data_format")
        is_map, is_padded = len(shape) == 3, any(inputs[0].padding)
        axes = ((1,) if value.is_first else (-1, 3)) if is_map else (-1, 1)
        fits = order is None or kind == "Flatten" or not is_map or (order == "channels_first") == value.is_first
        fits = fits and (is_map or "padding" not in config)
        fits = fits and np.ravel(config.get("axis", axes[0])).tolist() in [[axis] for axis in axes]
        is_stale = any(one.name == "normalize" and one.num_scaled < self._num_scaled for one in inputs)
        if not fits or is_stale or len({one.is_first for one in inputs}) > 1:
            return None
        if kind == "Permute" and tuple(config["dims"]) == ((2, 3, 1) if value.is_first else (3, 1, 2)):
            return replace(value, is_first=not value.is_first)
        if kind == "ZeroPadding2D" and not is_padded:
            return replace(value, padding=tuple(np.ravel(config["padding"]).tolist()))
        is_end = kind == "Reshape" and value.is_columns and tuple(config.get("target_shape", ())[:-1]) == shape[:-1]
        if is_end or (kind == "Pad" and not value.is_first and not any(map(any, config["pad_width"][:-1]))):
            before, after = value.padding[2:] if is_end else config["pad_width"][-1]
            return self._put(L.PadChannels, name, value, before=before, after=after)
        if kind == "Reshape" and is_map and config.get("target_shape") == [prod(shape[:2]), shape[-1], 1]:
            return replace(value, is_columns=True)
        # Padding with zeros is padding with minus infinity after a ReLU.
        before = next((layer for layer in self.layers[1:] if layer.name == value.name), None)
        takes_zeros = "Conv" in kind or (kind == "MaxPooling2D" and getattr(before, "function", "") == "relu")
        if value.is_columns or (is_padded and not takes_zeros):
            return None
        if kind in ("Activation", "ReLU", "LeakyReLU", "Softmax", "Identity"):
            return self._activation(name, config.get("activation", {"class_name": kind, "config": config}), value)
        if kind == "DepthwiseConv2D":
            kind, config = "Conv2D", {**config, "filters": config["depth_multiplier"] * shape[-1], "groups": shape[-1]}
        if kind not in _LAYERS:
            return None
        layer, names = _LAYERS[kind]
        if layer is L.BatchNorm:
            self._complete(name, [config["scale"], config["center"]], shape[-1:])
        settings = {ours: config.get(theirs, 1) for ours, theirs in names.items()}
        settings |= {"running_variance": "biased"} if layer is L.BatchNorm else {}
        settings |= self._windows(config, value) if "padding" in config else {}
        channel, element = ((None, 1, 1, None), (None, None, 1, 1))[value.is_first], (None,) * (len(shape) + 1)
        noise = tuple(config.get("noise_shape") or (channel if kind == "SpatialDropout2D" else element))
        modes = {channel: "channel", (None, *[1] * len(shape)): "sample", element: "element"}
        settings |= {"mode": modes.get(noise)} if layer is L.Dropout else {}
        if layer is L.Flatten and is_map and prod(shape[:2]) > 1 and shape[2] > 1:
            self._orders.add(value.is_first and order != "channels_first")
        if len(self._orders) > 1 or None in settings.values() or np.any(np.asarray(config.get("dilation_rate", 1)) > 1):
            return None
        added = self._put(layer, name, value, inputs=tuple(one.name for one in inputs), **settings)
        return added if len(self.shapes[added.name]) == 3 else replace(added, is_first=False)

    def _complete(self, name: str, given: list[bool], shape: Shape) -> None:
        """Add the scale of ones or the shift of zeros that a norm lacks; Keras 3 numbers the arrays that there are."""
        roles = ("weight", "bias", "running_mean", "running_var")
        held = [self._arrays.pop(path) for role in roles if (path := f"{name}.{role}") in self._arrays]
        for role, fill, is_given in zip(roles, (1, 0, 0, 1), (*given, True, True), strict=True):
            self._arrays[f"{name}.{role}"] = held.pop(0) if is_given else np.full(shape, fill, np.float32)
        self._constants += [f"'{name}'"] * (not all(given))

    def _activation(self, name: str, given: Any, value: _Value) -> _Value:
        """Add an activation, given by its name or as a layer."""
        entry = given if isinstance(given, dict) else {"class_name": given}
        if "class_name" not in entry:
            return self._put(Foreign, name, value, text="a Python function")
        config = entry.get("config") or {}
        kind, config = (config, {}) if isinstance(config, str) else (_kind(entry), config)
        function = _FUNCTIONS.get(kind.lower().replace("_", ""))
        slope = _numbers(config.get("negative_slope", config.get("alpha", 0.2 if function == "leaky_relu" else 0.0)))
        odd = [f"{key} {config[key]}" for key in ("max_value", "threshold", "approximate") if config.get(key)]
        if function is None or odd:
            text = " ".join([{"elu": "ELU", "selu": "SELU"}.get(kind, kind), *odd])
            return self._put(Foreign, name, value, text=text)
        if function in ("relu", "leaky_relu") and slope:
            return self._put(L.Activation, name, value, function="leaky_relu", slope=float(slope[0]))
        return self._put(L.Activation, name, value, function=function.replace("leaky_", "")) if function else value

    def _windows(self, config: Entry, value: _Value) -> dict[str, Any]:
        """Return kernel, strides and padding; `same` depends on the input's size."""
        size = config.get("kernel_size") or config["pool_size"]
        kernel, strides = (np.broadcast_to(pair, 2).tolist() for pair in (size, config["strides"] or size))
        padding = [*value.padding]
        for axis in (0, 1) if config["padding"] == "same" else ():
            length = self.shapes[value.name][axis] + padding[2 * axis] + padding[2 * axis + 1]
            lacking = max((-(-length // strides[axis]) - 1) * strides[axis] + kernel[axis] - length, 0)
            padding[2 * axis] += lacking // 2
            padding[2 * axis + 1] += lacking - lacking // 2
        return {"kernel": tuple(kernel), "strides": tuple(strides), "padding": tuple(padding)}

    def _put(self, kind: Callable[..., Any], name: str, value: _Value, **settings: Any) -> _Value:
        """Append a layer with a valid name; raise SpecError if it does not fit its inputs."""
        clean = ".".join(re.sub(r"\W|^(?=\d+\D)", "_", part, flags=re.ASCII) or "_" for part in name.split("."))
        if clean in self.shapes or clean == "images":
            clean = f"{clean}_{len(self.layers)}"
        layer = kind(**{"name": clean, "inputs": (value.name,), **settings})
        shapes = tuple(self.shapes[one] for one in layer.inputs)
        self.shapes[clean] = shapes[0] if kind is Foreign else arithmetic.output_shape(layer, shapes)
        self.layers.append(layer)
        self._names[name] = clean
        return _Value(clean, is_first=value.is_first)


def has_graph(config: Entry | None) -> bool:
    """Return whether a Keras file's configuration is that of a Sequential or Functional model, not of a subclass."""
    return config is not None and _kind(config) in _MODELS


def _kind(entry: Entry) -> str:
    """Return the class of a layer, with its package if it is not one of Keras's own."""
    kind, module = str(entry.get("registered_name") or entry["class_name"]), str(entry.get("module") or "keras")
    is_own = module.partition(".")[0] in ("keras", "tf_keras", "builtins")
    return kind if is_own or ">" in kind else f"{module}>{kind}"


def _called(entry: Any) -> Iterator[str]:
    """Yield the names of the layers whose outputs a call has as arguments, as Keras 2 or 3 writes them."""
    if isinstance(entry, dict):
        is_tensor = entry.get("class_name") == "__keras_tensor__"
        yield from [entry["config"]["keras_history"][0]] if is_tensor else _called([*entry.values()])
    elif isinstance(entry, list) and len(entry) > 2 and isinstance(entry[0], str) and isinstance(entry[1], int):
        yield entry[0]
    elif isinstance(entry, list):
        yield from chain.from_iterable(map(_called, entry))


def _numbers(value: Any) -> Any:
    return np.ravel(np.asarray(value["config"]["value"] if isinstance(value, dict) else value, float))
