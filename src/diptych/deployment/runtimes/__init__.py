"""The runtimes that run exported files: a table, one function to load a file into any of them, and the loaders of
those without a training framework, each of which imports only its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias

import numpy as np

from diptych.deployment.file_types import Artifact
from diptych.deployment.formats import Format, check_installed, missing
from diptych.engines.contract import INPUT, OUTPUTS
from diptych.errors import ArtifactError, DiptychError, in_one_line

Infer: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Maps uint8 images, (N, H, W, C), to logits and probabilities, float32, (N, K)."""


@dataclass(frozen=True)
class Runtime:
    """A program that runs exported files; the function `load_<name>` of its module loads them."""

    name: str
    title: str
    packages: tuple[str, ...]
    """Packages that it needs."""
    engine: str | None = None
    """The engine of the same framework, if any."""

    @property
    def module(self) -> str:
        """The module with its loader."""
        return f"{__name__}.{self.engine}" if self.engine else __name__


_RUNTIMES = (
    Runtime("torch", "PyTorch, eager", ("torch",), "torch"),
    Runtime("torch-compiled", "PyTorch, compiled", ("torch",), "torch"),
    Runtime("torchscript", "TorchScript", ("torch",), "torch"),
    Runtime("torch-export", "torch.export", ("torch",), "torch"),
    Runtime("tensorflow", "TensorFlow function", ("tensorflow",), "tensorflow"),
    Runtime("keras", "Keras", ("tensorflow",), "tensorflow"),
    Runtime("saved-model", "SavedModel", ("tensorflow",), "tensorflow"),
    Runtime("onnxruntime", "ONNX Runtime", ("onnxruntime",)),
    Runtime("litert", "LiteRT", ("ai_edge_litert",)),
    Runtime("openvino", "OpenVINO", ("openvino",)),
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
    loader = getattr(import_module(runtime.module), "load_" + runtime.name.replace("-", "_"))
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


def load_onnxruntime(artifact: Artifact, threads: int) -> Infer:
    """Load an ONNX file, on the GPU if ONNX Runtime has one, else on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    # differs: tf32
    settings = {"CUDAExecutionProvider": {"use_tf32": "0"}, "CPUExecutionProvider": {}}
    providers = [(name, options) for name, options in settings.items() if name in available]
    # From bytes, so that it cannot read other files.
    run = onnxruntime.InferenceSession(artifact.path.read_bytes(), options, providers=providers).run
    names = list(OUTPUTS)

    def infer(images_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits_nk, probabilities_nk = run(names, {INPUT: images_nhwc})
        return logits_nk, probabilities_nk

    return infer


def load_litert(artifact: Artifact, threads: int) -> Infer:
    """Load a TensorFlow Lite file; tensors are reallocated only when the batch size changes."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(artifact.path), num_threads=threads)
    signature = interpreter.get_signature_runner()
    source = signature.get_input_details()[INPUT]["index"]
    targets = [signature.get_output_details()[name]["index"] for name in OUTPUTS]
    shape: tuple[int, ...] = ()

    def infer(images_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal shape
        if images_nhwc.shape != shape:
            interpreter.resize_tensor_input(source, images_nhwc.shape)
            interpreter.allocate_tensors()
            shape = images_nhwc.shape
        interpreter.set_tensor(source, images_nhwc)
        interpreter.invoke()
        return interpreter.get_tensor(targets[0]), interpreter.get_tensor(targets[1])

    return infer


def load_openvino(artifact: Artifact, threads: int) -> Infer:
    """Compile an OpenVINO model for the processor in float32, because its default may be bfloat16."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(artifact.path / "model.xml", "CPU", settings)

    def infer(images_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answer = model(images_nhwc)
        return answer[OUTPUTS[0]], answer[OUTPUTS[1]]

    return infer
