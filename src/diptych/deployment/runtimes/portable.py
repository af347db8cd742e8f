"""Runtimes without a training framework: ONNX Runtime, LiteRT and OpenVINO. Each function imports only its own."""

from __future__ import annotations

import numpy as np

from diptych.deployment.file_types import Artifact
from diptych.deployment.runtimes import Infer
from diptych.engines.contract import INPUT, OUTPUTS


def onnxruntime_session(artifact: Artifact, threads: int) -> Infer:
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


def litert_interpreter(artifact: Artifact, threads: int) -> Infer:
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


def openvino_model(artifact: Artifact, threads: int) -> Infer:
    """Compile an OpenVINO model for the processor in float32, because its default may be bfloat16."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(artifact.path / "model.xml", "CPU", settings)

    def infer(images_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answer = model(images_nhwc)
        return answer[OUTPUTS[0]], answer[OUTPUTS[1]]

    return infer
