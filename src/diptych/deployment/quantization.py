"""Quantization to integers: the images that set the ranges, and the layers that lose precision."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from diptych.data.datasets import Split
from diptych.data.images import Images
from diptych.data.preprocess import channel_statistics
from diptych.deployment.formats import Format, ImagesReader
from diptych.errors import DataError
from diptych.spec import ModelSpec

NUM_CALIBRATION = 500
SEED = 0
# In units of 0–1. Splits of one dataset differ by a few hundredths.
_MAX_MEAN_DIFFERENCE = 0.25
_MAX_STD_RATIO = 4.0
_NUM_MEASURED = 64
_MAX_DECIBELS = 60.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """Images, uint8, (N, H, W, C), and a record of their origin."""

    images_nhwc: np.ndarray
    record: dict[str, Any]


def draw(split: Split, dataset: str, num_images: int = NUM_CALIBRATION, seed: int = SEED) -> Calibration:
    """Draw the same number of images of each class from a training split; a small class contributes all it has."""
    indices_n = stratified(split.labels, num_images, seed)
    images_nhwc = np.ascontiguousarray(split.images[indices_n])
    record = {
        "dataset": dataset,
        "split": "train",
        "rule": "stratified by class",
        "seed": seed,
        "num_images": len(indices_n),
        "indices": indices_n.tolist(),
        "sha256": hashlib.sha256(images_nhwc.data).hexdigest(),
    }
    return Calibration(images_nhwc, record)


def stratified(labels_n: np.ndarray, num: int, seed: int = SEED) -> np.ndarray:
    """Draw about `num` indices, the same number of each class or all that a class has, and sort them."""
    generator = np.random.default_rng(seed)
    classes = np.unique(labels_n)
    share = -(-num // max(len(classes), 1))
    parts = [generator.permutation(np.flatnonzero(labels_n == label))[:share] for label in classes]
    return np.sort(np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64))


def check(images: np.ndarray, trained_on: Images) -> None:
    """Raise DataError if calibration images differ from the training images in type, size or range of values."""
    expected = f"uint8, 0–255, of shape (N, {', '.join(map(str, trained_on.shape[1:]))})"
    if images.dtype != np.uint8 or images.shape[1:] != trained_on.shape[1:] or not len(images):
        span = f" from {images.min():g} to {images.max():g}" if images.size else ""
        raise DataError(f"Calibration images must be {expected}; got {images.dtype} of shape {images.shape}{span}.")
    if not len(trained_on):
        return
    statistics = zip(*channel_statistics(images), *channel_statistics(trained_on), strict=True)
    for channel, (mean, std, trained_mean, trained_std) in enumerate(statistics):
        is_like = 1 / _MAX_STD_RATIO < std / trained_std < _MAX_STD_RATIO
        if not is_like or abs(mean - trained_mean) > _MAX_MEAN_DIFFERENCE:
            raise DataError(
                f"Calibration images are unlike the training images: channel {channel} has {mean:.2f} ± {std:.2f} "
                f"(in 0–1), the training images have {trained_mean:.2f} ± {trained_std:.2f}. "
                "If they were scaled, normalized or inverted, pass them unchanged: the model scales its input."
            )


def lost_signal(
    form: Format, spec: ModelSpec, source: Path, exported: Path, images: np.ndarray
) -> list[dict[str, Any]]:
    """Measure each layer's signal-to-noise ratio in decibels, and return the layer with the largest loss first.

    The first 64 images, uint8, (N, H, W, C), are run in the float model, `source`, and the integer model, `exported`.
    """
    measure = _onnx if form.made_of else _tflite
    ratios = [("input", _MAX_DECIBELS), *measure(spec, source, exported, images[:_NUM_MEASURED])]
    losses = [
        {"layer": layer, "decibels": round(after, 1), "lost": round(before - after, 1)}
        for (_, before), (layer, after) in pairwise(ratios)
    ]
    return sorted(losses, key=lambda entry: -entry["lost"])


def _decibels(float_ncm: np.ndarray, integer_ncm: np.ndarray) -> float:
    """Average over channels, so that a channel of large values does not hide the others' losses."""
    float_ncm, integer_ncm = float_ncm.astype(np.float64), integer_ncm.astype(np.float64)
    power_c, noise_c = (np.square(values).sum((0, 2)) for values in (float_ncm, float_ncm - integer_ncm))
    is_used_c = power_c > 0
    ratio_c = power_c[is_used_c] / np.maximum(noise_c[is_used_c], 1e-30)
    return float(np.clip(10 * np.log10(ratio_c), 0, _MAX_DECIBELS).mean()) if is_used_c.any() else _MAX_DECIBELS


