"""Copy weights from one file to another, across frameworks: read, map to a spec, write, read back and compare."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from diptych import engines
from diptych.artifacts.locks import settle, staging
from diptych.artifacts.store import read_arrays, write_arrays
from diptych.data.preprocess import RESIZING
from diptych.deployment.card import Card, parity_digest
from diptych.deployment.file_types import check_files, find_card, is_artifact, open_zip
from diptych.deployment.formats import FORMATS, Format
from diptych.deployment.weight_mapping import map_weights
from diptych.engines.contract import CARD, Arrays, Stored
from diptych.engines.session import Session, Sessions
from diptych.errors import ArtifactError, UsageError
from diptych.spec import ModelSpec
from diptych.spec.layers import Normalize

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


def transfer(
    source: Path,
    target: Path,
    *,
    spec: ModelSpec | None = None,
    layer_map: Mapping[str, str] | None = None,
    force: bool = False,
    workers: Mapping[str, Session] | None = None,
) -> Transfer:
    """Copy the weights in one file to another, with the processes in `workers` if given; see `api.transfer`."""
    form = _format_of(target)
    if target.is_dir():
        raise UsageError(f"'{target}' is a folder; expected a file name.")
    if target.exists() and not force:
        raise UsageError(f"'{target}' already exists; use --force to replace it.")
    card = _card_for(form, source, spec)
    with Sessions() if workers is None else nullcontext(workers) as processes:
        mapped = map_weights(_read_stored(source, processes.__getitem__), card.spec, str(source), layer_map)
        card = replace(card, parity=parity_digest(card.spec, mapped.arrays))
        _write(mapped.arrays, card, form, target, processes)
    normalize = cast(Normalize, card.spec.layers[0])
    counts = (mapped.by_name, mapped.by_structure, mapped.by_map)
    sizes = (len(mapped.arrays), card.spec.num_parameters)
    return Transfer(source, target, card.spec.name, *sizes, *counts, mapped.casts, normalize.mean, normalize.std)


def read_weights(path: Path, spec: ModelSpec) -> Arrays:
    """Read the weights in a file, by canonical name in canonical layout, float32; imports its framework."""
    return map_weights(_read_stored(path, engines.get), spec, str(path)).arrays


def read_card(path: Path) -> Card | None:
    """Return the card in a weights file, or None if it has none."""
    # PyTorch's files from before 2020 are pickles and never have a card.
    is_pickle = _checked_format(path).name == "state-dict" and not zipfile.is_zipfile(path)
    return None if is_pickle else find_card(path)


def _format_of(path: Path) -> Format:
    suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        raise UsageError(f"Unsupported weights file '{path}': its name must end in {', '.join(_SUFFIXES)}.")
    return FORMATS[_SUFFIXES[suffix]]


def _checked_format(path: Path) -> Format:
    form = _format_of(path)
    if not is_artifact(path):
        raise ArtifactError(f"No file '{path}'.")
    check_files(path)
    if zipfile.is_zipfile(path):
        open_zip(path).close()
    return form


def _read_stored(path: Path, engine: Callable[[str], Any]) -> Stored:
    """Read the arrays in a file; `engine` returns the engine of a name, or its process."""
    writers = _checked_format(path).writers
    if writers:
        stored: Stored = engine(writers[0]).read_file(path)
        return stored
    arrays, _ = read_arrays(path)
    return Stored({name: array for name, array in arrays.items() if array.dtype.kind == "f"})  # not counters


def _card_for(form: Format, source: Path, spec: ModelSpec | None) -> Card:
    """Build the target's card, from the source's where it describes the same classes."""
    card = read_card(source)
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
