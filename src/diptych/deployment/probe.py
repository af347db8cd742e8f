"""One shipped file in one runtime, in a process of its own: what it answers and, where asked, how fast.

`python -m diptych.deployment.probe REQUEST` reads the request, a JSON file, and leaves `answer.json` and
`answers.npz` in the request's folder.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from diptych import errors
from diptych.artifacts.store import read_json, read_npz, refusal, write_json, write_npz
from diptych.data.images import Images
from diptych.deployment.formats import Format
from diptych.deployment.predictor import CHUNK, Predictor
from diptych.deployment.runtimes import Runtime
from diptych.errors import DiptychError, EngineError, in_one_line
from diptych.processes import engine_environment
from diptych.training.measuring import peak_memory, times

ROUNDS = 5
LARGE_BATCH = 32


@dataclass(frozen=True)
class Speed:
    """What a process measured of itself; times in seconds, memory in bytes."""

    load_seconds: float
    """From the first import of the runtime to the first answer."""
    latency_p50: float
    """Of one image."""
    latency_p95: float
    images_per_second: float
    """In batches of 32; median of five rounds."""
    peak_memory: int
    """Of the whole process."""


@dataclass(frozen=True)
class Answers:
    """What a shipped file says of images, (N, K), and how fast, where that was asked."""

    logits_nk: np.ndarray
    probabilities_nk: np.ndarray
    speed: Speed | None


def ask(path: Path, runtime: Runtime, images: Path, threads: int, *, form: Format, seconds: float = 0.0) -> Answers:
    """Run a shipped file of our own making on images, in a process of its own.

    Args:
        path: the file.
        runtime: who runs it.
        images: a file with them, by `save_images`.
        threads: processor threads to compute with.
        form: the file's format.
        seconds: how long to measure speed, for each batch size; not at all when 0.

    Raises:
        DiptychError: as the process raised it, or an EngineError when it died.
    """
    with tempfile.TemporaryDirectory(prefix="diptych-") as name:
        folder = Path(name)
        request = {
            "path": str(path.resolve()),
            "images": str(images.resolve()),
            "runtime": runtime.name,
            "threads": threads,
            "seconds": seconds,
        }
        write_json(folder / "request.json", request)
        finished = subprocess.run(
            [sys.executable, "-m", "diptych.deployment.probe", name],
            # Empty, so that what a compiler makes is made in every process and left in none.
            env={**engine_environment(runtime.engine), "TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if not (folder / "answer.json").exists():
            said = finished.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing."]
            raise EngineError(
                f"{runtime.title} ended with code {finished.returncode} over {form.name}; "
                f"its last line was: {said[-1]:.200}"
            )
        answer = read_json(folder / "answer.json")
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        arrays = read_npz(folder / "answers.npz")
        return Answers(arrays["logits"], arrays["probabilities"], Speed(**answer["speed"]) if seconds else None)


def save_images(path: Path, images: Images) -> Path:
    """Write images, uint8, (N, H, W, C), into a `.npy` file, few of them in memory at a time; its path.

    Raises:
        DataError: one of them cannot be had any more.
        ArtifactError: the system refuses to write.
    """
    num_bytes = prod(images.shape)
    try:
        with path.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": images.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, len(images), CHUNK):
                file.write(np.ascontiguousarray(images[start : start + CHUNK]).data)
    except OSError as error:
        raise refusal(path, error, path.stat().st_size if path.exists() else 0, num_bytes) from error
    return path


def main(arguments: list[str]) -> int:
    """Do what a request asks, and leave the answer beside it."""
    (folder,) = map(Path, arguments)
    try:
        answer = _answer(folder, read_json(folder / "request.json"))
    except DiptychError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    except Exception as error:  # the parent raises it as an EngineError
        answer = {"error": "EngineError", "message": in_one_line(error)}
    write_json(folder / "answer.json", answer)
    return 0


def _answer(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    images = np.load(request["images"], mmap_mode="r").view(np.ndarray)
    few = np.resize(images[:LARGE_BATCH], (LARGE_BATCH, *images.shape[1:]))
    started = time.perf_counter()
    predictor = Predictor.load(request["path"], runtime=request["runtime"], threads=request["threads"], trust=True)
    predictor(few[:1])
    load_seconds = time.perf_counter() - started
    speed = None
    if request["seconds"]:
        single = times(lambda: predictor(few[:1]), request["seconds"])
        batches = times(lambda: predictor(few), request["seconds"])
        rounds = [LARGE_BATCH / np.median(part) for part in np.array_split(batches, min(ROUNDS, len(batches)))]
        speed = Speed(
            load_seconds,
            float(np.percentile(single, 50)),
            float(np.percentile(single, 95)),
            float(np.median(rounds)),
            peak_memory(),
        )
    logits_nk, probabilities_nk = predictor(images)
    write_npz(folder / "answers.npz", {"logits": logits_nk, "probabilities": probabilities_nk})
    return {"speed": speed and asdict(speed)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
