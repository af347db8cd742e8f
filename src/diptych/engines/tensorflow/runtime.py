"""Where and with how many threads TensorFlow computes."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from diptych.errors import EngineError

if keras.backend.backend() != "tensorflow":
    raise EngineError(
        f"Keras computes with '{keras.backend.backend()}' here; the tensorflow engine wants its TensorFlow backend. "
        "Set KERAS_BACKEND=tensorflow before Keras is imported."
    )


def configure(threads: int) -> None:
    """Settle threads, determinism and logging; for a process of its own, once, before anything else."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    # differs: denormals, tf32
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.experimental.enable_op_determinism()


def runtime() -> dict[str, Any]:
    """Device, threads and versions, as they are in force now."""
    return {
        "engine": "tensorflow",
        "version": tf.__version__,
        "device": device(),
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        # differs: compile
        "compiled": False,
        "numpy": np.__version__,
        "keras": keras.__version__,
    }


def device() -> str:
    """The accelerator where there is one, else the processor."""
    return "cuda" if tf.config.list_physical_devices("GPU") else "cpu"
