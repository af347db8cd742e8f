"""Tables that several verbs print."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.table import Column, Table

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run


def runs_table(runs: Sequence[Run]) -> Table:
    """One row a run: engine, test accuracy and loss, training speed, where it lies."""
    table = Table("engine", "precision", "accuracy", "loss", "images/s", "epochs", Column("run", overflow="fold"))
    for run in runs:
        record = run.read_record()
        epochs = read_events(run.events_path, "epoch")
        speed = median(epoch["images_per_second"] for epoch in epochs) if epochs else 0
        accuracy, loss = record["status"], ""
        if record["status"] == "finished":
            metrics = run.read_metrics()
            accuracy, loss = f"{metrics['accuracy']:.2%}", f"{metrics['loss']:.4f}"
        engines = " → ".join(dict.fromkeys(start["engine"] for start in record["engines"]))
        table.add_row(
            engines,
            record["recipe"]["precision"],
            accuracy,
            loss,
            f"{speed:,.0f}",
            str(len(epochs)),
            str(run.directory),
        )
    return table
