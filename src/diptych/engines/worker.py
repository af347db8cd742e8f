"""An engine in a process of its own: arrays in, arrays out.

`python -m diptych.engines.worker ENGINE [THREADS]` answers requests on its standard input (see `frames`);
what its framework prints goes to standard error, so that it cannot get between the answers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np

import diptych
from diptych import engines, errors
from diptych.data.batches import Batch
from diptych.data.prefetch import num_threads
from diptych.engines.contract import Arrays, Stored, Totals
from diptych.engines.frames import read_frame, write_frame
from diptych.engines.session import serve
from diptych.errors import EngineError
from diptych.spec import ModelSpec, Recipe
from diptych.spec.codec import model_to_json, recipe_to_json

# Without it glibc hands each activation's memory back and faults it in again: a step of a small CNN took
# 1.7 times as long.
_KEEP_MEMORY = (
    "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296:glibc.malloc.top_pad=268435456"
)
_SETTINGS: dict[str | None, dict[str, str]] = {
    None: {},
    "torch": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},  # without it an accelerator's matrix products may differ
    "tensorflow": {"KERAS_BACKEND": "tensorflow"},
}
_DEFAULTS = {"GLIBC_TUNABLES": _KEEP_MEMORY, "TF_CPP_MIN_LOG_LEVEL": "2"}
_TAIL_LINES = 40


@dataclass(frozen=True)
class Trained:
    """What a training left: weights and optimizer state by canonical name, and its totals."""

    weights: Arrays
    state: Arrays
    totals: Totals


class Worker:
    """An engine's verbs, answered by a process that holds one model and one optimizer.

    Every verb raises the DiptychError that the engine raised, or an EngineError with the framework's own last
    line; when the process has died, an EngineError says how. The end of what it printed is added as a note.
    """

    def __init__(self, engine: str, threads: int | None = None, command: Sequence[str] | None = None) -> None:
        """Start the process; its framework is imported with the first request.

        Args:
            engine: torch or tensorflow.
            threads: processor threads to compute with; every core when not given.
            command: what to start instead of this module; it must answer as this module does.

        Raises:
            UsageError: there is no such engine.
            MissingEngine: its framework is not installed.
        """
        engines.check_installed(engine)
        self.engine = engine
        # Appending, because the process shares the file's position.
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115  (lives as long as the process)
        self._process = subprocess.Popen(
            [
                *(command or (sys.executable, "-m", "diptych.engines.worker")),
                engine,
                str(threads or num_threads()),
            ],
            env=environment(engine),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def runtime(self) -> dict[str, Any]:
        """Device, threads and versions, as they are in force there."""
        return self._ask({"verb": "runtime"})[0]

    def build(self, spec: ModelSpec, precision: str) -> None:
        """Build the model that the other verbs mean from now on."""
        self._ask({"verb": "build", "spec": model_to_json(spec), "precision": precision})

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put arrays, by canonical name, into the model."""
        self._ask({"verb": "load_weights"}, arrays)

    def read_weights(self) -> Arrays:
        """Every array of the model, running statistics included."""
        return self._ask({"verb": "read_weights"})[1]

    def layer_outputs(self, images: np.ndarray, training: bool) -> Arrays:
        """Output of every layer by name, for uint8 images, (N, H, W, C)."""
        return self._ask({"verb": "layer_outputs", "training": training}, {"images": images})[1]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Logits, (N, K), of uint8 images, (N, H, W, C)."""
        return self._ask({"verb": "predict"}, {"images": images})[1]["logits"]

    def gradients(self, batch: Batch) -> tuple[float, Arrays]:
        """Loss and its gradient for every trainable array, in training mode."""
        header, arrays = self._ask({"verb": "gradients"}, vars(batch))
        return header["loss"], arrays

    def make_optimizer(self, recipe: Recipe) -> None:
        """Make the optimizer that `train` goes on with, at step 0."""
        self._ask({"verb": "make_optimizer", "recipe": recipe_to_json(recipe)})

    def train(self, batches: Sequence[Batch], rates: Sequence[float], seed: int) -> Trained:
        """Train on every batch, one step each, at that step's learning rate."""
        arrays = {f"{name}/{step}": array for step, batch in enumerate(batches) for name, array in vars(batch).items()}
        totals, reply = self._ask({"verb": "train", "rates": list(rates), "seed": seed}, arrays)
        return Trained(_under("weights/", reply), _under("state/", reply), Totals(**totals))

    def export(self, form: str, path: Path, card: str, calibration: np.ndarray | None = None) -> None:
        """Write the model as a file (or folder) of a format that this framework writes."""
        arrays = {} if calibration is None else {"calibration": calibration}
        self._ask({"verb": "export", "form": form, "path": str(path.resolve()), "card": card}, arrays)

    def read_file(self, path: Path) -> Stored:
        """What a weights file of this framework holds."""
        header, arrays = self._ask({"verb": "read_file", "path": str(path.resolve())})
        return Stored(arrays, **header)

    def _ask(
        self, request: dict[str, Any], arrays: Mapping[str, np.ndarray] | None = None
    ) -> tuple[dict[str, Any], Arrays]:
        try:
            write_frame(cast(BinaryIO, self._process.stdin), request, arrays)
            header, reply = read_frame(cast(BinaryIO, self._process.stdout))
        except (BrokenPipeError, EOFError) as error:
            raise self._with_tail(EngineError(self._death(request["verb"]))) from error
        if "error" in header:
            raise self._with_tail(getattr(errors, header["error"])(header["message"]))
        return header, reply

    def _death(self, verb: str) -> str:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        lines = self._tail()
        said = f"its last line was: {lines[-1]}" if lines else "it printed nothing."
        return f"The {self.engine} worker {how} while it was asked to '{verb}'; {said}"

    def _with_tail(self, error: errors.DiptychError) -> errors.DiptychError:
        lines = self._tail()
        if lines:
            error.add_note("\n".join([f"The {self.engine} worker printed:", *lines]))
        return error

    def _tail(self) -> list[str]:
        self._log.seek(0)
        return self._log.read().decode(errors="replace").rstrip().splitlines()[-_TAIL_LINES:]


class Workers(dict[str, Worker]):
    """A worker for each engine, started when it is first asked for; all end with the `with` block."""

    def __init__(self, threads: int | None = None, prepare: Callable[[Worker], None] = lambda worker: None) -> None:
        """Start none yet.

        Args:
            threads: processor threads of each; every core when not given.
            prepare: what is done with each before it is used.
        """
        super().__init__()
        self._threads, self._prepare, self._stack = threads, prepare, ExitStack()

    def __missing__(self, engine: str) -> Worker:
        worker = self._stack.enter_context(Worker(engine, self._threads))
        self._prepare(worker)
        self[engine] = worker
        return worker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def environment(engine: str | None = None) -> dict[str, str]:
    """This process's environment, with what must be settled before a process for `engine`, if any, starts."""
    found = {**_DEFAULTS, **os.environ, **_SETTINGS[engine], "PYTHONUNBUFFERED": "1"}
    source = str(Path(diptych.__file__).parents[1])
    if source != sysconfig.get_path("purelib"):
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [source, found.get("PYTHONPATH")]))
    return found


def main(arguments: list[str]) -> int:
    """Answer requests until standard input ends."""
    engine, *threads = arguments
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        serve(engine, int(threads[0]) if threads else num_threads(), sys.stdin.buffer, replies)
    return 0


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
