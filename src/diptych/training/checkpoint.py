"""A training's whole state at the end of an epoch, in one file that either engine can go on from.

`checkpoints/last.safetensors` holds `weights/<array>` and `optimizer/<slot>/<array>`, all in canonical layout,
and in its metadata the epochs so far. Order, augmentation and dropout follow from the seed and the step count,
so no generator has a state to be kept. `checkpoints/best.safetensors` holds the best epoch's weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays, write_arrays
from diptych.errors import ArtifactError

Arrays = dict[str, np.ndarray]
VERSION = "1"


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stands.

    Attributes:
        weights: every array of the model.
        optimizer: every array of the optimizer's state, `step` included.
        epochs: a record for each finished epoch.
    """

    weights: Arrays
    optimizer: Arrays
    epochs: list[dict[str, Any]] = field(default_factory=list)


def last_path(run: Run) -> Path:
    """Where a run keeps its latest state."""
    return run.checkpoints_dir / "last.safetensors"


def best_path(run: Run) -> Path:
    """Where a run keeps the weights of its best epoch."""
    return run.checkpoints_dir / "best.safetensors"


def save(run: Run, checkpoint: Checkpoint) -> None:
    """Write the latest state, replacing the one before."""
    arrays = {
        **{f"weights/{name}": array for name, array in checkpoint.weights.items()},
        **{f"optimizer/{name}": array for name, array in checkpoint.optimizer.items()},
    }
    write_arrays(last_path(run), arrays, {"version": VERSION, "epochs": json.dumps(checkpoint.epochs)})


def load(run: Run) -> Checkpoint:
    """Read the latest state.

    Raises:
        ArtifactError: there is none, or it is damaged or of another version.
    """
    path = last_path(run)
    if not path.exists():
        raise ArtifactError(f"Cannot resume '{run.directory}': it has no checkpoint; start the training anew.")
    arrays, metadata = read_arrays(path)
    if metadata.get("version") != VERSION:
        came = metadata.get("version")
        raise ArtifactError(f"Cannot resume '{run.directory}': its checkpoint is of version {came}, not {VERSION}.")
    return Checkpoint(_below("weights", arrays), _below("optimizer", arrays), json.loads(metadata["epochs"]))


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(f"{prefix}/"): array for name, array in arrays.items() if name.startswith(f"{prefix}/")}
