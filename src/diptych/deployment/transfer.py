"""Copy weights from one file to another, across frameworks: read, map to a spec, write, read back and compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from diptych import engines
from diptych.artifacts.locks import settle, staging
from diptych.artifacts.store import read_arrays, write_arrays
from diptych.data.preprocess import RESIZING
from diptych.deployment.card import UNKNOWN, Card, parity_digest, with_description
from diptych.deployment.file_types import Artifact, file_type_of, find_card
from diptych.deployment.formats import FORMATS, Format
from diptych.deployment.options import CardOptions
from diptych.deployment.weight_mapping import map_weights, without
from diptych.engines.contract import CARD, Arrays, Stored
from diptych.engines.keras_graph import KerasGraph, has_graph
from diptych.engines.session import Session, Sessions
from diptych.errors import ArtifactError, UsageError, first_of
from diptych.spec import ModelSpec
from diptych.spec.function import differences, pairs, training_differences
from diptych.spec.layers import Normalize, Shape

# Weights are read from files of these formats; how those of others are saved as one of them.
_READABLE = ("state-dict", "safetensors", "keras", "h5")
_HOW = {
    "torchscript": "torch.save(torch.jit.load('FILE').state_dict(), 'weights.pt')",
    "torch-export": "torch.save(torch.export.load('FILE').state_dict, 'weights.pt')",
    "saved-model": "model.save('NAME.keras') in Keras",
}
_NO_SPEC = (
    "contains no model spec: add --model NAME (see `diptych models`) or a spec.json, with --input-shape and "
    "--num-classes"
)
_FOREIGN = "has layers that specs do not have: {}; name a model with --model and add --force to do without them"
_NUM_IMAGES, _TOLERANCE = 16, 1e-3
_UNCHECKED = (
    "the file contains only weights; not checked: activations, pooling, padding, strides, epsilon, data format, "
    "the order in which layers are used, and how images are normalized"
)
_SUFFIXES = dict.fromkeys((".pt", ".pth", ".th"), "state-dict") | {
    FORMATS[name].suffix: name for name in ("safetensors", "keras", "weights-h5", "h5")
}


@dataclass(frozen=True)
class Transfer:
    """The result of a transfer."""

    source: Path
    target: Path
    model: str
    num_arrays: int
    num_parameters: int
    by_name: int
    """Layers matched by name; by order and shape; by the user's map."""
    by_structure: int
    by_map: int
    casts: tuple[str, ...]
    """One line for each type in the source other than float32."""
    mean: tuple[float, ...]
    """The target model's normalization, with `std`, which weights files do not contain."""
    std: tuple[float, ...]
    remarks: tuple[str, ...] = ()
    """What was chosen, left out or not checked, one line each."""


def transfer(
    source: Path,
    target: Path,
    *,
    spec: ModelSpec | None = None,
    card: Card | None = None,
    described: CardOptions | None = None,
    layer_map: Mapping[str, str] | None = None,
    size: Shape = (32, 32),
    key: str | None = None,
    ignore: Sequence[str] = (),
    force: bool = False,
    workers: Mapping[str, Session] | None = None,
) -> Transfer:
    """Copy the weights in one file to another, with the processes in `workers` if given; see `api.transfer`."""
    form = _format_of(target)
    if target.is_dir():
        raise UsageError(f"'{target}' is a folder; expected a file name.")
    found, where = card or find_card(source), str(source)
    with Sessions() if workers is None else nullcontext(workers) as processes:
        stored = without(_read_stored(source, processes.__getitem__, key), ignore, where)
        is_known = found is None and has_graph(stored.config)
        graph = KerasGraph(stored, spec, spec.input_shape if spec else size, where) if is_known else None
        stored = graph.stored if graph else stored
        own = found.spec if found else graph.spec if graph else None
        model = spec or own
        if model is None:
            raise UsageError(f"'{where}' {_FOREIGN.format(first_of(graph.foreign, 8)) if graph else _NO_SPEC}.")
        faults = differences(own or graph, spec) if spec and (own or graph) else []
        if faults and not force:
            listed = "; ".join([*faults[:8], *([f"and {len(faults) - 8} more"] if faults[8:] else [])])
            raise ArtifactError(
                f"'{where}' is another model than {model.name}: {listed}. Leave out --model to use the file's own, or "
                "add --force to use the weights nevertheless and record this."
            )
        if target.exists() and not force:  # checked last, because --force also accepts differences
            raise UsageError(f"'{target}' already exists; use --force to replace it.")
        weighted = {path.rpartition(".")[0] for path in stored.arrays}
        names = pairs(own, spec) if spec and own and not faults and not layer_map else {}
        names = {name: target for name, target in names.items() if name in weighted}
        mapped = map_weights(stored, model, where, names or layer_map)
        if names:
            by_name = sum(name == target for name, target in names.items())
            mapped = replace(mapped, by_name=by_name, by_structure=len(names) - by_name, by_map=0)
        unchecked = graph.remarks if graph else [] if found else [_UNCHECKED]
        remarks = [*stored.remarks, *unchecked, *mapped.remarks, *(f"differs: {fault}" for fault in faults)]
        if found and model == own and parity_digest(own, mapped.arrays) != found.parity:
            remarks.append("warning: the weights have changed since the file's card was written")
        if spec and own and own != spec:
            remarks += training_differences(own, spec)
            weights = (map_weights(stored, own, where).arrays, mapped.arrays)
            worker = processes[(*form.writers, *engines.installed())[0]]
            remarks.append(_compare_logits((own, spec), weights, where, worker, force))
        card = with_description(_card_for(form, found, model), described or CardOptions(), where, is_scaled=bool(graph))
        model = card.spec
        if described and described.mean:  # the user's, not what the file leaves open
            remarks = [line.partition(", so the model ")[0] for line in remarks]
        told = tuple(dict.fromkeys((*card.remarks, *remarks)))
        card = replace(card, parity=parity_digest(model, mapped.arrays), remarks=told)
        _write(mapped.arrays, card, form, target, processes)
    normalize = cast(Normalize, model.layers[0])
    counts = (mapped.by_name, mapped.by_structure, mapped.by_map)
    sizes = (len(mapped.arrays), model.num_parameters)
    means = (normalize.mean, normalize.std)
    return Transfer(source, target, model.name, *sizes, *counts, mapped.casts, *means, tuple(remarks))


