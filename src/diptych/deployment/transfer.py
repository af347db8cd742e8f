"""Weights from one file to another, across frameworks: read, matched to a spec, written, read back and compared."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from diptych import engines
from diptych.artifacts.staging import settle, staging
from diptych.artifacts.store import write_arrays
from diptych.data.preprocess import RESIZING
from diptych.deployment.card import Card, parity_digest
from diptych.deployment.formats import Format
from diptych.deployment.matching import match
from diptych.deployment.sources import format_of, read_card, read_stored
from diptych.engines.contract import CARD, Arrays, Stored
from diptych.engines.session import Session, Sessions
from diptych.errors import ArtifactError, UsageError
from diptych.spec import ModelSpec
from diptych.spec.layers import Normalize


@dataclass(frozen=True)
class Transfer:
    """What became of a transfer."""

    source: Path
    target: Path
    model: str
    num_arrays: int
    num_parameters: int
    by_name: int
    """Layers found by name; by structure, as nothing else fitted; as the user said."""
    by_structure: int
    by_map: int
    casts: tuple[str, ...]
    """A line for each type of number in the source that was not float32."""
    mean: tuple[float, ...]
    """What the target's model normalises by, with `std`; weights alone do not say."""
    std: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def transfer(
    source: Path,
    target: Path,
    *,
    spec: ModelSpec | None = None,
    layer_map: Mapping[str, str] | None = None,
    force: bool = False,
    workers: Mapping[str, Session] | None = None,
) -> Transfer:
    """Bring the weights in one file into another.

    Args:
        source: a `.pt`, `.pth`, `.th`, `.safetensors`, `.keras`, `.h5` or `.weights.h5` file; nothing in it is run.
        target: a file of one of the same kinds.
        spec: the model; what the source's card says when not given.
        layer_map: layers of the source, by name, and the layers of the spec that they are.
        force: whether a target that is there is replaced.
        workers: processes to go on using, by engine; some of its own when not given.

    Raises:
        UsageError: a suffix is unknown, the target exists, or there is neither a spec nor a card.
        ArtifactError: the source is damaged, holds another model, or leaves open which layer is which.
        MissingEngine: a framework that one of the files needs is not installed.
    """
    with ExitStack() as stack:
        processes = stack.enter_context(Sessions()) if workers is None else workers
        form = format_of(target)
        if target.is_dir():
            raise UsageError(f"'{target}' is a folder; wanted the name of a file.")
        if target.exists() and not force:
            raise UsageError(f"'{target}' exists already; --force replaces it.")
        card = _card_for(form, source, spec)
        found = match(_stored(source, processes), card.spec, str(source), layer_map)
        card = replace(card, parity=parity_digest(card.spec, found.arrays))
        _write(found.arrays, card, form, target, processes)
    normalize = cast(Normalize, card.spec.layers[0])
    return Transfer(
        source,
        target,
        model=card.spec.name,
        num_arrays=len(found.arrays),
        num_parameters=card.spec.num_parameters,
        by_name=found.by_name,
        by_structure=found.by_structure,
        by_map=found.by_map,
        casts=found.casts,
        mean=normalize.mean,
        std=normalize.std,
    )


def read_weights(path: Path, spec: ModelSpec) -> Arrays:
    """The weights in a file, by canonical name in canonical layout, float32; its framework is imported here.

    Raises:
        ArtifactError: the file is damaged, holds another model, or leaves open which layer is which.
        MissingEngine: its framework is not installed.
    """
    return match(read_stored(path, lambda engine: engines.get(engine).read_file), spec, str(path)).arrays


def _stored(path: Path, workers: Mapping[str, Session]) -> Stored:
    return read_stored(path, lambda engine: workers[engine].read_file)


def _card_for(form: Format, source: Path, spec: ModelSpec | None) -> Card:
    """The target's card: the source's, as far as it is of the same model."""
    card = read_card(source)
    wanted = spec or (card.spec if card else None)
    if wanted is None:
        raise UsageError(
            f"'{source}' does not say which model it holds: add --model NAME (see `diptych models`) or a spec.json, "
            "with --input-shape and --num-classes."
        )
    if card and card.spec.num_classes == wanted.num_classes:
        return replace(card.for_format(form.name), spec=wanted)
    names = tuple(map(str, range(wanted.num_classes)))
    return Card(form.name, wanted, names, RESIZING, dataset="unknown", trained_by=(), parity="")


def _write(arrays: Arrays, card: Card, form: Format, target: Path, workers: Mapping[str, Session]) -> None:
    """Write beside the target, read back, compare, and only then put it in its place."""
    with staging(target.parent) as folder:
        staged = folder / target.name
        if form.writers:
            worker = workers[form.writers[0]]
            worker.build(card.spec, "float32")
            worker.load_weights(arrays)
            worker.export(form.name, staged, card.to_text())
        else:
            write_arrays(staged, arrays, {"format": "pt", CARD: card.to_text()})
        back = match(_stored(staged, workers), card.spec, str(target)).arrays
        changed = next((name for name, array in arrays.items() if array.tobytes() != back[name].tobytes()), None)
        if changed:
            raise ArtifactError(f"Cannot write '{target}': '{changed}' does not read back as it was written.")
        settle(staged, target)
