"""What a comparison wants of a run's files, checked once: they may come from anybody and from any version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.errors import ArtifactError

NUMBER = (int, float)
MAYBE = (int, float, type(None))
RECORD = {
    "status": str,
    "seed": int,
    "class_names": list,
    "spec": dict,
    "recipe": dict,
    "engines": list,
    "versions": dict,
    "preprocessing": dict,
    "data": {"data": str, "name": str, "fingerprint": str},
    "split_sizes": {"train": int, "test": int},
    "machine": {"processor": str, "cores": MAYBE, "system": str, "python": str},
}
START = {"engine": str, "threads": int}
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


def check(content: Any, wanted: Mapping[str, Any], path: Path, where: str = "") -> None:
    """Refuse content that lacks an entry, or has one of another kind.

    Args:
        content: what a file holds, or a part of it.
        wanted: kinds by entry; a mapping where an entry is to hold entries itself.
        path: of the file.
        where: the part's place in the file.

    Raises:
        ArtifactError: names the file, the entry, and what came.
    """
    if not isinstance(content, Mapping):
        raise ArtifactError(f"Cannot read '{path}': {where or 'it'} wants entries, got {_brief(content)}.")
    for name, kind in wanted.items():
        place = f"{where}.{name}" if where else name
        if name not in content:
            raise ArtifactError(f"Cannot read '{path}': '{place}' is missing.")
        if isinstance(kind, Mapping):
            check(content[name], kind, path, place)
        elif not isinstance(content[name], kind) or (isinstance(content[name], bool) and kind is not bool):
            raise ArtifactError(f"Cannot read '{path}': '{place}' is {_brief(content[name])}, which it cannot be.")


def check_all(contents: Sequence[Any], wanted: Mapping[str, Any], path: Path, where: str) -> None:
    """Refuse a list with an entry that `check` refuses."""
    for place, content in enumerate(contents):
        check(content, wanted, path, f"{where}[{place}]")


def numbers(values: Sequence[Any], path: Path, where: str) -> None:
    """Refuse an empty list, or one of other things than numbers."""
    if not values or not all(isinstance(value, NUMBER) and not isinstance(value, bool) for value in values):
        raise ArtifactError(f"Cannot read '{path}': '{where}' wants numbers, got {_brief(values)}.")


def _brief(value: Any) -> str:
    return f"{value!r:.40}"
