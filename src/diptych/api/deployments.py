"""Models shipped: exported, measured, described."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diptych.api.classifiers import Reading, finished, load_like
from diptych.api.models import EngineName
from diptych.api.trainings import check_counts
from diptych.artifacts.run import Run
from diptych.data.datasets import BadImages
from diptych.data.prefetch import num_threads
from diptych.deployment.benchmark import benchmark as measure
from diptych.deployment.benchmark import write
from diptych.deployment.calibration import Calibration, draw
from diptych.deployment.containers import open_artifact
from diptych.deployment.export import Shipped
from diptych.deployment.export import export as ship
from diptych.deployment.formats import chosen
from diptych.deployment.standings import Benchmark
from diptych.deployment.trained import Trained
from diptych.errors import UsageError
from diptych.reports.plots_benchmark import accuracy_by_latency


def export(
    run: str | Path | Run,
    to: str | tuple[str, ...],
    *,
    out: str | Path | None = None,
    writer: EngineName | None = None,
    verify: bool = True,
    calibration: str | Path | np.ndarray | None = None,
    data_dir: str | Path | None = None,
    root: str | Path | None = None,
    pixel_shape: tuple[int, int, int] | None = None,
    bad_images: BadImages | None = None,
    threads: int | None = None,
    on_format: Callable[[str], None] = lambda name: None,
) -> list[Shipped]:
    """Ship a run's model: every file takes uint8 images, (N, H, W, C), and gives logits and probabilities.

    Args:
        run: a finished run, whichever engine trained it.
        to: names of formats, or `all`.
        out: folder for the files; the run's `export/` when not given.
        writer: whose exporter writes a format that both frameworks have (onnx).
        verify: compare each file with the trained model over the whole test set; one that fails goes to `failed/`.
        calibration: data whose training split, or uint8 images, (N, H, W, C), give the ranges of integer formats;
            500 training images of the run, stratified by class, when not given.
        data_dir: where named datasets are kept.
        root: of calibration data: what the paths in a table are relative to; the table's own folder when not given.
        pixel_shape: of calibration data: (height, width, channels) of a CSV's pixels; inferred when not given.
        bad_images: of calibration data: whether image files that cannot be decoded are an error, or left out; an error
            when not given.
        threads: processor threads; every core when not given.
        on_format: told the name of each format before it is written.

    Returns:
        What became of each format.

    Raises:
        DiptychError: no such run or format, data that is not what was trained on, or a way to read calibration data
            that is not named.
    """
    check_counts(threads=threads)
    reading = Reading(data_dir, root, pixel_shape, bad_images)
    unasked = sorted(reading.given().keys() - {"data_dir"})
    if unasked and not isinstance(calibration, str | Path):
        raise UsageError(f"'{unasked[0]}' says how calibration data is read: name a dataset for 'calibration', too.")
    opened, record = finished(run)
    forms = chosen((to,) if isinstance(to, str) else tuple(to))
    images = None if calibration is None else _calibration(calibration, record, reading)
    return ship(
        Trained.of(opened, data_dir),
        forms,
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
    """Ship a run's model, measure each file in each runtime on this machine, and name the best choices.

    `benchmark.json`, `benchmark.csv` and `benchmark.png` are written beside the files.

    Args:
        run: a finished run, whichever engine trained it.
        to: names of formats, or `all`.
        out: folder for the files; the run's `export/` when not given.
        data_dir: where named datasets are kept.
        threads: processor threads; every core when not given.
        seconds: how long to measure each speed of each row; two processes share it.
        on_step: told what comes next.

    Returns:
        A row for each format in each of its runtimes, and the best of them.

    Raises:
        DiptychError: no such run or format, no time to measure, or data that is not what was trained on.
    """
    if not seconds > 0:
        raise UsageError(f"A benchmark wants more than 0 seconds for each speed, got {seconds:g}.")
    check_counts(threads=threads)
    opened, _ = finished(run)
    forms = chosen((to,) if isinstance(to, str) else tuple(to))
    folder = Path(out) if out else opened.export_dir
    found = measure(
        Trained.of(opened, data_dir), forms, folder, threads=threads or num_threads(), seconds=seconds, on_step=on_step
    )
    write(found, folder)
    accuracy_by_latency(folder / "benchmark.png", found)
    return found


def describe(path: str | Path) -> dict[str, Any]:
    """What a shipped file says of itself: model, input, outputs, classes, where it is from. Nothing in it is run.

    Args:
        path: a file or folder that `export` wrote.

    Raises:
        ArtifactError: there is no such file, it is damaged, or it carries no card.
    """
    artifact = open_artifact(path)
    return {"path": str(artifact.path), "bytes": artifact.num_bytes, **artifact.card.to_json()}


def _calibration(given: str | Path | np.ndarray, record: dict[str, Any], reading: Reading) -> Calibration:
    if isinstance(given, np.ndarray):
        return Calibration(given, {"dataset": "given as pixels", "num_images": len(given)})
    dataset = load_like(record, given, reading)
    return draw(dataset.train, dataset.name)
