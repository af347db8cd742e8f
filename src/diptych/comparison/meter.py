"""What a run's model costs in its framework on this machine, measured in a process of its own beside the run.

`python -m diptych.comparison.meter RUN THREADS SECONDS ANSWER` measures a finished run and writes the answer as JSON.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from diptych import engines, errors
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays, read_json, write_json
from diptych.data.batches import Batch, batch_bounds, epoch_batches
from diptych.data.datasets import Dataset
from diptych.engines.contract import Engine, Model, Optimizer
from diptych.errors import DiptychError, EngineError, in_one_line
from diptych.processes import engine_environment
from diptych.spec import ModelSpec, Recipe
from diptych.training import job
from diptych.training.learner import evaluation_precision
from diptych.training.measuring import peak_memory, times

ROUNDS = 5
# The TensorFlow engine takes so many batches a call; a round of whole calls is fair to both.
STEPS = 16
MOST_IMAGES = 2048
SECONDS = 2.0


def measure(run: Run, threads: int, seconds: float = SECONDS) -> dict[str, Any]:
    """Measure a finished run's model in the framework that trained it, and write `cost.json`.

    Args:
        run: whose model, recipe and data are measured.
        threads: processor threads to compute with.
        seconds: how long to measure each speed.

    Raises:
        DiptychError: as the process raised it, or an EngineError when it died.
    """
    name = run.read_record().engines[-1].engine
    with tempfile.TemporaryDirectory(prefix="diptych-") as folder:
        path = Path(folder) / "answer.json"
        finished = subprocess.run(
            [sys.executable, "-m", "diptych.comparison.meter", str(run.directory), str(threads), str(seconds), path],
            env=engine_environment(name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if not path.exists():
            said = finished.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing."]
            raise EngineError(f"Measuring '{run.directory}' ended with code {finished.returncode}: {said[-1]:.200}")
        answer = read_json(path)
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    write_json(run.cost_path, answer)
    return answer


def main(arguments: list[str]) -> int:
    """Measure one run; what fails is written down for the parent to raise."""
    directory, threads, seconds, path = arguments
    run = Run.open(Path(directory))
    try:
        answer = _measured(run, int(threads), float(seconds))
    except DiptychError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    except Exception as error:
        answer = {"error": "EngineError", "message": in_one_line(error)}
    write_json(Path(path), answer)
    return 0


def _measured(run: Run, threads: int, seconds: float) -> dict[str, Any]:
    record = run.read_record()
    spec, recipe, data = record.spec, record.recipe, job.load_data(record)
    weights, _ = read_arrays(run.model_path)
    start = time.perf_counter()
    engine = engines.get(record.engines[-1].engine)
    import_seconds = time.perf_counter() - start
    engine.configure(threads)
    start = time.perf_counter()
    model = engine.build(spec, recipe.precision)
    engine.load_weights(model, weights)
    training = _Training(engine, model, engine.make_optimizer(model, recipe), full_batches(data, recipe, record.seed))
    training.steps(1)
    first_step_seconds = time.perf_counter() - start
    throughputs = training.throughputs(seconds)
    memory = peak_memory()
    return {
        "import_seconds": import_seconds,
        "first_step_seconds": first_step_seconds,
        "train_throughput": throughputs,
        "peak_memory": memory,
        **_prediction(engine, spec, recipe, weights, data.test.images[:MOST_IMAGES], seconds),
        "threads": threads,
        "batch_size": recipe.batch_size,
        "precision": recipe.precision,
        "runtime": engine.runtime(),
    }


class _Training:
    """A model that trains on a stream of batches without end."""

    def __init__(self, engine: Engine, model: Model, optimizer: Optimizer, batches: Iterator[Batch]) -> None:
        self.engine, self.model, self.optimizer, self.batches = engine, model, optimizer, batches

    def steps(self, number: int) -> tuple[int, float]:
        """Take so many steps; images and seconds."""
        start = time.perf_counter()
        # A rate of almost nothing: what is measured is the arithmetic, not whether it converges.
        totals = self.engine.train_epoch(self.model, self.optimizer, islice(self.batches, number), [1e-9] * number, 0)
        return totals.count, time.perf_counter() - start

    def throughputs(self, seconds: float) -> list[float]:
        """Images a second of each round, after a round to warm up."""
        self.steps(STEPS)
        _, taken = self.steps(STEPS)
        number = STEPS * max(1, round(seconds / ROUNDS / taken))
        return [images / elapsed for images, elapsed in (self.steps(number) for _ in range(ROUNDS))]


def full_batches(data: Dataset, recipe: Recipe, seed: int) -> Iterator[Batch]:
    """Full batches, as the training sees them, epoch after epoch; all are as large as the first."""
    size = batch_bounds(len(data.train), recipe.batch_size)[0].stop
    for epoch in count(1):
        for batch in epoch_batches(data.train, recipe, num_classes=data.num_classes, seed=seed, epoch=epoch):
            if len(batch.images) == size:
                yield batch


def _prediction(
    engine: Engine, spec: ModelSpec, recipe: Recipe, weights: dict[str, np.ndarray], images: np.ndarray, seconds: float
) -> dict[str, Any]:
    model = engine.build(spec, evaluation_precision(recipe))
    engine.load_weights(model, weights)
    many = times(lambda: engine.predict(model, images), seconds)
    one = times(lambda: engine.predict(model, images[:1]), seconds)
    rounds = [len(images) / np.median(part) for part in np.array_split(many, min(ROUNDS, len(many)))]
    return {
        "predict_throughput": [float(speed) for speed in rounds],
        "latency_p50": float(np.percentile(one, 50)),
        "latency_p95": float(np.percentile(one, 95)),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