def _tflite(spec: ModelSpec, source: Path, exported: Path, images: np.ndarray) -> Iterable[tuple[str, float]]:
    """Match LiteRT's tensors by name; a fused tensor names all its layers, and counts for the first."""
    float_tensors, integer_tensors = _tensors(source, images), _tensors(exported, images)
    patterns = {layer.name: re.compile(rf"(?:^|[;/]){re.escape(layer.name)}(?:_\d+)?/") for layer in spec.layers}
    measured: dict[str, float] = {}
    for name, values in float_tensors.items():
        layers = [layer for layer, pattern in patterns.items() if pattern.search(name)]
        if layers and name in integer_tensors:
            shape = (len(images), -1, values.shape[-1])
            pair = (part.reshape(shape).transpose(0, 2, 1) for part in (values, integer_tensors[name]))
            measured.setdefault(layers[0], _decibels(*pair))
    return measured.items()


def _tensors(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return every activation by name, dequantized."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    (source,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(source["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], images)
    interpreter.invoke()
    tensors = {}
    for tensor in interpreter.get_tensor_details():
        scales, zeros = (tensor["quantization_parameters"][key] for key in ("scales", "zero_points"))
        is_activation = tensor["name"] and len(tensor["shape"]) > 1 and tensor["shape"][0] == len(images)
        if is_activation and len(scales) < 2:
            values = interpreter.get_tensor(tensor["index"]).astype(np.float64)
            tensors[tensor["name"]] = (values - zeros[0]) * scales[0] if len(scales) else values
    return tensors


def _onnx(spec: ModelSpec, source: Path, exported: Path, images: np.ndarray) -> Iterable[tuple[str, float]]:
    """Match tensors with ONNX Runtime's debugger; the names of weights identify layers."""
    import onnx
    from onnxruntime.quantization import qdq_loss_debug
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        prepared, opened = (str(Path(folder) / name) for name in ("prepared.onnx", "opened.onnx"))
        quant_pre_process(str(source), prepared, skip_symbolic_shape=True)
        values = []
        for path in (str(exported), prepared):
            qdq_loss_debug.modify_model_output_intermediate_tensors(path, opened)
            values.append(qdq_loss_debug.collect_activations(opened, ImagesReader(images)))
        nodes = onnx.load(prepared).graph.node
    pairs = qdq_loss_debug.create_activation_matching(*values)
    owners = _owners(spec, nodes)
    measured: dict[str, float] = {}
    for node in nodes:
        pair = pairs.get(node.output[0], {})
        if node.output[0] in owners and "float" in pair:
            owner = owners[node.output[0]]
            channels = spec.shapes[owner][-1]
            both = (np.stack(pair[key]).reshape(len(images), channels, -1) for key in ("float", "post_qdq"))
            measured.setdefault(owner, _decibels(*both))
    return measured.items()


def _owners(spec: ModelSpec, nodes: Iterable[Any]) -> dict[str, str]:
    """For each tensor, the layer whose weights were applied last."""
    layers = {f"{layer.name}.weight": layer.name for layer in spec.layers}
    owners: dict[str, str] = {}
    for node in nodes:
        weights = [layers[name] for name in (source.removeprefix("model.") for source in node.input) if name in layers]
        inherited = [owners[source] for source in node.input if source in owners]
        for owner in (weights or inherited)[:1]:
            owners.update(dict.fromkeys(node.output, owner))
    return owners
