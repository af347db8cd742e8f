"""A run's folder: everything recorded about a training, readable without diptych (docs/models.md)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from diptych.artifacts import store
from diptych.artifacts.events import read_events
from diptych.artifacts.record import RunRecord, read_record
from diptych.errors import ArtifactError, UsageError, remark
from diptych.files import expanded
from diptych.options import EngineName

ALWAYS_VERIFIED = 64 * 2**20
"""Bytes of a file that `Run.finished` always hashes, in about 30 ms."""
_ADVICE = "Restore it from a copy; or, if the changes are yours, remove manifest.json."
_ARRAYS = ("logits", "labels", "sample_ids")
"""The fields of `Predictions` in `predictions.npz`."""
_READ = ("run.json", "model.safetensors", "metrics.json", "predictions.npz", "events.jsonl", "cost.json")


@dataclass(frozen=True)
class Predictions:
    """A model's outputs on the test set."""

    logits_nk: np.ndarray
    """float32, (num_samples, num_classes)"""
    labels_n: np.ndarray
    """int64, (num_samples,)"""
    sample_ids_n: np.ndarray
    """(num_samples,): the sample's id in the dataset, an index or a file name"""


class _Inside:
    """The path of a file or folder in a run directory."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: Run, owner: type[Run]) -> Path:
        return run.directory / self._name


@dataclass(frozen=True)
class Run:
    """A run's folder: what was trained, and the paths and content of its files."""

    directory: Path

    record_path = _Inside("run.json")
    events_path = _Inside("events.jsonl")
    divergence_path = _Inside("diverged.json")
    metrics_path = _Inside("metrics.json")
    cost_path = _Inside("cost.json")
    predictions_path = _Inside("predictions.npz")
    start_path = _Inside("start.safetensors")
    model_path = _Inside("model.safetensors")
    checkpoints_dir = _Inside("checkpoints")
    tensorboard_dir = _Inside("tensorboard")
    plots_dir = _Inside("plots")
    export_dir = _Inside("export")
    tracking_path = _Inside("tracking.json")
    report_path = _Inside("report.html")
    manifest_path = _Inside("manifest.json")

    @classmethod
    def create(cls, parent: Path, name: str, record: RunRecord) -> Self:
        """Make a new run directory in `parent`: `name` or the first free of `name-2`, `name-3`, …"""
        try:
            store.make_folder(parent)
            for number in count(1):
                folder = parent / (name if number == 1 else f"{name}-{number}")
                with suppress(FileExistsError):
                    folder.mkdir()
                    break
            store.sync(parent)
        except OSError as error:
            raise ArtifactError(f"Cannot make the folder '{error.filename or parent}': {error.strerror}.") from error
        run = cls(folder)
        run.write_record(record)
        return run

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Self:
        """Open a run's folder, or the only run in a folder; raises ArtifactError when it is neither."""
        folder = expanded(directory)
        if is_run(folder):
            return cls(folder)
        runs = sorted(path.parent for path in folder.glob("*/run.json"))
        if len(runs) != 1:
            raise ArtifactError(f"'{folder}' is not a run: {_what_is_there(folder, runs)}")
        return cls(runs[0])

    def __fspath__(self) -> str:
        return str(self.directory)

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of `metrics.json`; raises UsageError if the run is not finished."""
        self.finished()
        return self.read_metrics()

    @property
    def predictions(self) -> Predictions:
        """Logits and labels of the test images; raises UsageError if the run is not finished."""
        self.finished()
        return self.read_predictions()

    @property
    def history(self) -> list[dict[str, Any]]:
        """A row for each finished epoch, for `pandas.DataFrame`: epoch, losses, accuracies, learning rate, speed."""
        epochs = read_events(self.events_path, "epoch") if self.events_path.exists() else []
        return [{name: value for name, value in epoch.items() if name not in ("kind", "time")} for epoch in epochs]

    def build(self, engine: EngineName, **options: Any) -> Any:
        """Build the trained model, a plain `torch.nn.Module` or `keras.Model`; options are those of `diptych.build`."""
        import diptych

        model = diptych.build(self.finished().spec, engine, **options)
        import_module("diptych.engines").get(engine).load_weights(model, store.read_arrays(self.model_path)[0])
        return model

    def finished(self, *, verify_files: bool = False) -> RunRecord:
        """Read the record of a finished run; raises UsageError if it is not finished.

        Raises ArtifactError if a file that commands read has changed since `seal`, and warns of what is not checked:
        files of more than `ALWAYS_VERIFIED` bytes, unless `verify_files` is set.
        """
        record = self.read_record()
        if record.status != "finished":
            resume = f"Resume it with: diptych train --resume {self.directory}"
            raise UsageError(f"'{self.directory}' is not finished ({record.status}). {resume}")
        if not self.manifest_path.exists():
            remark(f"'{self.directory}' has no manifest.json, so changes to its files cannot be detected.")
            return record
        sizes = {name: path.stat().st_size for name in _READ if (path := self.directory / name).is_file()}
        large = [name for name, size in sizes.items() if size > ALWAYS_VERIFIED and not verify_files]
        self.verify([name for name in _READ if name not in large])
        if large:
            place = f"{', '.join(large)} in '{self.directory}'"
            remark(f"Not verified, because larger than 64 MB (see --verify-files): {place}.")
        return record

    def read_record(self) -> RunRecord:
        """Read `run.json`; raises ArtifactError when it is damaged."""
        return read_record(self.record_path, RunRecord)

    def write_record(self, record: RunRecord) -> None:
        """Write `run.json`."""
        store.write_json(self.record_path, record)

    def read_start(self, sha256: str) -> dict[str, np.ndarray]:
        """Read `start.safetensors`; raises ArtifactError when it has another digest."""
        if store.sha256_of(self.start_path) != sha256:
            raise ArtifactError(f"'{self.start_path}' has changed: start a new run.")
        return store.read_arrays(self.start_path)[0]

    def read_metrics(self) -> dict[str, Any]:
        """Read `metrics.json`."""
        return store.read_json(self.metrics_path)

    def read_predictions(self) -> Predictions:
        """Read `predictions.npz`; raises ArtifactError when an array is missing or of another length."""
        arrays = store.read_npz(self.predictions_path)
        lengths = {name: len(arrays[name]) for name in _ARRAYS if name in arrays}
        if len(lengths) < len(_ARRAYS) or len(set(lengths.values())) > 1:
            expected = f"expected logits, labels and sample_ids of one length, got {lengths}"
            raise ArtifactError(f"Cannot read '{self.predictions_path}': {expected}.")
        return Predictions(*(arrays[name] for name in lengths))

    def write_predictions(self, predictions: Predictions) -> None:
        """Write `predictions.npz`."""
        store.write_npz(self.predictions_path, dict(zip(_ARRAYS, vars(predictions).values(), strict=True)))

    def read_manifest(self) -> dict[str, str]:
        """SHA-256 by file name; raises ArtifactError when there is no manifest or it is broken."""
        if not self.manifest_path.is_file():
            raise ArtifactError(f"'{self.directory}' has no manifest.json: training has not finished.")
        content = store.read_json(self.manifest_path)
        digests = content.get("sha256")
        own = _digest(digests)
        # Manifests of earlier versions have no 'digest'.
        if not isinstance(digests, dict) or {"digest": own, **content} != {"digest": own, "sha256": digests}:
            fault = "its digests are missing or have changed"
            raise ArtifactError(f"Cannot read '{self.manifest_path}': {fault}. {_ADVICE}")
        return digests

    def seal(self) -> None:
        """Write the manifest of all its files."""
        digests = {name: store.sha256_of(self.directory / name) for name in self._file_names()}
        store.write_json(self.manifest_path, {"sha256": digests, "digest": _digest(digests)})

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Raise ArtifactError if there is no manifest, or a file in it (or in `names`) changed or went since `seal`."""
        digests, faults = self.read_manifest(), []
        for name in digests if names is None else names:
            exists, is_listed = (self.directory / name).is_file(), name in digests
            if name == self.cost_path.name and not (exists and is_listed):
                continue  # deleting it repeats the measurement
            if exists and store.sha256_of(self.directory / name) != digests.get(name):
                faults.append(f"{name} has changed")
            elif is_listed and not exists:
                faults.append(f"{name} is missing")
        if faults:
            raise ArtifactError(f"'{self.directory}' differs from its manifest: {', '.join(faults)}. {_ADVICE}")

    def _file_names(self) -> list[str]:
        """Return the sorted paths of its files without the manifest, `tracking.json`, temporary files and `export/`."""
        files = (path.relative_to(self.directory) for path in self.directory.rglob("*") if path.is_file())
        return sorted(
            path.as_posix()
            for path in files
            if path.name not in (self.manifest_path.name, self.tracking_path.name)
            and path.parts[0] != self.export_dir.name
            and not any(part.startswith(".") for part in path.parts)
        )


def load(run: str | Path) -> Run:
    """Open a run, to read its `metrics`, `history` and `predictions`, and to `build` its model.

    Args:
        run: a run's folder, or a folder with only one run.

    Raises:
        ArtifactError: there is no such run.
    """
    return Run.open(run)


def _digest(digests: object) -> str:
    """Return the SHA-256 of a manifest's entries."""
    return hashlib.sha256(msgspec.json.encode(digests)).hexdigest()


def is_run(path: str | Path) -> bool:
    """Whether a path is a run directory; raises UsageError for an invalid path, such as one that is too long."""
    return (expanded(path) / "run.json").is_file()


def _what_is_there(directory: Path, runs: list[Path]) -> str:
    if runs:
        return f"it contains {len(runs)} runs; name one, such as '{runs[0]}'."
    if not directory.exists():
        return "there is no such file or folder."
    return "it has no run.json." if directory.is_dir() else "it is a file; a run is a folder."
