"""Find the layers in which an integer model loses precision, by their signal-to-noise ratio in decibels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from diptych.deployment.convert import images_reader
from diptych.deployment.formats import Format
from diptych.spec import ModelSpec

NUM_IMAGES = 64
CLEAN = 60.0
"""Largest signal-to-noise ratio that is reported, in decibels."""


def lost_signal(
    form: Format, spec: ModelSpec, source: Path, exported: Path, images: np.ndarray
) -> list[dict[str, Any]]:
    """Measure each layer of an integer model, and return the layer with the largest loss first.

    Args:
        form: Format of the integer model.
        spec: The model.
        source: File of the float model.
        exported: File of the integer model.
        images: uint8, (N, H, W, C); the first 64 are run.

    Returns:
        `layer`; `decibels`, the signal-to-noise ratio of its output; `lost`, the difference to the layer before.
    """
    measure = _onnx if form.made_of else _tflite
    ratios = [("input", CLEAN), *measure(spec, source, exported, images[:NUM_IMAGES])]
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
    return float(np.clip(10 * np.log10(ratio_c), 0, CLEAN).mean()) if is_used_c.any() else CLEAN


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
            values.append(qdq_loss_debug.collect_activations(opened, images_reader(images)))
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
