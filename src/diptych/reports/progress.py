"""Live progress of trainings on a terminal: epoch, loss, accuracy, images a second, time left."""

from __future__ import annotations

import time
from typing import Any, Self

from rich import progress
from rich.console import Console


class Progress:
    """Shows what a training tells on a terminal or in a notebook; silent where nobody looks."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = progress.Progress(
            progress.TextColumn("{task.description:>10}"),
            progress.BarColumn(),
            progress.TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            progress.TextColumn("{task.fields[measured]}"),
            progress.TextColumn("{task.fields[speed]}"),
            progress.TextColumn("{task.fields[left]}"),
            console=console,
            disable=not (console.is_terminal or console.is_jupyter),
        )
        self._task: Any = None
        self._start = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def notify(self, kind: str, fields: dict[str, Any]) -> None:
        """Take in one `start`, `step` or `epoch`."""
        match kind:
            case "start":
                self._begin(fields)
            case "step":
                done = fields["epoch"] - 1 + fields["step"] / fields["steps"]
                self._show(done, epoch=fields["epoch"], speed=f"{fields['images_per_second']:,.0f} images/s")
            case "epoch":
                self._show(fields["epoch"], epoch=fields["epoch"], measured=_measured(fields))

    def _begin(self, fields: dict[str, Any]) -> None:
        self._start = time.monotonic()
        texts = {"epoch": 0, "epochs": fields["epochs"], "measured": "starting", "speed": "", "left": ""}
        self._task = self._bars.add_task(fields["engine"], total=fields["epochs"], **texts)

    def _show(self, done: float, **texts: Any) -> None:
        total = self._bars.tasks[self._task].total or 1
        seconds = (time.monotonic() - self._start) * (total - done) / done
        left = f"{seconds // 60:.0f}:{seconds % 60:02.0f} left" if done < total else "done"
        self._bars.update(self._task, completed=done, left=left, **texts)


def _measured(record: dict[str, Any]) -> str:
    split = "train" if record["validation_loss"] is None else "validation"
    loss, accuracy = record[f"{split}_loss"], record[f"{split}_accuracy"]
    return f"{split} loss {loss:.4f} accuracy {accuracy:.2%}"
