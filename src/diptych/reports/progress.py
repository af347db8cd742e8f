"""Live progress on a terminal: images read and decoded; of trainings epoch, loss, accuracy, speed, time left."""

from __future__ import annotations

import time
from typing import Any, Self

from rich import progress
from rich.console import Console

from diptych.data.archives import IN_BYTES


class Progress:
    """Shows what a training tells on a terminal or in a notebook; silent where nobody looks."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = progress.Progress(
            progress.TextColumn("{task.description:>10}"),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[place]}"),
            progress.TextColumn("{task.fields[measured]}"),
            progress.TextColumn("{task.fields[speed]}"),
            progress.TextColumn("{task.fields[left]}"),
            console=console,
            disable=not (console.is_terminal or console.is_jupyter),
        )
        self._task: Any = None
        self._start = 0.0
        self._epochs = 0
        self._reading: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def notify(self, kind: str, fields: dict[str, Any]) -> None:
        """Take in one `data`, `start`, `step` or `epoch`."""
        match kind:
            case "data":
                self._read(fields)
            case "start":
                self._begin(fields)
            case "step":
                done = fields["epoch"] - 1 + fields["step"] / fields["steps"]
                self._show(done, place=self._place(fields), speed=f"{fields['images_per_second']:,.0f} images/s")
            case "epoch":
                self._show(fields["epoch"], place=self._place(fields), measured=_measured(fields))

    def _read(self, fields: dict[str, Any]) -> None:
        doing, done, total = fields["doing"], fields["done"], fields["total"]
        if doing not in self._reading:
            texts: dict[str, Any] = {"measured": "", "speed": "", "left": ""}
            self._reading[doing] = self._bars.add_task(doing, total=total, place="", **texts)
        place = f"{done / 1e6:,.0f}/{total / 1e6:,.0f} MB" if doing in IN_BYTES else f"{done:,}/{total:,} images"
        self._bars.update(self._reading[doing], completed=done, place=place)

    def _begin(self, fields: dict[str, Any]) -> None:
        self._start = time.monotonic()
        self._epochs = fields["epochs"]
        texts: dict[str, Any] = {"place": self._place({"epoch": 0}), "measured": "starting", "speed": "", "left": ""}
        self._task = self._bars.add_task(fields["engine"], total=self._epochs, **texts)

    def _place(self, fields: dict[str, Any]) -> str:
        return f"epoch {fields['epoch']}/{self._epochs}"

    def _show(self, done: float, **texts: Any) -> None:
        total = self._bars.tasks[self._task].total or 1
        seconds = (time.monotonic() - self._start) * (total - done) / done
        left = f"{seconds // 60:.0f}:{seconds % 60:02.0f} left" if done < total else "done"
        self._bars.update(self._task, completed=done, left=left, **texts)


def _measured(record: dict[str, Any]) -> str:
    split = "train" if record["validation_loss"] is None else "validation"
    loss, accuracy = record[f"{split}_loss"], record[f"{split}_accuracy"]
    return f"{split} loss {loss:.4f} accuracy {accuracy:.2%}"
