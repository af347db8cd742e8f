"""ONNX files in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime

from diptych.deployment.containers import Artifact
from diptych.deployment.runtimes import Infer
from diptych.engines.contract import INPUT, OUTPUTS


def session(artifact: Artifact, threads: int) -> Infer:
    """An inference session on the processor, or on a GPU where ONNX Runtime has one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    here = onnxruntime.get_available_providers()
    # differs: tf32
    settings = {"CUDAExecutionProvider": {"use_tf32": "0"}, "CPUExecutionProvider": {}}
    providers = [(name, options) for name, options in settings.items() if name in here]
    # From bytes, so that nothing beside the file can be read.
    run = onnxruntime.InferenceSession(artifact.path.read_bytes(), options, providers=providers).run
    names = list(OUTPUTS)

    def infer(images_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits_nk, probabilities_nk = run(names, {INPUT: images_nhwc})
        return logits_nk, probabilities_nk

    return infer
