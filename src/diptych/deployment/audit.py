"""Where an integer model loses its signal: each layer's output beside the float model's, in decibels."""

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
"""Signal to noise, in decibels, from which on there is nothing to tell."""


def lost_signal(form: Format, spec: ModelSpec, source: Path, shipped: Path, images: np.ndarray) -> list[dict[str, Any]]:
    """Each layer's signal to noise in an integer model, the layer that loses most first.

    Args:
        form: of the integer model.
        spec: the model.
        source: the float model that it was made of.
        shipped: the integer model.
        images: uint8, (N, H, W, C); 64 of them are run.

    Returns:
        `layer`; `decibels`, its output's signal to noise; `lost`, how much less than that of the layer before it.
    """
    measure = _onnx if form.made_of else _tflite
    found = [("input", CLEAN), *measure(spec, source, shipped, images[:NUM_IMAGES])]
    losses = [
        {"layer": layer, "decibels": round(left, 1), "lost": round(before - left, 1)}
        for (_, before), (layer, left) in pairwise(found)
    ]
    return sorted(losses, key=lambda entry: -entry["lost"])


def _decibels(wanted_ncm: np.ndarray, found_ncm: np.ndarray) -> float:
    """Mean over channels, because one that is loud would drown what the others lose."""
    wanted_ncm, found_ncm = wanted_ncm.astype(np.float64), found_ncm.astype(np.float64)
    power_c, noise_c = (np.square(values).sum((0, 2)) for values in (wanted_ncm, wanted_ncm - found_ncm))
    heard_c = power_c > 0
    ratio_c = power_c[heard_c] / np.maximum(noise_c[heard_c], 1e-30)
    return float(np.clip(10 * np.log10(ratio_c), 0, CLEAN).mean()) if heard_c.any() else CLEAN


def _tflite(spec: ModelSpec, source: Path, shipped: Path, images: np.ndarray) -> Iterable[tuple[str, float]]:
    """LiteRT keeps every tensor's name; a fused one names all the layers in it, of which the first is told."""
    wanted, found = _tensors(source, images), _tensors(shipped, images)
    patterns = {layer.name: re.compile(rf"(?:^|[;/]){re.escape(layer.name)}(?:_\d+)?/") for layer in spec.layers}
    measured: dict[str, float] = {}
    for name, values in wanted.items():
        layers = [layer for layer, pattern in patterns.items() if pattern.search(name)]
        if layers and name in found:
            shape = (len(images), -1, values.shape[-1])
            pair = (part.reshape(shape).transpose(0, 2, 1) for part in (values, found[name]))
            measured.setdefault(layers[0], _decibels(*pair))
    return measured.items()


def _tensors(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every activation by name, as real numbers."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    runner = Interpreter(
        model_path=str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    (source,) = runner.get_input_details()
    runner.resize_tensor_input(source["index"], images.shape)
    runner.allocate_tensors()
    runner.set_tensor(source["index"], images)
    runner.invoke()
    found = {}
    for tensor in runner.get_tensor_details():
        scales, zeros = (tensor["quantization_parameters"][key] for key in ("scales", "zero_points"))
        is_activation = tensor["name"] and len(tensor["shape"]) > 1 and tensor["shape"][0] == len(images)
        if is_activation and len(scales) < 2:
            values = runner.get_tensor(tensor["index"]).astype(np.float64)
            found[tensor["name"]] = (values - zeros[0]) * scales[0] if len(scales) else values
    return found


def _onnx(spec: ModelSpec, source: Path, shipped: Path, images: np.ndarray) -> Iterable[tuple[str, float]]:
    """ONNX Runtime's own debugger matches the tensors; a layer is known by the name of its weights."""
    import onnx
    from onnxruntime.quantization import qdq_loss_debug
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        prepared, opened = (str(Path(folder) / name) for name in ("prepared.onnx", "opened.onnx"))
        quant_pre_process(str(source), prepared, skip_symbolic_shape=True)
        values = []
        for path in (str(shipped), prepared):
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
    """The layer whose weights each tensor has met last, by the tensor's name."""
    layers = {f"{layer.name}.weight": layer.name for layer in spec.layers}
    owners: dict[str, str] = {}
    for node in nodes:
        weights = [layers[name] for given in node.input for name in (given.removeprefix("model."),) if name in layers]
        inherited = [owners[given] for given in node.input if given in owners]
        for owner in (weights or inherited)[:1]:
            owners.update(dict.fromkeys(node.output, owner))
    return owners
