"""Curves for TensorBoard, the same tags for every engine, without TensorFlow or PyTorch in the process.

TensorBoard's own `EventFileWriter` opens its file through TensorFlow wherever that is installed; its
`RecordWriter`, one layer below, takes any open file.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from diptych.artifacts.store import refusal

TAGS = {
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "validation_loss": "validation/loss",
    "validation_accuracy": "validation/accuracy",
    "learning_rate": "learning_rate",
    "images_per_second": "train/images_per_second",
}
"""Field of an epoch's record → tag in TensorBoard."""


class TensorBoardWriter:
    """Writes one event file into `directory`; a resumed training adds another beside it.

    What earlier files say of `first_epoch` and later ones is no more shown, for a training that was killed trains
    them again.
    """

    def __init__(self, directory: Path, first_epoch: int = 1) -> None:
        # TensorBoard reads the files of a folder in the order of their names.
        self._path = directory / f"events.out.tfevents.{time.time_ns()}"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._records = RecordWriter(self._path.open("xb"))
        except OSError as error:
            raise refusal(self._path, error) from error
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._write(Event(wall_time=time.time(), step=first_epoch, session_log=SessionLog(status=SessionLog.START)))

    def write_epoch(self, epoch: Mapping[str, Any]) -> None:
        """Write one epoch's record at step `epoch["epoch"]`, leaving out what is None."""
        values = [
            Summary.Value(tag=tag, simple_value=epoch[field]) for field, tag in TAGS.items() if epoch[field] is not None
        ]
        self._write(Event(wall_time=time.time(), step=epoch["epoch"], summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        content = event.SerializeToString()
        try:
            self._records.write(content)
            self._records.flush()
        except OSError as error:
            with suppress(OSError):  # closing tries once more to write
                self._records.close()
            raise refusal(self._path, error, 0, len(content)) from error

    def close(self) -> None:
        """Close the event file."""
        try:
            self._records.close()
        except OSError as error:
            raise refusal(self._path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
