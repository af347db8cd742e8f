"""The costs of training and prediction: measure a finished run in its own process, and summarize them by arm."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from math import floor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from diptych import engines, processes
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays, write_json
from diptych.comparison.runs import Arm, Cost, FinishedRun
from diptych.data.batches import Batch, batch_bounds, epoch_batches
from diptych.data.datasets import Dataset
from diptych.spec import Recipe
from diptych.training import provenance
from diptych.training.machine import machine, peak_memory, times
from diptych.training.provenance import evaluation_precision

NATIVE_FILES = {"torch": "state-dict", "tensorflow": "keras"}
ROUNDS = 5
# The TensorFlow engine runs 16 batches a call; rounds of whole calls are fair to both engines.
STEPS = 16
MAX_IMAGES = 2048
SECONDS = 2.0
MAX_SPREAD = 2.0
# Other processes may use the cores that the measurement leaves free, and this share of one more.
OTHER_LOAD = 0.25


def measure(run: Run, threads: int, seconds: float = SECONDS) -> None:
    """Measure a finished run's model in the framework that trained it, each speed for `seconds`; write `cost.json`."""
    engine = run.read_record().last_engine
    environment = processes.engine_environment(engine)
    with processes.Worker(f"Measuring '{run.directory}'", env=environment) as worker:
        write_json(run.cost_path, worker.call(_measure, run.directory, engine, threads, seconds))


def is_disturbed(rounds: list[list[float]], other_load: float | None, threads: int, cores: int) -> bool:
    """Whether other processes, which used `other_load` cores, distorted a measurement, or its rounds differ."""
    is_uneven = any(max(values) > MAX_SPREAD * min(values) for values in rounds)
    return is_uneven or (other_load is not None and other_load > max(0, cores - threads) + OTHER_LOAD)


def _measure(directory: Path, engine_name: str, threads: int, seconds: float) -> Cost:
    started, busy, load_average = time.perf_counter(), _others_seconds(), os.getloadavg()
    run = Run.open(directory)
    record = run.read_record()
    recipe, data = record.recipe, provenance.load_data(record)
    weights, _ = read_arrays(run.model_path)
    start = time.perf_counter()
    engine = engines.get(engine_name)
    import_seconds = time.perf_counter() - start
    engine.configure(threads)
    batches = full_batches(data, recipe, record.seed)

    def train(steps: int) -> float:
        """Take steps and return the images per second."""
        start = time.perf_counter()
        # The tiny rate keeps the weights finite: the arithmetic is measured, not the convergence.
        totals = engine.train_epoch(model, optimizer, islice(batches, steps), [1e-9] * steps, 0)
        return totals.count / (time.perf_counter() - start)

    start = time.perf_counter()
    model = engine.build(record.spec, recipe.precision)
    engine.load_weights(model, weights)
    optimizer = engine.make_optimizer(model, recipe)
    train(1)
    first_step_seconds = time.perf_counter() - start
    train(STEPS)
    start = time.perf_counter()
    train(STEPS)
    steps = STEPS * max(1, round(seconds / ROUNDS / (time.perf_counter() - start)))
    train_throughput = [train(steps) for _ in range(ROUNDS)]
    memory = peak_memory()
    model = engine.build(record.spec, evaluation_precision(recipe))
    engine.load_weights(model, weights)
    images = data.test.images[:MAX_IMAGES]
    many = times(lambda: engine.predict(model, images), seconds)
    one = times(lambda: engine.predict(model, images[:1]), seconds)
    rounds = np.array_split(many, min(ROUNDS, len(many)))
    predict_throughput = [float(len(images) / np.median(part)) for part in rounds]
    cores, other_load = os.cpu_count() or 1, None
    if busy is not None and (busy_after := _others_seconds()) is not None:
        other_load = max(0.0, (busy_after - busy) / (time.perf_counter() - started))
    return Cost(
        import_seconds=import_seconds,
        first_step_seconds=first_step_seconds,
        train_throughput=train_throughput,
        predict_throughput=predict_throughput,
        latency_p50=float(np.percentile(one, 50)),
        latency_p95=float(np.percentile(one, 95)),
        peak_memory=memory,
        threads=threads,
        runtime=engine.runtime(),
        processor=machine()["processor"],
        cores=cores,
        load_average=load_average,
        other_load=other_load,
        disturbed=is_disturbed([train_throughput, predict_throughput], other_load, threads, cores),
    )


