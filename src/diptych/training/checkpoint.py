"""A training's whole state, kept so that whatever stops the machine, a whole one is found again.

A checkpoint is up to three files in `checkpoints/`, written in this order:

    best-00000007.safetensors    the weights of the best epoch so far, where the recipe keeps them
    step-00000123.safetensors    `weights/<array>` and `optimizer/<slot>/<array>`, in canonical layout; the rest as text
    step-00000123.sha256         digests of both; `sha256sum --check` reads it

A checkpoint is there when its manifest is, and whole when its files have the digests in it. Order, augmentation
and dropout follow from the seed and the step count, so no generator has a state to be kept.

No file that a manifest names is written again: what would have its name is called `…-2` or `…-3`. Nor do a checkpoint
and the one before it share a file, so damage to any file costs one of them. Whoever saves holds the run's lock.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from diptych.artifacts.events import count_events
from diptych.artifacts.run import Run
from diptych.artifacts.store import (
    array_parts,
    read_arrays,
    remove_files,
    sha256_of,
    write_parts,
)
from diptych.engines.contract import NO_STEPS, Arrays, Totals
from diptych.errors import ArtifactError

VERSION = 2
# What reading says of a file that is gone or whose place on the disk is broken; another reason may pass.
LOST = {errno.ENOENT, errno.EIO}
Tell = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stands.

    Attributes:
        weights: every array of the model.
        optimizer: every array of the optimizer's state, `step` included.
        epochs: a record for each finished epoch.
        position: steps taken in the epoch that is under way.
        totals: sums over those steps.
        best: weights of the best epoch so far, where the recipe keeps them.
        best_epoch: which epoch that was, from 1.
        origin: what the training follows from, as JSON holds it; whoever resumes compares it.
        seconds: what the steps of the epoch under way took.
    """

    weights: Arrays
    optimizer: Arrays
    epochs: list[dict[str, Any]] = field(default_factory=list)
    position: int = 0
    totals: Totals = NO_STEPS
    best: Arrays | None = None
    best_epoch: int = 0
    origin: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def save(run: Run, checkpoint: Checkpoint, keep: int = 2) -> None:
    """Write a checkpoint; older ones than the newest `keep` go when it is safe on the disk.

    Checkpoints of later steps go as well: a training that saves an earlier step did not go on from them.

    Raises:
        ArtifactError: the system refuses to write; the checkpoints that were there stay.
    """
    folder = run.checkpoints_dir
    try:
        _sweep(folder)
        _write(folder, checkpoint, keep)
        _sweep(folder)
    except ArtifactError as error:
        with suppress(ArtifactError):
            _sweep(folder)
        raise ArtifactError(f"{error} The training goes on with --resume.") from error


def load(run: Run, tell: Tell = lambda kind, fields: None) -> Checkpoint:
    """Read the newest whole checkpoint.

    Args:
        run: the run.
        tell: told of each newer one that is damaged: `damaged_checkpoint`, with the `file` and its `fault`.

    Raises:
        ArtifactError: there is none, each one is damaged, or it is of another version.
    """
    faults = []
    for manifest in _manifests(run.checkpoints_dir):
        fault = _fault(manifest)
        if fault is None:
            return _read(run, manifest)
        file = f"{run.checkpoints_dir.name}/{fault[0]}"
        tell("damaged_checkpoint", {"file": file, "fault": fault[1]})
        faults.append(f"{file} {fault[1]}")
    if faults:
        raise ArtifactError(
            f"Cannot resume '{run.directory}': no checkpoint is whole ({'; '.join(faults)}); "
            "remove the run and train anew."
        )
    raise ArtifactError(f"Cannot resume '{run.directory}': it has no checkpoint; remove the run and train anew.")


def exists(run: Run) -> bool:
    """Whether a run has a checkpoint, whole or not."""
    return bool(_manifests(run.checkpoints_dir))


def lost(run: Run) -> str:
    """What says that a run without any manifest had checkpoints, in words; empty where none was ever saved.

    One state without a manifest is what a first save leaves that was killed.
    """
    states = {path.name for path in run.checkpoints_dir.glob("*.safetensors") if not path.name.startswith(".")}
    num_logged = count_events(run.events_path, "epoch")
    if exists(run) or not (num_logged or "last.safetensors" in states or len(states) > 1):
        return ""
    return (
        f"no checkpoint has its manifest (checkpoints/*.sha256) any more, though {num_logged} epochs were logged and "
        f"{len(states)} files of checkpoints are there, so it would begin anew"
    )


def num_epochs(run: Run) -> int:
    """Finished epochs in a run's newest whole checkpoint; 0 without one."""
    whole = (manifest for manifest in _manifests(run.checkpoints_dir) if not _fault(manifest))
    return next((len(_read(run, manifest).epochs) for manifest in whole), 0)


