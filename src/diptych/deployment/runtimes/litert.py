"""TensorFlow Lite files in LiteRT."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from diptych.deployment.containers import Artifact
from diptych.deployment.runtimes import Infer
from diptych.engines.contract import INPUT, OUTPUTS


def interpreter(artifact: Artifact, threads: int) -> Infer:
    """An interpreter that makes room again only when the batch size changes."""
    runner = Interpreter(model_path=str(artifact.path), num_threads=threads)
    signature = runner.get_signature_runner()
    source = signature.get_input_details()[INPUT]["index"]
    targets = [signature.get_output_details()[name]["index"] for name in OUTPUTS]
    shape: tuple[int, ...] = ()

    def infer(images_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal shape
        if images_nhwc.shape != shape:
            runner.resize_tensor_input(source, images_nhwc.shape)
            runner.allocate_tensors()
            shape = images_nhwc.shape
        runner.set_tensor(source, images_nhwc)
        runner.invoke()
        return runner.get_tensor(targets[0]), runner.get_tensor(targets[1])

    return infer
