"""Copy weights from one file to another, across frameworks: read, map to a spec, write, read back and compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from diptych import engines
from diptych.artifacts.locks import settle, staging
from diptych.artifacts.store import read_arrays, write_arrays
from diptych.data.preprocess import RESIZING
from diptych.deployment.card import Card, parity_digest
from diptych.deployment.file_types import checked_type, find_card
from diptych.deployment.formats import FORMATS, Format
from diptych.deployment.weight_mapping import map_weights, without
from diptych.engines.contract import CARD, Arrays, Stored
from diptych.engines.session import Session, Sessions
from diptych.errors import ArtifactError, UsageError
from diptych.spec import ModelSpec
from diptych.spec.layers import Normalize

# Weights are read from files of these formats; how those of others are saved as one of them.
_READABLE = ("state-dict", "safetensors", "keras", "h5")
_HOW = {
    "torchscript": "torch.save(torch.jit.load('FILE').state_dict(), 'weights.pt')",
    "torch-export": "torch.save(torch.export.load('FILE').state_dict, 'weights.pt')",
    "saved-model": "model.save('NAME.keras') in Keras",
}
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
    layer_map: Mapping[str, str] | None = None,
    key: str | None = None,
    ignore: Sequence[str] = (),
    force: bool = False,
    workers: Mapping[str, Session] | None = None,
) -> Transfer:
    """Copy the weights in one file to another, with the processes in `workers` if given; see `api.transfer`."""
    form = _format_of(target)
    if target.is_dir():
        raise UsageError(f"'{target}' is a folder; expected a file name.")
    if target.exists() and not force:
        raise UsageError(f"'{target}' already exists; use --force to replace it.")
    found = find_card(source)
    card = _card_for(form, source, found, spec)
    with Sessions() if workers is None else nullcontext(workers) as processes:
        stored = without(_read_stored(source, processes.__getitem__, key), ignore, str(source))
        mapped = map_weights(stored, card.spec, str(source), layer_map)
        remarks = (*stored.remarks, *(() if found else (_UNCHECKED,)))
        card = replace(card, parity=parity_digest(card.spec, mapped.arrays))
        _write(mapped.arrays, card, form, target, processes)
    normalize = cast(Normalize, card.spec.layers[0])
    counts = (mapped.by_name, mapped.by_structure, mapped.by_map)
    sizes = (len(mapped.arrays), card.spec.num_parameters)
    means = (normalize.mean, normalize.std)
    return Transfer(source, target, card.spec.name, *sizes, *counts, mapped.casts, *means, remarks)


def read_weights(path: Path, spec: ModelSpec) -> Arrays:
    """Read the weights in a file, by canonical name in canonical layout, float32; imports its framework."""
    return map_weights(_read_stored(path, engines.get), spec, str(path)).arrays


def _format_of(path: Path) -> Format:
    suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        raise UsageError(f"Unsupported weights file '{path}': its name must end in {', '.join(_SUFFIXES)}.")
    return FORMATS[_SUFFIXES[suffix]]


def _read_stored(path: Path, engine: Callable[[str], Any], key: str | None = None) -> Stored:
    """Read the arrays in a file, whatever its name; `engine` returns the engine of a name, or its process."""
    file_type = checked_type(path)
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


def _card_for(form: Format, source: Path, card: Card | None, spec: ModelSpec | None) -> Card:
    """Build the target's card, from the source's where it describes the same classes."""
    model = spec or (card.spec if card else None)
    if model is None:
        raise UsageError(
            f"'{source}' contains no model spec: add --model NAME (see `diptych models`) or a spec.json, "
            "with --input-shape and --num-classes."
        )
    if card and card.spec.num_classes == model.num_classes:
        return replace(card.for_format(form.name), spec=model)
    names = tuple(map(str, range(model.num_classes)))
    return Card(form.name, model, names, RESIZING, dataset="unknown", trained_by=(), parity="")


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