def _write(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Write the files of a checkpoint, its manifest last, and remove the manifests of those that go."""
    step = int(checkpoint.optimizer["step"])
    older = [path for path in _manifests(folder) if _step_of(path) < step]
    digests = _write_best(folder, checkpoint, _named(older[:1]))
    taken = _named(_manifests(folder))
    state = next(name for name in _names(f"step-{step:08d}") if name not in taken)
    digests[state] = write_parts(folder / state, *_state_parts(checkpoint))
    manifest = folder / f"step-{step:08d}.sha256"
    write_parts(manifest, "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode())
    kept = {manifest, *older[: keep - 1]}
    remove_files(path for path in _manifests(folder) if path not in kept)


def _state_parts(checkpoint: Checkpoint) -> list[bytes | memoryview]:
    arrays = {
        **{f"weights/{name}": array for name, array in checkpoint.weights.items()},
        **{f"optimizer/{name}": array for name, array in checkpoint.optimizer.items()},
    }
    facts = {
        "version": VERSION,
        "epochs": checkpoint.epochs,
        "position": checkpoint.position,
        "totals": asdict(checkpoint.totals),
        "best_epoch": checkpoint.best_epoch,
        "origin": dict(checkpoint.origin),
        "seconds": checkpoint.seconds,
    }
    return array_parts(arrays, {name: json.dumps(fact) for name, fact in facts.items()})


def _write_best(folder: Path, checkpoint: Checkpoint, before: set[str]) -> dict[str, str]:
    """Digest by name of a file with the best weights that is none of `before`; one that is there already will do."""
    if checkpoint.best is None:
        return {}
    parts = array_parts(checkpoint.best, {"epoch": str(checkpoint.best_epoch)})
    hashed, named = hashlib.sha256(), _named(_manifests(folder))
    for part in parts:
        hashed.update(part)
    digest, names = hashed.hexdigest(), _names(f"best-{checkpoint.best_epoch:08d}")
    name = next(n for n in names if n not in named or (n not in before and not _change(folder / n, digest)))
    if name not in named:
        write_parts(folder / name, *parts)
    return {name: digest}


def _names(stem: str) -> Iterator[str]:
    """`stem.safetensors`, `stem-2.safetensors`, `stem-3.safetensors`, …"""
    return (f"{stem}.safetensors" if number == 1 else f"{stem}-{number}.safetensors" for number in count(1))


def _manifests(folder: Path) -> list[Path]:
    """Manifests of all checkpoints, the newest first."""
    return sorted((path for path in folder.glob("*.sha256") if _step_of(path) >= 0), key=_step_of, reverse=True)


def _step_of(manifest: Path) -> int:
    """The step of a manifest, from its name; -1 for what is none."""
    found = re.fullmatch(r"step-(\d{8,})\.sha256", manifest.name)
    return int(found[1]) if found else -1


def _named(manifests: Iterable[Path]) -> set[str]:
    """Files that manifests name; one that cannot be read names none."""
    return {name for manifest in manifests for name in _digests(manifest)}


def _digests(manifest: Path) -> dict[str, str]:
    """SHA-256 by file name, the state last; nothing when it cannot be read or a byte is not as `save` writes it."""
    try:
        content = manifest.read_bytes()
    except OSError as error:
        if error.errno in LOST:
            return {}
        raise ArtifactError(f"Cannot read '{manifest}': {error.strerror}.") from error
    line = rb"([0-9a-f]{64})  (%b(?:-\d+)?\.safetensors)\n"
    best, state = line % rb"best-\d{8,}", line % re.escape(manifest.stem).encode()
    found = re.fullmatch(rb"(?:%b)?%b" % (best, state), content)
    groups = [group.decode() for group in found.groups() if group is not None] if found else []
    return dict(zip(groups[1::2], groups[::2], strict=True))


def _fault(manifest: Path) -> tuple[str, str] | None:
    """The first file of a checkpoint that is not as it was written, and what is wrong with it."""
    digests = _digests(manifest)
    if not digests:
        return manifest.name, "is no manifest of a checkpoint"
    faults = ((name, _change(manifest.with_name(name), digest)) for name, digest in digests.items())
    return next(((name, fault) for name, fault in faults if fault), None)


def _change(path: Path, digest: str) -> str:
    """How a file's content differs from that with a digest; empty when it does not."""
    try:
        found = sha256_of(path)
    except ArtifactError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in LOST:
            return f"cannot be read ({error.__cause__.strerror})"
        raise
    return "" if found == digest else f"has sha256 {found[:12]}…, its manifest says {digest[:12]}…"


def _read(run: Run, manifest: Path) -> Checkpoint:
    *best_name, state_name = _digests(manifest)
    arrays, texts = read_arrays(manifest.with_name(state_name))
    if texts.get("version") != str(VERSION):
        came = texts.get("version")
        raise ArtifactError(f"Cannot resume '{run.directory}': its checkpoint is of version {came}, not {VERSION}.")
    facts = {name: json.loads(text) for name, text in texts.items()}
    return Checkpoint(
        weights=_below("weights", arrays),
        optimizer=_below("optimizer", arrays),
        epochs=facts["epochs"],
        position=facts["position"],
        totals=Totals(**facts["totals"]),
        best=read_arrays(manifest.with_name(best_name[0]))[0] if best_name else None,
        best_epoch=facts["best_epoch"],
        origin=facts["origin"],
        seconds=facts["seconds"],
    )


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(f"{prefix}/"): array for name, array in arrays.items() if name.startswith(f"{prefix}/")}


def _sweep(folder: Path) -> None:
    """Remove what a save that was stopped left behind: temporary files, and files that no manifest names."""
    named = _named(_manifests(folder))
    remove_files(
        path for path in folder.glob("*") if path.suffix in {".tmp", ".safetensors"} and path.name not in named
    )
