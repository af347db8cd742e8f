"""Export, benchmark and describe models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diptych.api.inference import finished_run, source_like
from diptych.artifacts.record import RunRecord
from diptych.artifacts.run import Run
from diptych.deployment.benchmark import Benchmark, write
from diptych.deployment.benchmark import benchmark as measure
from diptych.deployment.calibration import Calibration, draw
from diptych.deployment.export import Exported, TrainedModel
from diptych.deployment.export import export as export_run
from diptych.deployment.file_types import open_artifact
from diptych.deployment.formats import parse_formats
from diptych.errors import UsageError
from diptych.options import EngineName, OtherDataOptions, accepts, check_at_least, split_options
from diptych.processes import num_threads


@accepts(OtherDataOptions)
def export(
    run: str | Path | Run,
    to: str | tuple[str, ...],
    *,
    out: str | Path | None = None,
    writer: EngineName | None = None,
    verify: bool = True,
    calibration: str | Path | np.ndarray | None = None,
    threads: int | None = None,
    on_format: Callable[[str], None] = lambda name: None,
    **options: Any,
) -> list[Exported]:
    """Export a run's model; every file maps uint8 images, (N, H, W, C), to logits and probabilities.

    Args:
        run: a finished run.
        to: names of formats, or `all`.
        out: folder for the files (default: the run's `export/`).
        writer: framework that writes a format both have (onnx).
        verify: compare each file with the trained model on the whole test set; a file that differs goes to `failed/`.
        calibration: data, or uint8 images, (N, H, W, C), that give the ranges of integer formats (default: 500 of the
            run's training images, stratified by class).
        threads: processor threads (default: all cores).
        on_format: called with the name of each format before it is written.
        options: fields of `OtherDataOptions`, for the calibration data; `data_dir` also for the run's own.

    Returns:
        The result for each format.

    Raises:
        DiptychError: there is no such run or format, or the run's data has changed.
    """
    check_at_least(1, threads=threads)
    (reading,), _ = split_options("export", options, OtherDataOptions)
    unused = sorted(reading.given().keys() - {"data_dir"})
    if unused and not isinstance(calibration, str | Path):
        raise UsageError(f"'{unused[0]}' is for calibration data; also set 'calibration' to a dataset.")
    opened, record = finished_run(run)
    formats = parse_formats((to,) if isinstance(to, str) else tuple(to))
    images = None if calibration is None else _calibration(calibration, record, reading)
    return export_run(
        TrainedModel.of(opened, reading.data_dir),
        formats,
        Path(out) if out else opened.export_dir,
        writer=writer,
        verify=verify,
        calibrate=images,
        threads=threads or num_threads(),
        on_format=on_format,
    )


def benchmark(
    run: str | Path | Run,
    to: str | tuple[str, ...] = "all",
    *,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    threads: int | None = None,
    seconds: float = 1.0,
    on_step: Callable[[str], None] = lambda words: None,
) -> Benchmark:
    """Export a run's model, measure each file in each runtime on this machine, and name the best choices.

    Writes `benchmark.json`, `benchmark.csv` and `benchmark.png` beside the files.

    Args:
        run: a finished run.
        to: names of formats, or `all`.
        out: folder for the files (default: the run's `export/`).
        data_dir: folder for named datasets.
        threads: processor threads (default: all cores).
        seconds: time to measure each speed; two processes share it.
        on_step: called with a description of each step before it starts.

    Returns:
        A row for each format in each of its runtimes, and the best of them.

    Raises:
        DiptychError: there is no such run or format, `seconds` is not positive, or the run's data has changed.
    """
    from diptych.reports.plots_benchmark import accuracy_by_latency

    if not seconds > 0:
        raise UsageError(f"'seconds' must be above 0, got {seconds:g}.")
    check_at_least(1, threads=threads)
    opened, _ = finished_run(run)
    formats = parse_formats((to,) if isinstance(to, str) else tuple(to))
    folder = Path(out) if out else opened.export_dir
    results = measure(
        TrainedModel.of(opened, data_dir),
        formats,
        folder,
        threads=threads or num_threads(),
        seconds=seconds,
        on_step=on_step,
    )
    write(results, folder)
    accuracy_by_latency(folder / "benchmark.png", results)
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


def _calibration(data: str | Path | np.ndarray, record: RunRecord, reading: OtherDataOptions) -> Calibration:
    if isinstance(data, np.ndarray):
        return Calibration(data, {"dataset": "given as pixels", "num_images": len(data)})
    dataset = source_like(record, data, reading).load()
    return draw(dataset.train, dataset.name)
