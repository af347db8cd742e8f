"""OpenVINO's folders in OpenVINO."""

from __future__ import annotations

import numpy as np
import openvino

from diptych.deployment.containers import Artifact
from diptych.deployment.runtimes import Infer
from diptych.engines.contract import OUTPUTS


def compiled(artifact: Artifact, threads: int) -> Infer:
    """The model compiled for the processor, in float32 (bfloat16 is its default where the processor has it)."""
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(artifact.path / "model.xml", "CPU", settings)

    def infer(images_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answer = model(images_nhwc)
        return answer[OUTPUTS[0]], answer[OUTPUTS[1]]

    return infer
