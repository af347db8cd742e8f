"""What a process measures of itself: the time that calls take, and memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


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
    """Bytes that this process ever held at once.

    Linux's `ru_maxrss` starts with what the parent held, so its own status is read where there is one.
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    if kilobytes:
        return kilobytes[0] * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
