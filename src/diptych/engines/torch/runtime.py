"""Where and with how many threads PyTorch computes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from diptych.errors import UsageError
from diptych.options import Device


def configure(threads: int, device: Device = "auto") -> None:
    """Set device, threads, determinism and logging; once in a process, before anything else."""
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif device == "cuda" and not torch.cuda.is_available():
        raise UsageError("'device' is cuda, but PyTorch finds no GPU here; use cpu or auto.")
    # differs: denormals
    torch.set_flush_denormal(True)  # before there are threads, which inherit it
    torch.set_num_threads(threads)
    # differs: tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # Where an accelerator has no such kernel, PyTorch warns and takes the one it has.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False


def runtime() -> dict[str, Any]:
    """Device, threads and versions, as they are in force now."""
    return {
        "engine": "torch",
        "version": torch.__version__,
        "device": device().type,
        "threads": torch.get_num_threads(),
        # differs: compile
        "compiled": False,
        "numpy": np.__version__,
    }


def device() -> torch.device:
    """The GPU if there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
