"""Checkpoints: the complete state of a training, in a folder that is renamed when complete (docs/training.md).

No random generator has state to save, and checkpoints share no files. The caller of `save` holds the run's lock.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from diptych.artifacts.run import Run
from diptych.artifacts.store import array_parts, make_folder, read_arrays, refusal, sync, write_parts
from diptych.engines.contract import NO_STEPS, Arrays, Totals
from diptych.errors import ArtifactError, first_of
from diptych.processes import Notify
from diptych.spec import ModelSpec
from diptych.spec.init import initial_weights

VERSION = 3
STATE, BEST, MANIFEST = "state.safetensors", "best.safetensors", "manifest.sha256"
# The file is missing, or the disk fails there; other errors may be temporary.
_DAMAGE = {errno.ENOENT, errno.EIO}
_FACTS = ("epochs", "totals", "best_epoch", "origin", "seconds")
_MANIFEST = re.compile(rb"([0-9a-f]{64}  best\.safetensors\n)?[0-9a-f]{64}  state\.safetensors\n")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training: every array of the model and of the optimizer, `step` included, and its history."""

    weights: Arrays
    optimizer: Arrays
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """A record for each finished epoch."""
    totals: Totals = NO_STEPS
    """Sums over the steps of the current epoch."""
    best: Arrays | None = None
    """Weights of the best epoch so far, if the recipe keeps them."""
    best_epoch: int = 0
    origin: Mapping[str, Any] = field(default_factory=dict)
    """What the training depends on, as JSON; see `provenance`."""
    seconds: float = 0.0
    """Duration of the steps of the current epoch."""

    @property
    def place(self) -> tuple[int, int]:
        """Finished epochs, and steps taken in the next one."""
        return len(self.epochs), self.totals.steps


@dataclass(frozen=True)
class Start:
    """The model and the weights of another training, for data with these classes."""

    spec: ModelSpec
    weights: Arrays
    source: str
    remark: str
    """What was taken over, and what is new."""

    @classmethod
    def of(
        cls, source: str, spec: ModelSpec, names: Sequence[str], weights: Arrays, wanted: Sequence[str], seed: int
    ) -> Self:
        """Return all weights, in the order of the `wanted` classes, or a new last layer if `names` are others.

        Raises SpecError if the classes differ, and the model has no last layer that could be replaced.
        """
        remark = f"started from all weights of '{source}'"
        if list(names) == list(wanted):
            return cls(spec, weights, source, remark)
        made, head = spec.with_classes(len(wanted)), {layer.name for layer in spec.head}
        if sorted(names) == sorted(wanted):
            order, remark = list(map(list(names).index, wanted)), f"{remark}, its classes in the order of the data"
            new = {name: array[order] for name, array in weights.items() if name.rpartition(".")[0] in head}
        else:
            new = initial_weights([array for array in made.arrays if made.owner(array).name in head], seed)
            classes = f"it has the classes {first_of(names)}, the data {first_of(wanted)}"
            remark = f"started from '{source}' with a new last layer '{spec.head[0].name}': {classes}"
        return cls(made, weights | new, source, remark)


def save(run: Run, checkpoint: Checkpoint, keep: int = 2) -> None:
    """Write a checkpoint, then remove all but the newest `keep`; raises ArtifactError if the system refuses.

    Checkpoints of the same or later steps are removed, too: the training did not continue from them.
    """
    folder, step = run.checkpoints_dir, int(checkpoint.optimizer["step"])
    try:
        _sweep(folder)
        older = [path for path in _paths(folder) if _order(path)[0] < step]
        kept = {_write(folder, step, checkpoint), *older[: keep - 1]}
        for path in _paths(folder):
            if path not in kept:
                path.replace(path.with_name(f".{path.name}"))
        sync(folder)
        _sweep(folder)
    except (ArtifactError, OSError) as error:
        with suppress(OSError):
            _sweep(folder)
        refused = error if isinstance(error, ArtifactError) else refusal(folder, error)
        raise ArtifactError(f"{refused} To continue training, use --resume.") from error


