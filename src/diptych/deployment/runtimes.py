"""The runtimes that run exported files: a table, one function to load a file into any of them, and their loaders, each
of which imports only its own program.

An untrusted `.keras` archive is loaded as weights for the model in its card, because Keras's safe mode has run code
(CVE-2025-1550, CVE-2025-8747, CVE-2025-9906), and its HDF5 reader has read other files (CVE-2026-1669) and endless
arrays (CVE-2026-0897). The weights must have that model's shapes; the archive's own configuration is ignored.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from diptych import engines
from diptych.deployment.file_types import Artifact
from diptych.deployment.formats import Format, check_installed, missing
from diptych.deployment.transfer import read_described
from diptych.engines.contract import INPUT, OUTPUTS
from diptych.errors import ArtifactError, DiptychError, MissingEngine, in_one_line

Infer: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Maps uint8 images, (N, H, W, C), to logits and probabilities, float32, (N, K)."""


@dataclass(frozen=True)
class Runtime:
    """A program that runs exported files; the function `load_<name>` loads them."""

    name: str
    title: str
    package: str
    engine: str | None = None
    """The engine of the same framework, if any."""


_RUNTIMES = (
    Runtime("torch", "PyTorch, eager", "torch", "torch"),
    Runtime("torch-compiled", "PyTorch, compiled", "torch", "torch"),
    Runtime("torchscript", "TorchScript", "torch", "torch"),
    Runtime("torch-export", "torch.export", "torch", "torch"),
    Runtime("tensorflow", "TensorFlow function", "tensorflow", "tensorflow"),
    Runtime("keras", "Keras", "tensorflow", "tensorflow"),
    Runtime("saved-model", "SavedModel", "tensorflow", "tensorflow"),
    Runtime("onnxruntime", "ONNX Runtime", "onnxruntime"),
    Runtime("litert", "LiteRT", "ai_edge_litert"),
    Runtime("openvino", "OpenVINO", "openvino"),
)
RUNTIMES = {runtime.name: runtime for runtime in _RUNTIMES}


def load(artifact: Artifact, runtime: Runtime, threads: int) -> Infer:
    """Load a checked file into one of the runtimes of its format; a format that can execute code is executed.

    Raises MissingEngine if the runtime is not installed, and ArtifactError, with its message, if it cannot load a file.
    """
    check_installed(runtime.title, (runtime.package,))
    try:
        infer: Infer = globals()["load_" + runtime.name.replace("-", "_")](artifact, threads)
    except DiptychError:
        raise
    except Exception as error:  # runtimes can raise anything
        raise ArtifactError(f"{runtime.title} cannot load '{artifact.path}': {in_one_line(error)}") from error
    return infer


def usable(form: Format) -> Runtime:
    """Return the first installed runtime of a format; raises MissingEngine if none is."""
    choices = [RUNTIMES[name] for name in form.runtimes]
    chosen = next((runtime for runtime in choices if not missing((runtime.package,))), choices[0])
    check_installed(chosen.title, (chosen.package,))
    return chosen


def load_torch(artifact: Artifact, threads: int) -> Infer:
    """Build the model of the card's spec and run it eagerly."""
    return _torch(_served(artifact, threads))


def load_torch_compiled(artifact: Artifact, threads: int) -> Infer:
    """Build the model of the card's spec and compile it for each batch size."""
    import torch

    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        fault = f"torch.compile needs a C++ compiler; '{compiler}' is not installed"
        raise MissingEngine(f"{fault}. Set CXX to another one.")
    return _torch(torch.compile(_served(artifact, threads), dynamic=False))


def load_torchscript(artifact: Artifact, threads: int) -> Infer:
    """Load a TorchScript file."""
    import torch

    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        # TorchScript is deprecated, but its files must still run.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _torch(torch.jit.load(artifact.path, map_location="cpu"))


def load_torch_export(artifact: Artifact, threads: int) -> Infer:
    """Load a `torch.export` program."""
    import torch

    torch.set_num_threads(threads)
    return _torch(torch.export.load(artifact.path).module())


def load_tensorflow(artifact: Artifact, threads: int) -> Infer:
    """Build the model of the card's spec as one TensorFlow function."""
    model = _loaded("tensorflow", artifact, threads)
    import tensorflow as tf

    def call(images: Any) -> dict[str, Any]:
        logits_nk = model(images, training=False)
        return dict(zip(OUTPUTS, (logits_nk, tf.nn.softmax(logits_nk)), strict=True))

    return _tensorflow(tf.function(call, autograph=False, reduce_retracing=True))


def load_keras(artifact: Artifact, threads: int) -> Infer:
    """Load a `.keras` or `.h5` file as one TensorFlow function; if untrusted, only its weights (see above)."""
    if not artifact.is_trusted:
        return load_tensorflow(artifact, threads)
    engines.get("tensorflow").configure(threads)
    import keras
    import tensorflow as tf

    model = keras.models.load_model(artifact.path, compile=False, safe_mode=True)
    call = tf.function(lambda images: model(images, training=False), autograph=False, reduce_retracing=True)
    return _tensorflow(call)


def load_saved_model(artifact: Artifact, threads: int) -> Infer:
    """Load a SavedModel's signature for pixels."""
    engines.get("tensorflow").configure(threads)
    import tensorflow as tf

    module = tf.saved_model.load(str(artifact.path / "1"))
    # The module is kept with its signature, or its variables would be freed.
    return _tensorflow(lambda images: module.signatures["serving_default"](**{INPUT: images}))


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
    return lambda images_nhwc: tuple(run(list(OUTPUTS), {INPUT: images_nhwc}))


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
    return _named(openvino.Core().compile_model(artifact.path / "model.xml", "CPU", settings))


def _loaded(engine: str, artifact: Artifact, threads: int) -> Any:
    """Return an engine's model of the card's spec with the weights in the file."""
    made = engines.get(engine)
    made.configure(threads)
    weights = read_described(artifact)  # first, because a false card could ask for a huge model
    model = made.build(artifact.card.spec)
    made.load_weights(model, weights)
    return model


def _served(artifact: Artifact, threads: int) -> Any:
    from diptych.engines.torch.export import Served

    return Served(_loaded("torch", artifact, threads).cpu()).eval()


def _torch(model: Callable[[Any], dict[str, Any]]) -> Infer:
    import torch

    infer: Infer = torch.inference_mode()(_named(lambda images_nhwc: model(torch.from_numpy(images_nhwc))))
    return infer


def _tensorflow(call: Callable[[Any], dict[str, Any]]) -> Infer:
    import tensorflow as tf

    return _named(lambda images_nhwc: call(tf.constant(images_nhwc)))


def _named(call: Callable[[np.ndarray], Mapping[str, Any]]) -> Infer:
    """Return the outputs of a call by name, as arrays."""

    def infer(images_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answer = call(images_nhwc)
        return np.asarray(answer[OUTPUTS[0]]), np.asarray(answer[OUTPUTS[1]])

    return infer
