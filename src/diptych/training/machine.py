"""Facts about this machine and measurements of this process, without any framework."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from diptych.errors import SpecError
from diptych.processes import memory
from diptych.spec import ModelSpec
from diptych.spec.layers import Conv

PACKAGES = ("diptych", "torch", "tensorflow", "keras", "numpy", "opencv-python-headless", "scikit-learn")


@cache
def computes_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX512-BF16, AMX or ARM's BF16), according to Linux."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(_proc("cpuinfo", "flags", "Features").split()))


def check_memory(spec: ModelSpec, batch_size: int = 0) -> None:
    """Raise SpecError if a model certainly needs more memory than this machine has.

    Counts its weights; in training, also gradients and momentum in float32, and a batch's convolutions in bfloat16.
    """
    of_image = 2 * sum(prod(spec.shapes[layer.name]) for layer in spec.layers if isinstance(layer, Conv))
    if Path("/dev/nvidia0").exists():  # the GPU's memory holds the outputs
        of_image = 0
    weights, limit = 4 * spec.num_parameters * (3 if batch_size else 1), memory()
    if weights + batch_size * of_image > limit:
        most = (limit - weights) // of_image if of_image else 0
        advice = f"Set batch_size to {most} or less" if 0 < most < batch_size else "Use fewer filters or units"
        outputs = f", outputs at batch_size {batch_size} {batch_size * of_image / 1e9:,.1f} GB" if batch_size else ""
        need = f"needs more than the {limit / 1e9:,.1f} GB of memory here"
        sizes = f"{spec.num_parameters:,} parameters take {weights / 1e9:,.1f} GB{outputs}"
        raise SpecError(f"Model '{spec.name}' {need}: {sizes}. {advice}, or use smaller images.")


def machine() -> dict[str, Any]:
    """Processor, cores and system, for a run's record."""
    return {
        "processor": _proc("cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of the given packages that are installed; by default those that affect a run's results."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _proc(name: str, *keys: str) -> str:
    """Return the first entry with one of these keys in a file of `/proc`; empty if there is none."""
    path = Path("/proc", name)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in entries if key.strip() in keys), "")


def times(call: Callable[[], object], seconds: float) -> np.ndarray:
    """Seconds of each call, as many as fit into the time, after a warm-up of a fifth of it."""
    found: list[float] = []
    for share in (seconds / 5, seconds):
        found.clear()
        end = time.perf_counter() + share
        while not found or time.perf_counter() < end:
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
    return np.array(found)


def peak_memory() -> int:
    """Peak memory of this process, in bytes.

    Linux's `ru_maxrss` includes the parent's peak, so `/proc/self/status` is read if it exists.
    """
    if peak := _proc("self/status", "VmHWM"):
        return int(peak.split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