def _others_seconds() -> float | None:
    """Return the processor time of all other processes so far; None without Linux's `/proc/stat`."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, path.read_text(encoding="ascii").split()[1:9])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - time.process_time()


def full_batches(data: Dataset, recipe: Recipe, seed: int) -> Iterator[Batch]:
    """Yield the full batches of the training, epoch after epoch; all have the size of the first."""
    size = batch_bounds(len(data.train), recipe.batch)[0].stop
    for epoch in count(1):
        for batch in epoch_batches(data.train, recipe, num_classes=data.num_classes, seed=seed, epoch=epoch):
            if len(batch.images) == size:
                yield batch


class Row(NamedTuple):
    """A cost in the report, in images/s, s, ms or bytes; `value` returns that of a run, if it is not in `cost.json`."""

    key: str
    title: str
    unit: str
    note: str
    value: Callable[[FinishedRun], float | None] | None = None

    def of(self, run: FinishedRun) -> float | None:
        """Return the cost of a run; None if it was not measured."""
        if self.value:
            return self.value(run)
        measured = getattr(run.cost, self.key, None)
        value = median(measured) if isinstance(measured, list) else measured
        return 1e3 * value if value and self.unit == "ms" else value


def costs(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Return every cost that was measured for at least one arm: one number per run, median and range per arm."""
    rows = []
    for row in _rows(arms):
        values = [[value for run in arm.runs if (value := row.of(run)) is not None] for arm in arms]
        shown = {name: getattr(row, name) for name in ("key", "title", "unit", "note")}
        shown["better"] = "higher" if row.unit == "images/s" else "lower"
        for name, summary in (("medians", median), ("low", min), ("high", max)):
            shown[name] = [summary(one) if one else None for one in values]
        if any(values):
            rows.append({**shown, "values": values})
    return rows


def target_accuracy(arms: Sequence[Arm]) -> float | None:
    """Return the highest whole percentage of validation accuracy that every run reaches; None without validation."""
    runs = [run for arm in arms for run in arm.runs]
    best = [max((epoch.validation_accuracy or 0.0 for epoch in run.epochs), default=0.0) for run in runs]
    return floor(100 * min(best) + 1e-9) / 100 or None


def disturbances(arms: Sequence[Arm]) -> list[str]:
    """Say which times and speeds another load on the machine distorted; empty if none."""
    runs = [run for arm in arms for run in arm.runs]
    busy, sentences = "The machine was busy during", []
    if spreads := [run.epoch_spread for run in runs if run.epoch_spread > MAX_SPREAD]:
        sentences.append(
            f"{busy} {len(spreads)} of {len(runs)} runs: some epochs took up to {max(spreads):.1f} times as long "
            "as others, so training times are unreliable."
        )
    if num_disturbed := sum(run.cost is not None and run.cost.disturbed for run in runs):
        sentences.append(
            f"{busy} {num_disturbed} of {len(runs)} measurements, so speeds and latencies are unreliable. Delete "
            "cost.json in these runs and compare again to measure them on an idle machine."
        )
    return sentences


def _rows(arms: Sequence[Arm]) -> Iterator[Row]:
    target = target_accuracy(arms)
    precision = " and ".join(dict.fromkeys(evaluation_precision(arm.record.recipe) for arm in arms))
    own = "measured in a separate process after a warm-up, median of five rounds"
    if all(run.cost for arm in arms for run in arm.runs):
        yield Row("train_throughput", "training throughput", "images/s", own)
    else:
        note = "measured during training; median over epochs, without the first"
        yield Row("train_throughput", "training throughput", "images/s", note, _epoch_speed)
    yield Row("predict_throughput", "prediction throughput", "images/s", f"{precision}, {own}")
    note = f"{precision}, batch of 1, in the framework itself; exported formats are faster"
    yield Row("latency_p50", "latency of one image (p50)", "ms", note)
    yield Row("latency_p95", "latency of one image (p95)", "ms", "95th percentile of the same calls")
    note = "sum over epochs, including the first step, without validation"
    yield Row("train_seconds", "training", "s", note, _seconds_to)
    if target:
        title = f"time to {target:.0%} validation accuracy"
        note = "training time until the end of the first epoch that reaches it; every run does"
        yield Row("seconds_to_target", title, "s", note, lambda run: _seconds_to(run, target))
    yield Row("import_seconds", "import", "s", "import of the framework and its engine, from a warm file cache")
    note = "building, tracing or compiling the model, and one step"
    yield Row("first_step_seconds", "first training step", "s", note)
    yield Row("peak_memory", "peak memory of training", "bytes", "of the whole process")
    yield Row("file_size", "model file", "bytes", "state dict for PyTorch, .keras for TensorFlow", _file_size)


def _epoch_speed(run: FinishedRun) -> float | None:
    speeds = [epoch.images_per_second for epoch in run.epochs]
    return median(speeds[1:] or speeds) if speeds else None


def _seconds_to(run: FinishedRun, target: float | None = None) -> float | None:
    """Return the training time up to the first epoch that reaches a validation accuracy, or of all epochs."""
    seconds = 0.0
    for epoch in run.epochs:
        seconds += epoch.seconds
        if target and (epoch.validation_accuracy or 0.0) >= target:
            break
    return seconds or None


def _file_size(run: FinishedRun) -> float | None:
    shipped = run.shipped.get(NATIVE_FILES[run.record.last_engine])
    return shipped.num_bytes if shipped else None
