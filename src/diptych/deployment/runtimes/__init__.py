"""The runtimes that run exported files: a table, and one function to load a file into any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias

import numpy as np

from diptych.deployment.file_types import Artifact
from diptych.deployment.formats import Format, check_installed, missing
from diptych.errors import ArtifactError, DiptychError, in_one_line

Infer: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Maps uint8 images, (N, H, W, C), to logits and probabilities, float32, (N, K)."""


@dataclass(frozen=True)
class Runtime:
    """A program that runs exported files."""

    name: str
    title: str
    module: str
    """Module of this package with its loader."""
    function: str
    """Loads an Artifact, to compute with a number of threads."""
    packages: tuple[str, ...]
    """Packages that it needs."""
    engine: str | None = None
    """The engine of the same framework, if any."""


_RUNTIMES = (
    Runtime("torch", "PyTorch, eager", "torch", "eager", ("torch",), "torch"),
    Runtime("torch-compiled", "PyTorch, compiled", "torch", "compiled", ("torch",), "torch"),
    Runtime("torchscript", "TorchScript", "torch", "torchscript", ("torch",), "torch"),
    Runtime("torch-export", "torch.export", "torch", "exported", ("torch",), "torch"),
    Runtime("tensorflow", "TensorFlow function", "tensorflow", "function", ("tensorflow",), "tensorflow"),
    Runtime("keras", "Keras", "tensorflow", "keras_model", ("tensorflow",), "tensorflow"),
    Runtime("saved-model", "SavedModel", "tensorflow", "saved_model", ("tensorflow",), "tensorflow"),
    Runtime("onnxruntime", "ONNX Runtime", "portable", "onnxruntime_session", ("onnxruntime",)),
    Runtime("litert", "LiteRT", "portable", "litert_interpreter", ("ai_edge_litert",)),
    Runtime("openvino", "OpenVINO", "portable", "openvino_model", ("openvino",)),
)
RUNTIMES = {runtime.name: runtime for runtime in _RUNTIMES}


def load(artifact: Artifact, runtime: Runtime, threads: int) -> Infer:
    """Load an exported file into a runtime.

    Args:
        artifact: The checked file; a format that can execute code is executed.
        runtime: One of the runtimes of its format.
        threads: Processor threads.

    Raises:
        MissingEngine: The runtime is not installed.
        ArtifactError: The runtime cannot load the file; the message includes its own.
    """
    check_installed(runtime.title, runtime.packages)
    loader = getattr(import_module(f"{__name__}.{runtime.module}"), runtime.function)
    try:
        infer: Infer = loader(artifact, threads)
    except DiptychError:
        raise
    except Exception as error:  # runtimes can raise anything
        raise ArtifactError(f"{runtime.title} cannot load '{artifact.path}': {in_one_line(error)}") from error
    return infer


def usable(form: Format) -> Runtime:
    """Return the first installed runtime of a format.

    Raises:
        MissingEngine: None is installed.
    """
    choices = [RUNTIMES[name] for name in form.runtimes]
    installed = [runtime for runtime in choices if not missing(runtime.packages)]
    if not installed:
        check_installed(choices[0].title, choices[0].packages)
    return installed[0]
