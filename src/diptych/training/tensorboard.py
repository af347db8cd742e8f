"""Curves for TensorBoard, with the same tags for every engine.

tensorboardX's SummaryWriter writes from a thread, so that a killed training lacks its last epochs and a full disk goes
unnoticed; its EventsWriter, one layer below, writes at once.
"""

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from diptych.artifacts.store import refusal

# tensorboardX imports PyTorch if it is installed; no process may load two frameworks.
_modules: dict[str, Any] = sys.modules
_torch = _modules.get("torch")
_modules["torch"] = _torch  # None raises ImportError, which tensorboardX expects
try:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.summary import scalar
finally:
    if _torch is None:
        del _modules["torch"]

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
    """Writes one event file into `directory`; a resumed training adds another.

    TensorBoard then hides what earlier files hold for `first_epoch` and later, which are trained again.
    """

    def __init__(self, directory: Path, first_epoch: int = 1) -> None:
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            # TensorBoard reads the files of a folder in the order of their names, which are new every second.
            self._writer = EventsWriter(str(directory / "events"), f".{time.time_ns()}")
        except OSError as error:
            raise refusal(directory, error) from error
        self._write(Event(step=first_epoch, session_log=SessionLog(status=SessionLog.START)))

    def write_epoch(self, epoch: Mapping[str, Any]) -> None:
        """Write one epoch's record at step `epoch["epoch"]`, without the fields that are None."""
        for field, tag in TAGS.items():
            if epoch[field] is not None:
                self._write(Event(step=epoch["epoch"], summary=scalar(tag, epoch[field])))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        try:
            self._writer.write_event(event)
            self._writer.flush()
        except OSError as error:
            self.close()
            raise refusal(self._directory, error) from error

    def close(self) -> None:
        """Close the event file."""
        with suppress(OSError):  # closing writes again what could not be written
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
