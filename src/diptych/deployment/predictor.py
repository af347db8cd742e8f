"""A shipped file as a function from images to probabilities, whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.data.images import Images
from diptych.data.prefetch import num_threads
from diptych.deployment import runtimes
from diptych.deployment.containers import Artifact, open_artifact
from diptych.deployment.runtimes import Infer, Runtime
from diptych.engines.contract import OUTPUTS
from diptych.errors import ArtifactError, DataError, EngineError, in_one_line

CHUNK = 256


@dataclass(frozen=True)
class Predictor:
    """Runs one shipped file."""

    artifact: Artifact
    runtime: Runtime
    infer: Infer
    shape: tuple[int, int, int]
    """Height, width and channels of its images."""

    @classmethod
    def load(
        cls, path: str | Path, *, runtime: str | None = None, threads: int | None = None, trust: bool = False
    ) -> Predictor:
        """Look over and load a file that `diptych export` wrote; see `of`.

        Args:
            path: the file or folder.
            runtime: who runs it.
            threads: processor threads.
            trust: whether to load formats that can run code.

        Raises:
            ArtifactError: the file is missing, damaged, or cannot be loaded.
            UsageError: it could run code, and is not trusted.
            MissingEngine: what runs it is not installed.
        """
        return cls.of(open_artifact(path, trust=trust), runtime=runtime, threads=threads)

    @classmethod
    def of(cls, artifact: Artifact, *, runtime: str | None = None, threads: int | None = None) -> Predictor:
        """Load a file that has been looked over.

        Args:
            artifact: what `open_artifact` found.
            runtime: who runs it; the first of its format's that is installed when not given.
            threads: processor threads; every core when not given.

        Raises:
            ArtifactError: the file cannot be loaded.
            MissingEngine: what runs it is not installed.
        """
        chosen = runtimes.RUNTIMES[runtime] if runtime else runtimes.usable(artifact.form)
        infer = runtimes.load(artifact, chosen, threads or num_threads())
        return cls(artifact, chosen, infer, artifact.card.spec.input_shape)

    def __call__(self, images: Images) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, float32, (N, K), of uint8 images, (N, H, W, C), fetched a few at a time.

        Raises:
            DataError: the images are of another type or size.
            EngineError: the runtime fails.
            ArtifactError: the file answers something else than its card promises.
        """
        shape = self.shape
        dtype = images.dtype if isinstance(images, np.ndarray) else np.dtype(np.uint8)
        if dtype != np.uint8 or images.shape[1:] != shape or not len(images):
            raise DataError(
                f"'{self.artifact.path.name}' takes uint8 images of shape (N, {', '.join(map(str, shape))}); "
                f"{dtype} of {images.shape} came."
            )
        shape_nk = (len(images), len(self.artifact.card.class_names))
        logits_nk, probabilities_nk = (np.empty(shape_nk, np.float32) for _ in OUTPUTS)
        for start in range(0, len(images), CHUNK):
            part = slice(start, start + CHUNK)
            # Copied, because small arrays that stay keep the allocator from using the room between them again.
            logits_nk[part], probabilities_nk[part] = self._answer(images[part])
        return logits_nk, probabilities_nk

    def _answer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = np.require(images, requirements=["C", "W"])  # PyTorch wants both
        try:
            answer = self.infer(images)
        except Exception as error:  # a runtime raises what it likes
            raise EngineError(f"{self.runtime.title} failed: {in_one_line(error)}") from error
        wanted = (len(images), len(self.artifact.card.class_names))
        for name, values in zip(OUTPUTS, answer, strict=True):
            if values.shape != wanted or values.dtype != np.float32:
                raise ArtifactError(
                    f"'{self.artifact.path.name}' gives {values.dtype} '{name}' of {values.shape}; "
                    f"its card promises float32 of {wanted}."
                )
        return answer
