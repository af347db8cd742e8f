"""PyTorch: its whole-model formats, and models built from the card's spec with weights from a file."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from diptych import engines
from diptych.deployment.file_types import Artifact
from diptych.deployment.runtimes import Infer
from diptych.deployment.transfer import read_weights
from diptych.engines.contract import OUTPUTS
from diptych.engines.torch.export import Served
from diptych.errors import MissingEngine


def load_torch(artifact: Artifact, threads: int) -> Infer:
    """Build the model of the card's spec and run it eagerly."""
    return _named(_network(artifact, threads))


def load_torch_compiled(artifact: Artifact, threads: int) -> Infer:
    """Build the model of the card's spec and compile it for each batch size."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise MissingEngine(
            f"torch.compile needs a C++ compiler; '{compiler}' is not installed. Set CXX to another one."
        )
    return _named(torch.compile(_network(artifact, threads), dynamic=False))


def load_torchscript(artifact: Artifact, threads: int) -> Infer:
    """Load a TorchScript file."""
    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        # TorchScript is deprecated, but its files still have to run.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _named(torch.jit.load(artifact.path, map_location="cpu"))


def load_torch_export(artifact: Artifact, threads: int) -> Infer:
    """Load a `torch.export` program."""
    torch.set_num_threads(threads)
    return _named(torch.export.load(artifact.path).module())


def _network(artifact: Artifact, threads: int) -> Served:
    engine = engines.get("torch")
    engine.configure(threads)
    weights = read_weights(artifact.path, artifact.card.spec)  # first, because a false card could ask for a huge model
    model = engine.build(artifact.card.spec)
    engine.load_weights(model, weights)
    return Served(model.cpu()).eval()


def _named(model: Callable[[Any], dict[str, Any]]) -> Infer:
    def infer(images_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            answer = model(torch.from_numpy(images_nhwc))
            return answer[OUTPUTS[0]].numpy(), answer[OUTPUTS[1]].numpy()

    return infer