def load(run: Run, notify: Notify = lambda kind, fields: None) -> Checkpoint | None:
    """Read the newest checkpoint that is not damaged; None if the run has none at all.

    `notify` is called for each damaged newer one, with `damaged_checkpoint`, its `file` and its `fault`. Raises
    ArtifactError if every checkpoint is damaged, or of another version.
    """
    faults = []
    for path in _paths(run.checkpoints_dir):
        fault = _fault(path)
        if fault is None:
            return _read(run, path)
        file = f"{run.checkpoints_dir.name}/{path.name}/{fault[0]}"
        notify("damaged_checkpoint", {"file": file, "fault": fault[1]})
        faults.append(f"{file} {fault[1]}")
    if faults:
        damage = f"every checkpoint is damaged ({'; '.join(faults)})"
        raise ArtifactError(f"Cannot resume '{run.directory}': {damage}. Remove the run and train again.")
    if any(path.is_file() for path in run.checkpoints_dir.glob("*")):
        raise _other_version(run, "2 or earlier")
    return None


def _paths(folder: Path) -> list[Path]:
    """The folders of all checkpoints, the newest first."""
    return sorted((path for path in folder.glob("step-*") if _order(path)[0] >= 0), key=_order, reverse=True)


def _order(path: Path) -> tuple[int, int]:
    """The step of a checkpoint and the number among those of that step, from its name; (-1, 0) for other names."""
    match = re.fullmatch(r"step-(\d{8,})(?:-(\d+))?", path.name)
    return (int(match[1]), int(match[2] or 1)) if match else (-1, 0)


def _write(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint in a hidden folder and rename it; return its path."""
    numbers = [number for other, number in map(_order, _paths(folder)) if other == step]
    path = folder / (f"step-{step:08d}-{numbers[0] + 1}" if numbers else f"step-{step:08d}")
    staged = folder / f".{path.name}"
    arrays = {f"weights/{name}": array for name, array in checkpoint.weights.items()}
    arrays |= {f"optimizer/{name}": array for name, array in checkpoint.optimizer.items()}
    facts = {name: json.dumps(getattr(checkpoint, name), default=asdict) for name in _FACTS}
    files = {STATE: array_parts(arrays, {"version": str(VERSION), **facts})}
    if checkpoint.best is not None:
        files = {BEST: array_parts(checkpoint.best, {"epoch": str(checkpoint.best_epoch)}), **files}
    digests = [f"{write_parts(staged / name, *parts)}  {name}\n" for name, parts in files.items()]
    write_parts(staged / MANIFEST, "".join(digests).encode())
    staged.replace(path)
    sync(folder)
    return path


def _read(run: Run, path: Path) -> Checkpoint:
    arrays, texts = read_arrays(path / STATE)
    if texts.get("version") != str(VERSION):
        raise _other_version(run, texts.get("version", "unknown"))
    facts = {name: json.loads(texts[name]) for name in _FACTS}
    facts["totals"] = Totals(**facts["totals"])
    best = read_arrays(path / BEST)[0] if (path / BEST).exists() else None
    return Checkpoint(_below("weights", arrays), _below("optimizer", arrays), best=best, **facts)


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(f"{prefix}/"): array for name, array in arrays.items() if name.startswith(f"{prefix}/")}


def _other_version(run: Run, version: str) -> ArtifactError:
    return ArtifactError(
        f"Cannot resume '{run.directory}': its checkpoints have version {version}, expected "
        f"{VERSION}. Resume it with the version of diptych that wrote it, or train again."
    )


def _fault(path: Path) -> tuple[str, str] | None:
    """Return the first damaged file of a checkpoint and its fault."""
    name = MANIFEST
    try:
        manifest = (path / name).read_bytes()
        if not _MANIFEST.fullmatch(manifest):
            return name, "is not a manifest"
        for line in manifest.decode().splitlines():
            digest, name = line.split()
            with (path / name).open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
            if actual != digest:
                return name, f"has sha256 {actual[:12]}…, its manifest says {digest[:12]}…"
    except OSError as error:
        if error.errno in _DAMAGE:
            return name, f"cannot be read ({error.strerror})"
        raise ArtifactError(f"Cannot read '{path / name}': {error.strerror}.") from error
    return None


def _sweep(folder: Path) -> None:
    """Make the folder of checkpoints, and delete hidden ones: those replaced, or left by a killed save."""
    make_folder(folder)
    for hidden in folder.glob(".step-*"):
        for path in hidden.iterdir():
            path.unlink()
        hidden.rmdir()
    sync(folder)
