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
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("diptych", "torch", "tensorflow", "keras", "numpy", "opencv-python-headless", "scikit-learn")


@cache
def computes_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX512-BF16, AMX or ARM's BF16), according to Linux."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(_cpuinfo("flags", "Features").split()))


def machine() -> dict[str, Any]:
    """Processor, cores and system, for a run's record."""
    return {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
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


def _cpuinfo(*keys: str) -> str:
    path = Path("/proc/cpuinfo")
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
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    if kilobytes:
        return kilobytes[0] * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
