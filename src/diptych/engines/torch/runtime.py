"""Device, threads and determinism of PyTorch."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from diptych.errors import UsageError
from diptych.options import Device


def configure(threads: int, device: Device = "auto") -> None:
    """Set device, threads, determinism and logging; call it before anything else."""
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif device == "cuda" and not torch.cuda.is_available():
        raise UsageError("'device' is cuda, but PyTorch finds no GPU here; use cpu or auto.")
    # differs: denormals
    torch.set_flush_denormal(True)  # before any thread starts, as threads inherit it
    torch.set_num_threads(threads)
    # differs: tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # Warn if a GPU has no deterministic kernel.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False


def runtime() -> dict[str, Any]:
    """Return the device, threads and versions in use."""
    return {
        "engine": "torch",
        "version": str(torch.__version__),
        "device": device(),
        "threads": torch.get_num_threads(),
        # differs: compile
        "compiled": False,
        "numpy": np.__version__,
    }


def device() -> str:
    """Return cuda if there is a GPU, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"
