"""Where and with how many threads PyTorch computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def configure(threads: int) -> None:
    """Settle threads, determinism and logging; for a process of its own, once, before anything else."""
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
    """The accelerator where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