def read_weights(path: Path, spec: ModelSpec) -> Arrays:
    """Read the weights in a file, by canonical name in canonical layout, float32; imports its framework."""
    return map_weights(_read_stored(path, engines.get), spec, str(path)).arrays


def read_described(artifact: Artifact) -> Arrays:
    """Read the weights in a file as `read_weights` does; raise ArtifactError if they are not those of its card."""
    weights = read_weights(artifact.path, artifact.card.spec)
    if parity_digest(artifact.card.spec, weights) != artifact.card.parity:
        raise ArtifactError(f"The weights in '{artifact.path}' have changed since it was written: write it again.")
    return weights


def _format_of(path: Path) -> Format:
    suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        raise UsageError(f"Unsupported weights file '{path}': its name must end in {', '.join(_SUFFIXES)}.")
    return FORMATS[_SUFFIXES[suffix]]


def _read_stored(path: Path, engine: Callable[[str], Any], key: str | None = None) -> Stored:
    """Read the arrays in a file, whatever its name; `engine` returns the engine of a name, or its process."""
    file_type = file_type_of(path)
    form = FORMATS[file_type.formats[0]]
    if form.name not in _READABLE:
        how = _HOW.get(form.name, "torch.save(model.state_dict(), 'weights.pt') where the model was made")
        raise ArtifactError(
            f"'{path}' is in the format {form.name}; weights are read from PyTorch state dicts, safetensors and Keras "
            f"files. Save them with {how}; for an exported run, name the run's model.safetensors."
        )
    if form.writers:
        stored: Stored = engine(form.writers[0]).read_file(path, key)
        return stored
    if key is not None:
        raise UsageError(f"'{path}' has no state dict '{key}': --key is for PyTorch checkpoints.")
    arrays, _ = read_arrays(path)
    return Stored({name: array for name, array in arrays.items() if array.dtype.kind == "f"})  # not counters


def _compare_logits(
    specs: tuple[ModelSpec, ModelSpec], weights: tuple[Arrays, Arrays], where: str, worker: Session, force: bool
) -> str:
    """Return the largest difference of the logits of two models on sample images; raise if they are not equal."""
    if len({(spec.input_shape, spec.num_classes) for spec in specs}) > 1:
        return "logits not compared, because images or classes differ"
    images_nhwc = np.random.default_rng(0).integers(0, 256, (_NUM_IMAGES, *specs[0].input_shape), np.uint8)
    logits = []
    for spec, arrays in zip(specs, weights, strict=True):
        worker.build(spec, "float32")
        worker.load_weights(arrays)
        logits.append(worker.predict(images_nhwc))
    worst, largest = float(np.abs(logits[0] - logits[1]).max()), float(np.abs(logits[0]).max())
    line = f"logits on {_NUM_IMAGES} sample images: at most {worst:.2g} from the file's own model's, of {largest:.2g}"
    if not worst <= _TOLERANCE * largest and not force:
        raise ArtifactError(f"'{where}': {line}; the layers are mapped otherwise than in the file. Correct --map.")
    return line


def _card_for(form: Format, card: Card | None, model: ModelSpec) -> Card:
    """Build the target's card, from the source's where it describes the same classes."""
    if card and card.spec.num_classes == model.num_classes:
        return replace(card.for_format(form.name), spec=model)
    names = tuple(map(str, range(model.num_classes)))
    return Card(form.name, model, names, RESIZING, dataset=UNKNOWN, trained_by=(), parity="")


def _write(arrays: Arrays, card: Card, form: Format, target: Path, workers: Mapping[str, Session]) -> None:
    """Write beside the target, read back, compare, and rename."""
    with staging(target.parent) as folder:
        staged = folder / target.name
        if form.writers:
            worker = workers[form.writers[0]]
            worker.build(card.spec, "float32")
            worker.load_weights(arrays)
            worker.export(form.name, staged, card.to_text(), None)
        else:
            write_arrays(staged, arrays, {"format": "pt", CARD: card.to_text()})
        back = map_weights(_read_stored(staged, workers.__getitem__), card.spec, str(target)).arrays
        changed = next((name for name, array in arrays.items() if array.tobytes() != back[name].tobytes()), None)
        if changed:
            raise ArtifactError(f"Cannot write '{target}': '{changed}' has different values when read back.")
        settle(staged, target)
