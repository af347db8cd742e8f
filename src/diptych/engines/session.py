"""An engine in a process of its own: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from diptych import engines
from diptych.data.batches import Batch
from diptych.engines.contract import Arrays, Engine, Model, Optimizer, Stored, Totals
from diptych.processes import Worker, engine_environment, num_threads
from diptych.spec import ModelSpec, Recipe


@dataclass(frozen=True)
class Trained:
    """Weights and optimizer state by canonical name after a training, and its totals."""

    weights: Arrays
    state: Arrays
    totals: Totals


class Session:
    """An engine's functions over one model and one optimizer, which stay in the process; all threads by default."""

    def __init__(self, engine: str, threads: int | None = None) -> None:
        self._name, self._threads = engine, threads or num_threads()
        self._model: Model = None
        self._optimizer: Optimizer = None

    @cached_property
    def _engine(self) -> Engine:
        engine = engines.get(self._name)
        engine.configure(self._threads)
        return engine

    def runtime(self) -> dict[str, Any]:
        """Return device, threads and versions in force."""
        return self._engine.runtime()

    def build(self, spec: ModelSpec, precision: str) -> None:
        """Build the model of all later calls."""
        self._model = self._engine.build(spec, precision)

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Load arrays, by canonical name, into the model."""
        self._engine.load_weights(self._model, arrays)

    def read_weights(self) -> Arrays:
        """Return every array of the model, running statistics included."""
        return self._engine.read_weights(self._model)

    def layer_outputs(self, images: np.ndarray, training: bool) -> Arrays:
        """Return the output of every layer by name, for uint8 images, (N, H, W, C)."""
        return self._engine.layer_outputs(self._model, images, training)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return logits, (N, K), of uint8 images, (N, H, W, C)."""
        return self._engine.predict(self._model, images)

    def gradients(self, batch: Batch) -> tuple[float, Arrays]:
        """Return the loss and its gradient for every trainable array, in training mode."""
        return self._engine.gradients(self._model, batch)

    def make_optimizer(self, recipe: Recipe) -> None:
        """Make the optimizer of all later trainings, at step 0."""
        self._optimizer = self._engine.make_optimizer(self._model, recipe)

    def train(self, batches: Sequence[Batch], rates: Sequence[float], seed: int) -> Trained:
        """Train on every batch, one step each, at that step's learning rate."""
        totals = self._engine.train_epoch(self._model, self._optimizer, batches, rates, seed)
        return Trained(self.read_weights(), self._engine.read_optimizer(self._optimizer), totals)

    def export(self, form: str, path: Path, card: str, calibration: np.ndarray | None = None) -> None:
        """Write the model as a file or folder of a format that this framework writes."""
        self._engine.export(self._model, form, path, card, calibration)

    def read_file(self, path: Path) -> Stored:
        """Read a weights file of this framework."""
        return self._engine.read_file(path)


@contextmanager
def session(engine: str, threads: int | None = None) -> Iterator[Session]:
    """Yield a stand-in for a `Session` in a process of its own, which ends with the block."""
    engines.check_installed(engine)
    imports, env = [f"diptych.engines.{engine}"], engine_environment(engine)
    with Worker(f"The {engine} process", imports=imports, env=env) as worker:
        yield worker.create(Session, engine, threads)


class Sessions(dict[str, Session]):
    """A session for each engine, started and passed to `prepare` at its first use; all end with the `with` block."""

    def __init__(self, threads: int | None = None, prepare: Callable[[Session], None] = lambda session: None) -> None:
        super().__init__()
        self._threads, self._prepare, self._stack = threads, prepare, ExitStack()

    def __missing__(self, engine: str) -> Session:
        self[engine] = self._stack.enter_context(session(engine, self._threads))
        self._prepare(self[engine])
        return self[engine]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
