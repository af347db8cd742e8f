"""Export, benchmark and describe models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.api.inference import logits_of, open_weights
from diptych.artifacts.run import Predictions, Run
from diptych.comparison.parity import samples
from diptych.data.datasets import Dataset, Split
from diptych.deployment.benchmark import Benchmark, write
from diptych.deployment.benchmark import benchmark as measure
from diptych.deployment.export import TrainedModel
from diptych.deployment.export import export as export_run
from diptych.deployment.file_types import is_artifact, open_artifact
from diptych.deployment.formats import parse_formats
from diptych.deployment.options import BenchmarkOptions, ExportOptions, FilesOptions
from diptych.deployment.quantization import Calibration, draw
from diptych.deployment.verify import Exported
from diptych.engines.contract import Arrays
from diptych.errors import UsageError, first_of, remark
from diptych.files import expanded
from diptych.options import OtherDataOptions, accepts, split_options
from diptych.spec import ModelSpec
from diptych.training.provenance import DataSource


@accepts(ExportOptions, OtherDataOptions)
def export(
    run: str | Path | Run,
    to: str | tuple[str, ...],
    *,
    calibration: str | Path | np.ndarray | None = None,
    on_format: Callable[[str], None] = lambda name: None,
    **options: Any,
) -> list[Exported]:
    """Export the model of a run or a file; every file maps uint8 images, (N, H, W, C), to logits and probabilities.

    Args:
        run: a finished run, or a file with a card, which `transfer` or `export` wrote.
        to: names of formats, or `all`.
        calibration: data, or uint8 images, (N, H, W, C), that give the ranges of integer formats (default: 500 of the
            run's training images, stratified by class).
        on_format: called with the name of each format before it is written.
        options: fields of `ExportOptions` and `OtherDataOptions`; the latter are for `data` and `calibration`.

    Returns:
        The result for each format.

    Raises:
        DiptychError: there is no such run or format, or the run's data has changed.
    """
    (chosen, reading), _ = split_options("export", options, ExportOptions, OtherDataOptions)
    unused = sorted(reading.given().keys() - {"data_dir"})
    source = calibration if isinstance(calibration, str | Path) else None
    if unused and not (source or chosen.data):
        raise UsageError(f"'{unused[0]}' is for other data; also set 'data' or 'calibration' to a dataset.")
    formats, images = parse_formats(to), None
    trained = trained_model(run, reading, chosen, source)
    if isinstance(calibration, np.ndarray):
        images = Calibration(calibration, {"dataset": "given as pixels", "num_images": len(calibration)})
    elif source is not None:
        dataset = DataSource.of(source, spec=trained.card.spec, **reading.given()).load()
        images = draw(dataset.train, dataset.name)
    folder = Path(chosen.out or export_folder(run))
    return export_run(trained, formats, folder, chosen, calibrate=images, on_format=on_format)


@accepts(BenchmarkOptions)
def benchmark(
    run: str | Path | Run,
    to: str | tuple[str, ...] = "all",
    *,
    on_step: Callable[[str], None] = lambda words: None,
    **options: Any,
) -> Benchmark:
    """Export the model of a run or a file, measure each file in each runtime here, and name the best choices.

    Writes `benchmark.json`, `benchmark.csv` and `benchmark.png` beside the files.

    Args:
        run: a finished run, or a file with a card, which `transfer` or `export` wrote.
        to: names of formats, or `all`.
        on_step: called with a description of each step before it starts.
        options: fields of `BenchmarkOptions`.

    Returns:
        A row for each format in each of its runtimes, and the best of them.

    Raises:
        DiptychError: there is no such run or format, `seconds` is not positive, or the run's data has changed.
    """
    from diptych.reports import plots

    (chosen,), _ = split_options("benchmark", options, BenchmarkOptions)
    folder = Path(chosen.out or export_folder(run))
    model = trained_model(run, OtherDataOptions(chosen.data_dir), chosen)
    results = measure(model, parse_formats(to), folder, chosen, on_step)
    write(results, folder)
    plots.benchmark(folder / "benchmark.png", results)
    return results


def export_folder(model: str | Path | Run) -> Path:
    """The default folder for the exported files of a run or a file."""
    return expanded(model).parent / "export" if is_artifact(model) else Run.open(model).export_dir


def trained_model(
    model: str | Path | Run, reading: OtherDataOptions, files: FilesOptions, calibration: str | Path | None = None
) -> TrainedModel:
    """A finished run's or a file's model, with its own data, or else labeled or random images to verify with."""
    if not is_artifact(model) and files.data is None:
        run = Run.open(model)
        record, trained = run.finished(verify_files=files.verify_files), TrainedModel.of(run, reading.data_dir)
        if record.evaluates == "test":
            return trained
        return replace(trained, answers=lambda: _predictions(record.spec, trained.weights, trained.data.test))
    card, weights = open_weights(model, files.verify_files)
    if source := files.data or calibration:
        dataset = DataSource.of(source, spec=card.spec, **reading.given()).load()
        if unknown := [name for name in dataset.class_names if name not in card.class_names]:
            known = f"{first_of(unknown)}; it knows {first_of(card.class_names)}"
            raise UsageError(f"'{dataset.name}' has classes that '{model}' does not know: {known}.")
        labels_n = np.array(list(map(card.class_names.index, dataset.class_names)))[dataset.test.labels]
        dataset = replace(dataset, test=replace(dataset.test, labels=labels_n))
    else:
        drawn = np.concatenate([batch.images for batch in samples.batches(card.spec, 4, 64, seed=0)])
        test = Split(drawn, np.full(len(drawn), -1), np.arange(len(drawn)))
        dataset = Dataset.of(
            card.class_names, {"train": test.take(np.arange(0)), "test": test}, "random, without labels"
        )
        remark(f"No test images (--data DATA): verified with {len(drawn)} random images; accuracy is unknown.")
    return TrainedModel(weights, card, lambda: dataset, lambda: _predictions(card.spec, weights, dataset.test))


def _predictions(spec: ModelSpec, weights: Arrays, split: Split) -> Predictions:
    return Predictions(logits_of(spec, weights, split.images), split.labels, split.ids)


def describe(path: str | Path) -> dict[str, Any]:
    """The card of an exported file: model, input, outputs, classes, origin. Runs nothing in it.

    Args:
        path: a file or folder written by `export`.

    Raises:
        ArtifactError: there is no such file, it is damaged, or it has no card.
    """
    artifact = open_artifact(path)
    return {"path": str(artifact.path), "bytes": artifact.num_bytes, **artifact.card.to_json()}
