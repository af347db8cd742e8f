"""What a comparison wants of a run's files beyond what `job.read` does; checked once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diptych.artifacts.entries import ADVICE, brief
from diptych.errors import ArtifactError

NUMBER = (int, float)
MAYBE = (int, float, type(None))
EPOCH = {
    "epoch": int,
    "train_loss": MAYBE,
    "train_accuracy": MAYBE,
    "validation_loss": MAYBE,
    "validation_accuracy": MAYBE,
    "images_per_second": NUMBER,
    "seconds": NUMBER,
}
COST = {
    "import_seconds": NUMBER,
    "first_step_seconds": NUMBER,
    "train_throughput": list,
    "predict_throughput": list,
    "latency_p50": NUMBER,
    "latency_p95": NUMBER,
    "peak_memory": NUMBER,
}
EXPORT = {"formats": dict}
SHIPPED = {"status": str}


def numbers(values: Sequence[Any], path: Path, where: str) -> None:
    """Refuse an empty list, or one of other things than numbers."""
    if not values or not all(isinstance(value, NUMBER) and not isinstance(value, bool) for value in values):
        raise ArtifactError(f"Cannot read '{path}': '{where}' wants numbers, got {brief(values)}. {ADVICE}")
