"""Progress of reading data and of training: live bars on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Self

from rich import progress
from rich.console import Console

from diptych.data.archives import IN_BYTES

SECONDS_BETWEEN_LINES = 30


class Lines:
    """Print lines and, while none is printed for 30 seconds, what is going on and since when."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self.status = ""
        self._write = write
        self._start = self._last = time.monotonic()
        self._closed = Event()

    def __enter__(self) -> Self:
        Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(SECONDS_BETWEEN_LINES / 30):
            self.remind()

    def write(self, text: str) -> None:
        """Print a line."""
        self._last = time.monotonic()
        self._write(text)

    def step(self, text: str) -> None:
        """Print the step that starts now."""
        self.status = text
        self.write(f"{text} ...")

    def remind(self) -> None:
        """Print the status if no line was printed for 30 seconds."""
        if self.status and time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self.write(f"{self.status} ({_clock(time.monotonic() - self._start)} elapsed)")


class Progress:
    """Show progress on standard error.

    A terminal or a notebook gets live bars. Otherwise (CI, SLURM, a pipe) each step and epoch prints a line, and so
    does every 30 seconds without one.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars: progress.Progress | None = None
        if console.is_terminal or console.is_jupyter:
            self._bars = progress.Progress(
                progress.TextColumn("{task.description:>10}", markup=False),
                progress.BarColumn(),
                progress.TextColumn("{task.fields[text]}", markup=False),
                console=console,
            )
        self.lines = Lines(lambda text: print(text, file=sys.stderr, flush=True))
        self._tasks: dict[str, progress.TaskID] = {}
        self._engine = ""
        self._epochs = 1
        self._first: tuple[float, float] | None = None
        """Time and number of finished epochs when the first step was reported; compiling is over by then."""
        self._measured = ""
        self._said = set[str]()

    def __enter__(self) -> Self:
        (self._bars or self.lines).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        (self._bars or self.lines).__exit__(None, None, None)

    def step(self, text: str) -> None:
        """Show the step that starts now."""
        if self._bars:
            self._print(f"{text} ...")
        else:
            self.lines.step(text)

    def _print(self, text: str) -> None:
        if self._bars:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self.lines.write(text)

    def notify(self, kind: str, fields: dict[str, Any]) -> None:
        """Show a `data`, `dataset`, `start`, `step` or `epoch` event; ignore others."""
        match kind:
            case "data":
                doing, done, total = fields["doing"], fields["done"], fields["total"]
                counted = f"{done:,}/{total:,} images" if total else f"{done:,} files"
                megabytes = f"{done / 1e6:,.0f}/{total / 1e6:,.0f} MB"
                self._show(doing, done, total, megabytes if doing in IN_BYTES else counted)
            case "dataset":
                for line in fields["lines"]:
                    if line not in self._said:  # by another run on the same data
                        self._print(line)
                self._said.update(fields["lines"])
            case "study" | "trial":
                if self._bars and (task := self._tasks.pop(fields.get("name", ""), None)) is not None:
                    self._bars.remove_task(task)
                self.lines.status = ""
                self._print(fields["line"])
            case "trial_step" | "trial_epoch":
                done = float(fields["epoch"])
                done += fields["step"] / fields["steps"] - 1 if kind == "trial_step" else 0
                measured = (
                    _measured(fields) if kind == "trial_epoch" else f"{fields['images_per_second']:,.0f} images/s"
                )
                self._show(
                    fields["name"], done, fields["epochs"], f"epoch {fields['epoch']}/{fields['epochs']}, {measured}"
                )
            case "start":
                self._engine, self._epochs = fields["engine"], fields["epochs"]
                self._tasks.pop(self._engine, None)
                self._first, self._measured = None, ""
                self._show(self._engine, 0, self._epochs, f"epoch 0/{self._epochs}, starting")
            case "step" | "epoch":
                place, done = f"epoch {fields['epoch']}/{self._epochs}", float(fields["epoch"])
                if kind == "epoch":
                    self._measured = _measured(fields)
                else:
                    done += fields["step"] / fields["steps"] - 1
                    place += "" if self._bars else f", step {fields['step']:,}/{fields['steps']:,}"
                speed = f"{fields['images_per_second']:,.0f} images/s"
                parts = [place, self._measured, speed, self._time_left(done)]
                self._show(self._engine, done, self._epochs, ", ".join(filter(None, parts)))
                if kind == "epoch" and not self._bars:
                    self.lines.write(self.lines.status)

    def _time_left(self, done: float) -> str:
        if done >= self._epochs:
            return "done"
        now = time.monotonic()
        start, done_then = self._first = self._first or (now, done)
        if done <= done_then:
            return ""
        return f"{_clock((now - start) / (done - done_then) * (self._epochs - done))} left"

    def _show(self, name: str, done: float, total: float, text: str) -> None:
        self.lines.status = f"{name}: {text}"
        if self._bars:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=total or None, text=text)
            self._bars.update(self._tasks[name], completed=done, text=text)


def _clock(seconds: float) -> str:
    return f"{seconds // 60:.0f}:{seconds % 60:02.0f}"


def _measured(record: dict[str, Any]) -> str:
    split, prefix = ("training", "train") if record["validation_loss"] is None else ("validation", "validation")
    loss, accuracy = record[f"{prefix}_loss"], record[f"{prefix}_accuracy"]
    return "" if loss is None else f"{split} loss {loss:.4f}, accuracy {accuracy:.2%}"
