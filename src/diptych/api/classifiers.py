"""What answers: a finished run in either engine, or a shipped file in its runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych import engines
from diptych.api.questions import Questions
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays
from diptych.data import sources
from diptych.data.datasets import BadImages, Dataset
from diptych.data.images import Images
from diptych.deployment.containers import is_artifact, open_artifact
from diptych.deployment.predictor import Predictor
from diptych.deployment.runtimes import RUNTIMES
from diptych.errors import ArtifactError, UsageError
from diptych.training import job
from diptych.training.job import Source
from diptych.training.learner import evaluation_precision


@dataclass(frozen=True)
class Reading:
    """How data is read for a model whose image size is settled, as `train` takes it; None for what nobody said."""

    data_dir: str | Path | None = None
    root: str | Path | None = None
    pixel_shape: tuple[int, int, int] | None = None
    bad_images: BadImages | None = None

    def given(self) -> dict[str, Any]:
        """What somebody said."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Classifier:
    """A model that answers."""

    input_shape: tuple[int, int, int]
    """Height, width and channels of its images."""
    class_names: tuple[str, ...]
    logits: Callable[[Images], np.ndarray]
    """(N, K), of uint8 images, (N, H, W, C)."""
    questions: Callable[[str | Path | None, Reading], Questions]
    """What to judge it on, of what it was trained on or of other data, read as it would have been for this model."""


def opened(model: str | Path | Run, engine: str | None = None, trust: bool = False) -> Classifier:
    """A run or a shipped file, ready to answer.

    Args:
        model: a finished run, or a file that `export` wrote.
        engine: who computes; settled when not given.
        trust: whether to load a file whose format can run code.

    Raises:
        DiptychError: there is no such run or file, or nothing that can run it.
    """
    return (
        _file(Path(model), engine, trust) if not isinstance(model, Run) and is_artifact(model) else _run(model, engine)
    )


def finished(run: str | Path | Run) -> tuple[Run, dict[str, Any]]:
    """A run and its record.

    Raises:
        UsageError: it is not finished.
        ArtifactError: its record is damaged, or says too little.
    """
    found = run if isinstance(run, Run) else Run.open(Path(run))
    record = job.read(found)
    if record["status"] != "finished":
        raise UsageError(
            f"'{found.directory}' is not finished ({record['status']}). "
            f"Go on with: diptych train --resume {found.directory}"
        )
    return found, record


def load_like(record: dict[str, Any], data: str | Path, reading: Reading) -> Dataset:
    """Other data, with images of a run's size and colours."""
    return _like(record, data, reading).load()


def _like(record: dict[str, Any], data: str | Path, reading: Reading) -> Source:
    directory = reading.data_dir or record["data"]["data_dir"]
    return _source(data, replace(reading, data_dir=directory), tuple(record["spec"]["input_shape"]))


def _run(model: str | Path | Run, engine: str | None) -> Classifier:
    run, record = finished(model)
    spec = job.spec_of(record)

    def logits(images_nhwc: Images) -> np.ndarray:
        chosen = engines.get(engine or _usable(record["engines"][-1]["engine"]))
        precision = evaluation_precision(job.recipe_of(record))
        return job.predict_logits(chosen, spec, read_arrays(run.model_path)[0], images_nhwc, precision)

    def questions(data: str | Path | None, reading: Reading) -> Questions:
        known = record["data"]
        if data is None or sources.absolute(data) == known["data"]:
            return Questions.of_test(job.load_data(record, **reading.given()))
        return Questions.of_other(_like(record, data, reading).read(), known["name"], known.get("test_fingerprint"))

    return Classifier(spec.input_shape, tuple(record["class_names"]), logits, questions)


def _file(path: Path, engine: str | None, trust: bool) -> Classifier:
    artifact = open_artifact(path, trust=trust)
    runtime = None
    if engine:
        fitting = [name for name in artifact.form.runtimes if RUNTIMES[name].engine == engine]
        if not fitting:
            here = ", ".join(RUNTIMES[name].title for name in artifact.form.runtimes)
            raise UsageError(f"'{path}' is {artifact.form.name}, which runs in {here}; leave --engine out.")
        runtime = fitting[0]
    predictor = Predictor.of(artifact, runtime=runtime)
    card = artifact.card

    def questions(data: str | Path | None, reading: Reading) -> Questions:
        if data is not None:
            whole = _source(data, reading, card.spec.input_shape).read()
            return Questions.of_other(whole, card.dataset, card.test_fingerprint)
        if not (card.is_published and sources.is_named(card.dataset)):
            raise UsageError(f"'{path}' was trained on '{card.dataset}', wherever that is: name the DATA.")
        dataset = _source(card.dataset, reading, card.spec.input_shape).load()
        if dataset.test_fingerprint != card.test_fingerprint:
            raise ArtifactError(
                f"'{path}' was tested on another '{card.dataset}' than the one that is found: name the DATA."
                f"{job.left_out(dataset)}"
            )
        return Questions.of_test(dataset)

    return Classifier(card.spec.input_shape, card.class_names, lambda images_nhwc: predictor(images_nhwc)[0], questions)


def _source(data: str | Path, reading: Reading, shape: tuple[int, int, int]) -> Source:
    return Source.of(data, image_size=shape[:2], channels=shape[2], **reading.given())


def _usable(preferred: str) -> str:
    installed = engines.installed()
    return preferred if preferred in installed or not installed else installed[0]
