"""Run exported files: in this process as a function of images, or in another process to verify and measure them."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from diptych import processes
from diptych.artifacts.store import refusal
from diptych.data.images import Images
from diptych.deployment import runtimes
from diptych.deployment.file_types import Artifact, open_artifact
from diptych.deployment.formats import Format
from diptych.deployment.runtimes import Infer, Runtime
from diptych.engines.contract import OUTPUTS
from diptych.errors import ArtifactError, EngineError, in_one_line
from diptych.processes import num_threads
from diptych.training.machine import peak_memory, times

CHUNK = 256
LARGE_BATCH = 32


@dataclass(frozen=True)
class Predictor:
    """An exported file, loaded in a runtime."""

    artifact: Artifact
    runtime: Runtime
    infer: Infer

    @classmethod
    def of(cls, artifact: Artifact, *, runtime: str | None = None, threads: int | None = None) -> Predictor:
        """Load a checked file, by default in the first installed runtime of its format, with all cores."""
        chosen = runtimes.RUNTIMES[runtime] if runtime else runtimes.usable(artifact.form)
        return cls(artifact, chosen, runtimes.load(artifact, chosen, threads or num_threads()))

    def __call__(self, images: Images) -> tuple[np.ndarray, np.ndarray]:
        """Return logits and probabilities, float32, (N, K), of uint8 images, (N, H, W, C), a few at a time.

        Raises EngineError if the runtime fails, and ArtifactError if the outputs are not what the file's card says.
        """
        shape_nk = (len(images), len(self.artifact.card.class_names))
        logits_nk, probabilities_nk = (np.empty(shape_nk, np.float32) for _ in OUTPUTS)
        for start in range(0, len(images), CHUNK):
            part = slice(start, start + CHUNK)
            chunk = np.require(images[part], requirements=["C", "W"])  # PyTorch needs both
            try:
                outputs = self.infer(chunk)
            except Exception as error:  # runtimes can raise anything
                raise EngineError(f"{self.runtime.title} failed: {in_one_line(error)}") from error
            for name, values in zip(OUTPUTS, outputs, strict=True):
                if values.shape != (len(chunk), shape_nk[1]) or values.dtype != np.float32:
                    given = f"outputs {values.dtype} '{name}' of shape {values.shape}"
                    stated = f"its card says float32 of shape {(len(chunk), shape_nk[1])}"
                    raise ArtifactError(f"'{self.artifact.path.name}' {given}; {stated}.")
            # Copied, because small arrays that stay alive fragment the allocator's memory.
            logits_nk[part], probabilities_nk[part] = outputs
        return logits_nk, probabilities_nk


@dataclass(frozen=True)
class Speed:
    """Measurements of one process; times in seconds, memory in bytes."""

    load_seconds: float
    """From the first import of the runtime to the first answer."""
    latency_p50: float
    """For one image."""
    latency_p95: float
    images_per_second: float
    """In batches of 32, from the median batch time."""
    peak_memory: int
    """Of the whole process."""


@dataclass(frozen=True)
class Answers:
    """Outputs of an exported file, (N, K), and its speed if measured."""

    logits_nk: np.ndarray
    probabilities_nk: np.ndarray
    speed: Speed | None


class Probes(ExitStack):
    """Processes that run newly exported files: one for each framework, or a fresh one to measure speed."""

    def __init__(self, threads: int) -> None:
        """Start no process yet; each will use `threads` CPU threads."""
        super().__init__()
        self._threads = threads
        self._workers: dict[str | None, processes.Worker] = {}

    def start(self, runtime: Runtime) -> processes.Worker:
        """Start a runtime's process if it is not running, without waiting until it has imported the runtime."""
        if runtime.engine not in self._workers:
            framework = f"diptych.engines.{runtime.engine}" if runtime.engine else runtime.package
            worker = processes.Worker(imports=[framework], env=processes.engine_environment(runtime.engine))
            self._workers[runtime.engine] = self.enter_context(worker)
        return self._workers[runtime.engine]

    def ask(self, path: Path, runtime: Runtime, images: Path, *, form: Format, seconds: float = 0.0) -> Answers:
        """Run a file on images that `save_images` wrote; with `seconds`, measure each batch size for that long."""
        arguments = (path.resolve(), runtime.name, images.resolve(), self._threads, seconds)
        title = f"{runtime.title}, running {form.name},"
        if seconds:
            # With an empty cache, so that compilation is measured and leaves nothing behind.
            with tempfile.TemporaryDirectory(prefix="diptych-") as cache:
                env = processes.engine_environment(runtime.engine) | {"TORCHINDUCTOR_CACHE_DIR": cache}
                with processes.Worker(title, env=env) as fresh:
                    return fresh.call(_run, *arguments)
        worker = self.start(runtime)
        worker.name = title
        try:
            return worker.call(_run, *arguments)
        except processes.ProcessFailed:
            del self._workers[runtime.engine]  # it may have died
            raise


def save_images(path: Path, images: Images) -> Path:
    """Write images, uint8, (N, H, W, C), to a `.npy` file, a few at a time, and return its path."""
    try:
        with path.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": images.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, len(images), CHUNK):
                file.write(np.ascontiguousarray(images[start : start + CHUNK]).data)
    except OSError as error:
        raise refusal(path, error, path.stat().st_size if path.exists() else 0, prod(images.shape)) from error
    return path


def _run(path: Path, runtime: str, images_path: Path, threads: int, seconds: float) -> Answers:
    images = np.load(images_path, mmap_mode="r").view(np.ndarray)
    few = np.resize(images[:LARGE_BATCH], (LARGE_BATCH, *images.shape[1:]))
    started = time.perf_counter()
    predictor = Predictor.of(open_artifact(path), runtime=runtime, threads=threads)
    predictor(few[:1])
    load_seconds = time.perf_counter() - started
    speed = None
    if seconds:
        single = times(lambda: predictor(few[:1]), seconds)
        rate = LARGE_BATCH / float(np.median(times(lambda: predictor(few), seconds)))
        p50, p95 = (float(np.percentile(single, share)) for share in (50, 95))
        speed = Speed(load_seconds, p50, p95, rate, peak_memory())
    return Answers(*predictor(images), speed)
