"""Measure the speed and memory of a finished run's model, in a process of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from diptych import engines, processes
from diptych.artifacts.record import write_record
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays
from diptych.data.batches import Batch, batch_bounds, epoch_batches
from diptych.data.datasets import Dataset
from diptych.engines.contract import Engine, Model, Optimizer
from diptych.spec import Recipe
from diptych.training import provenance
from diptych.training.machine import machine, peak_memory, times
from diptych.training.provenance import evaluation_precision

ROUNDS = 5
# The TensorFlow engine runs 16 batches a call; rounds of whole calls are fair to both engines.
STEPS = 16
MAX_IMAGES = 2048
SECONDS = 2.0
MAX_SPREAD = 2.0
# Other processes may use the cores that the measurement leaves free, and this share of one more.
OTHER_LOAD = 0.25
Rounds = Annotated[list[float], msgspec.Meta(min_length=1)]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """`cost.json`: the speed and memory of a run's model, and the machine they were measured on."""

    import_seconds: float
    first_step_seconds: float
    train_throughput: Rounds
    """Images per second, by round."""
    predict_throughput: Rounds
    latency_p50: float
    """Seconds of a prediction of one image."""
    latency_p95: float
    peak_memory: int
    threads: int | None = None
    batch_size: int | None = None
    precision: str = ""
    runtime: dict[str, Any] = {}
    # Files written before 0.2 lack the following.
    processor: str = ""
    cores: int | None = None
    load_average: float | None = None
    """Of the last minute before the measurement; includes the training of the run."""
    other_load: float | None = None
    """Number of cores that other processes used during the measurement, on average."""
    disturbed: bool = False
    """Whether other processes competed for cores, or rounds differ by more than a factor of 2."""


def measure(run: Run, threads: int, seconds: float = SECONDS) -> Cost:
    """Measure a finished run's model in the framework that trained it, and write `cost.json`.

    Args:
        run: the run, whose model, recipe and data are used.
        threads: number of processor threads.
        seconds: duration of each speed measurement.

    Raises:
        DiptychError: the measurement failed.
    """
    engine = run.read_record().last_engine
    environment = processes.engine_environment(engine)
    name = f"Measuring '{run.directory}'"
    cost = processes.call(_measure, run.directory, engine, threads, seconds, name=name, env=environment)
    write_record(run.cost_path, cost)
    return cost


def is_disturbed(rounds: list[list[float]], other_load: float | None, threads: int, cores: int) -> bool:
    """Whether another load distorted a measurement.

    Args:
        rounds: repeated measurements of the same quantities.
        other_load: number of cores that other processes used; None if unknown.
        threads: number of threads of the measured process.
        cores: number of cores of the machine.
    """
    if any(max(values) > MAX_SPREAD * min(values) for values in rounds):
        return True
    return other_load is not None and other_load > max(0, cores - threads) + OTHER_LOAD


def _measure(directory: Path, engine_name: str, threads: int, seconds: float) -> Cost:
    run, load = Run.open(directory), _OtherLoad()
    load_average = os.getloadavg()[0]
    record = run.read_record()
    spec, recipe, data = record.spec, record.recipe, provenance.load_data(record)
    weights, _ = read_arrays(run.model_path)
    start = time.perf_counter()
    engine = engines.get(engine_name)
    import_seconds = time.perf_counter() - start
    engine.configure(threads)
    start = time.perf_counter()
    model = engine.build(spec, recipe.precision)
    engine.load_weights(model, weights)
    training = _Training(engine, model, engine.make_optimizer(model, recipe), full_batches(data, recipe, record.seed))
    training.steps(1)
    first_step_seconds = time.perf_counter() - start
    train_throughput = training.throughputs(seconds)
    memory = peak_memory()
    model = engine.build(spec, evaluation_precision(recipe))
    engine.load_weights(model, weights)
    images = data.test.images[:MAX_IMAGES]
    many = times(lambda: engine.predict(model, images), seconds)
    one = times(lambda: engine.predict(model, images[:1]), seconds)
    rounds = np.array_split(many, min(ROUNDS, len(many)))
    predict_throughput = [float(len(images) / np.median(part)) for part in rounds]
    cores, other_load = os.cpu_count() or 1, load.cores()
    return Cost(
        import_seconds=import_seconds,
        first_step_seconds=first_step_seconds,
        train_throughput=train_throughput,
        predict_throughput=predict_throughput,
        latency_p50=float(np.percentile(one, 50)),
        latency_p95=float(np.percentile(one, 95)),
        peak_memory=memory,
        threads=threads,
        batch_size=recipe.batch_size,
        precision=recipe.precision,
        runtime=engine.runtime(),
        processor=machine()["processor"],
        cores=cores,
        load_average=load_average,
        other_load=other_load,
        disturbed=is_disturbed([train_throughput, predict_throughput], other_load, threads, cores),
    )


class _OtherLoad:
    """The processor time of other processes since the start, from Linux's `/proc/stat`."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), self._others()

    def cores(self) -> float | None:
        """Return the number of cores that other processes used on average; None if unknown."""
        (start, before), after = self.start, self._others()
        if before is None or after is None:
            return None
        return max(0.0, (after - before) / (time.perf_counter() - start))

    def _others(self) -> float | None:
        path = Path("/proc/stat")
        if not path.exists():
            return None
        user, nice, system, _, _, irq, softirq, steal = map(int, path.read_text(encoding="ascii").split()[1:9])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return busy - time.process_time()


class _Training:
    """A model that trains on an endless stream of batches."""

    def __init__(self, engine: Engine, model: Model, optimizer: Optimizer, batches: Iterator[Batch]) -> None:
        self.engine, self.model, self.optimizer, self.batches = engine, model, optimizer, batches

    def steps(self, number: int) -> tuple[int, float]:
        """Take `number` steps and return the number of images and the seconds."""
        start = time.perf_counter()
        # The tiny rate keeps the weights finite: the arithmetic is measured, not the convergence.
        totals = self.engine.train_epoch(self.model, self.optimizer, islice(self.batches, number), [1e-9] * number, 0)
        return totals.count, time.perf_counter() - start

    def throughputs(self, seconds: float) -> list[float]:
        """Return the images per second of each round, after a warm-up."""
        self.steps(STEPS)
        _, elapsed = self.steps(STEPS)
        number = STEPS * max(1, round(seconds / ROUNDS / elapsed))
        return [images / elapsed for images, elapsed in (self.steps(number) for _ in range(ROUNDS))]


def full_batches(data: Dataset, recipe: Recipe, seed: int) -> Iterator[Batch]:
    """Yield the full batches of the training, epoch after epoch; all have the size of the first."""
    size = batch_bounds(len(data.train), recipe.batch_size)[0].stop
    for epoch in count(1):
        for batch in epoch_batches(data.train, recipe, num_classes=data.num_classes, seed=seed, epoch=epoch):
            if len(batch.images) == size:
                yield batch
