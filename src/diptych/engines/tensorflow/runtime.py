"""Device, threads and determinism of TensorFlow."""

from __future__ import annotations

import os
import warnings
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from diptych.errors import EngineError, UsageError
from diptych.options import Device

if keras.backend.backend() != "tensorflow":
    raise EngineError(
        f"The tensorflow engine needs Keras's TensorFlow backend, got '{keras.backend.backend()}'. "
        "Set KERAS_BACKEND=tensorflow before importing Keras."
    )


def configure(threads: int, device: Device = "auto") -> None:
    """Set device, threads, determinism and logging; call it before anything else."""
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif device == "cuda" and not tf.config.list_physical_devices("GPU"):
        raise UsageError("'device' is cuda, but TensorFlow finds no GPU here; use cpu or auto.")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:  # the user's own code has started TensorFlow
        warnings.warn(f"TensorFlow is already in use, so it does not switch to {threads} threads.", stacklevel=2)
    # differs: denormals, tf32
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.experimental.enable_op_determinism()


def runtime() -> dict[str, Any]:
    """Return the device, threads and versions in use."""
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
    """Return cuda if there is a GPU, else cpu."""
    return "cuda" if tf.config.get_visible_devices("GPU") else "cpu"
