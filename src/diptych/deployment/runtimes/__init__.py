"""Who runs shipped files: one row each, and one way to load a file into any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias

import numpy as np

from diptych.deployment.containers import Artifact
from diptych.deployment.formats import Format
from diptych.deployment.packages import check_installed, missing
from diptych.errors import ArtifactError, DiptychError, in_one_line

__all__ = ["RUNTIMES", "Infer", "Runtime", "check_installed", "load", "missing", "usable"]

Infer: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""uint8 images, (N, H, W, C), in; logits and probabilities, float32, (N, K), out."""


@dataclass(frozen=True)
class Runtime:
    """What runs a shipped file."""

    name: str
    title: str
    module: str
    """Where, in this package, its functions are."""
    function: str
    """Loads an Artifact, to compute with so many threads."""
    packages: tuple[str, ...]
    """What must be installed."""
    engine: str | None = None
    """Whose framework it is."""


_RUNTIMES = (
    Runtime("torch", "PyTorch, eager", "torch", "eager", ("torch",), "torch"),
    Runtime("torch-compiled", "PyTorch, compiled", "torch", "compiled", ("torch",), "torch"),
    Runtime("torchscript", "TorchScript", "torch", "torchscript", ("torch",), "torch"),
    Runtime("torch-export", "torch.export", "torch", "exported", ("torch",), "torch"),
    Runtime("tensorflow", "TensorFlow function", "tensorflow", "function", ("tensorflow",), "tensorflow"),
    Runtime("keras", "Keras", "tensorflow", "keras_model", ("tensorflow",), "tensorflow"),
    Runtime("saved-model", "SavedModel", "tensorflow", "saved_model", ("tensorflow",), "tensorflow"),
    Runtime("onnxruntime", "ONNX Runtime", "onnx", "session", ("onnxruntime",)),
    Runtime("litert", "LiteRT", "litert", "interpreter", ("ai_edge_litert",)),
    Runtime("openvino", "OpenVINO", "openvino", "compiled", ("openvino",)),
)
RUNTIMES = {runtime.name: runtime for runtime in _RUNTIMES}


def load(artifact: Artifact, runtime: Runtime, threads: int) -> Infer:
    """A shipped file, ready to run.

    Args:
        artifact: what `open_artifact` found; a format that can run code is run.
        runtime: one of those that its format names.
        threads: processor threads to compute with.

    Raises:
        MissingEngine: the runtime is not installed.
        ArtifactError: the runtime cannot load the file; its own words are added.
    """
    check_installed(runtime.title, runtime.packages)
    make = getattr(import_module(f"{__name__}.{runtime.module}"), runtime.function)
    try:
        infer: Infer = make(artifact, threads)
    except DiptychError:
        raise
    except Exception as error:  # a runtime raises what it likes
        raise ArtifactError(f"{runtime.title} cannot load '{artifact.path}': {in_one_line(error)}") from error
    return infer


def usable(form: Format) -> Runtime:
    """The first runtime of a format that is installed.

    Raises:
        MissingEngine: none is.
    """
    choices = [RUNTIMES[name] for name in form.runtimes]
    here = [runtime for runtime in choices if not missing(runtime.packages)]
    if not here:
        check_installed(choices[0].title, choices[0].packages)
    return here[0]
