"""Export, benchmark and describe models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diptych.api.inference import finished_run, source_like
from diptych.artifacts.run import Run
from diptych.deployment.benchmark import Benchmark, write
from diptych.deployment.benchmark import benchmark as measure
from diptych.deployment.export import Exported, TrainedModel
from diptych.deployment.export import export as export_run
from diptych.deployment.file_types import open_artifact
from diptych.deployment.formats import parse_formats
from diptych.deployment.quantization import Calibration, draw
from diptych.errors import UsageError
from diptych.options import BenchmarkOptions, ExportOptions, OtherDataOptions, accepts, split_options
from diptych.processes import num_threads


@accepts(ExportOptions, OtherDataOptions)
def export(
    run: str | Path | Run,
    to: str | tuple[str, ...],
    *,
    calibration: str | Path | np.ndarray | None = None,
    on_format: Callable[[str], None] = lambda name: None,
    **options: Any,
) -> list[Exported]:
    """Export a run's model; every file maps uint8 images, (N, H, W, C), to logits and probabilities.

    Args:
        run: a finished run.
        to: names of formats, or `all`.
        calibration: data, or uint8 images, (N, H, W, C), that give the ranges of integer formats (default: 500 of the
            run's training images, stratified by class).
        on_format: called with the name of each format before it is written.
        options: fields of `ExportOptions` and `OtherDataOptions`; the latter are for the calibration data.

    Returns:
        The result for each format.

    Raises:
        DiptychError: there is no such run or format, or the run's data has changed.
    """
    (chosen, reading), _ = split_options("export", options, ExportOptions, OtherDataOptions)
    unused = sorted(reading.given().keys() - {"data_dir"})
    if unused and not isinstance(calibration, str | Path):
        raise UsageError(f"'{unused[0]}' is for calibration data; also set 'calibration' to a dataset.")
    opened, record = finished_run(run, chosen.verify_files)
    formats = parse_formats(to)
    images = None
    if isinstance(calibration, np.ndarray):
        images = Calibration(calibration, {"dataset": "given as pixels", "num_images": len(calibration)})
    elif calibration is not None:
        dataset = source_like(calibration, reading, record.spec, record.data.data_dir).load()
        images = draw(dataset.train, dataset.name)
    return export_run(
        TrainedModel.of(opened, reading.data_dir),
        formats,
        Path(chosen.out) if chosen.out else opened.export_dir,
        writer=chosen.writer,
        verify=chosen.verify,
        calibrate=images,
        threads=chosen.threads or num_threads(),
        on_format=on_format,
    )


@accepts(BenchmarkOptions)
def benchmark(
    run: str | Path | Run,
    to: str | tuple[str, ...] = "all",
    *,
    on_step: Callable[[str], None] = lambda words: None,
    **options: Any,
) -> Benchmark:
    """Export a run's model, measure each file in each runtime on this machine, and name the best choices.

    Writes `benchmark.json`, `benchmark.csv` and `benchmark.png` beside the files.

    Args:
        run: a finished run.
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
    opened, _ = finished_run(run, chosen.verify_files)
    folder = Path(chosen.out) if chosen.out else opened.export_dir
    threads = chosen.threads or num_threads()
    model = TrainedModel.of(opened, chosen.data_dir)
    results = measure(model, parse_formats(to), folder, threads=threads, seconds=chosen.seconds, on_step=on_step)
    write(results, folder)
    plots.benchmark(folder / "benchmark.png", results)
    return results


def describe(path: str | Path) -> dict[str, Any]:
    """The card of an exported file: model, input, outputs, classes, origin. Runs nothing in it.

    Args:
        path: a file or folder written by `export`.

    Raises:
        ArtifactError: there is no such file, it is damaged, or it has no card.
    """
    artifact = open_artifact(path)
    return {"path": str(artifact.path), "bytes": artifact.num_bytes, **artifact.card.to_json()}
