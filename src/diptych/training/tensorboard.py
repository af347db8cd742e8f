"""Curves for TensorBoard, with the same tags for every engine.

tensorboardX's SummaryWriter writes from a thread, so that a killed training lacks its last epochs and a full disk goes
unnoticed; its EventsWriter, one layer below, writes at once.
"""

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from diptych.artifacts.store import refusal

# tensorboardX imports PyTorch if it is installed; no process may load two frameworks.
_modules: dict[str, Any] = sys.modules
_torch = _modules.get("torch")
_modules["torch"] = _torch  # None raises ImportError, which tensorboardX expects
try:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.summary import hparams, scalar
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


@contextmanager
def tensorboard(directory: Path, first_epoch: int = 1) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that writes an epoch's record, without fields that are None, to a new event file in `directory`.

    TensorBoard then hides the values in earlier files from `first_epoch` on, which is trained again.
    """
    with _writer(directory) as write:

        def write_epoch(epoch: Mapping[str, Any]) -> None:
            values = {tag: epoch[field] for field, tag in TAGS.items() if epoch[field] is not None}
            write(*(Event(step=epoch["epoch"], summary=scalar(tag, value)) for tag, value in values.items()))

        write(Event(step=first_epoch, session_log=SessionLog(status=SessionLog.START)))
        yield write_epoch


def write_result(directory: Path, parameters: Mapping[str, Any], metrics: Mapping[str, float], epoch: int) -> None:
    """Write the parameters and test metrics of a finished training, for TensorBoard's tab HParams.

    Its files there are read in the order of their names, so this one comes after the curves.
    """
    values = {re.sub("(test|validation)_", r"\1/", name): value for name, value in metrics.items()}  # test/accuracy
    plain = {name: one if isinstance(one, bool | int | float) else str(one) for name, one in parameters.items()}
    with _writer(directory) as write:
        write(*(Event(summary=summary) for summary in hparams(plain, {"validation/accuracy": None, **values})))
        write(*(Event(step=epoch, summary=scalar(tag, value)) for tag, value in values.items()))


@contextmanager
def _writer(directory: Path) -> Iterator[Callable[..., None]]:
    """Yield a function that writes events to a new file in `directory`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names, which are new every second.
        writer = EventsWriter(str(directory / "events"), f".{time.time_ns()}")
    except OSError as error:
        raise refusal(directory, error) from error

    def write(*events: Event) -> None:
        try:
            for event in events:
                event.wall_time = time.time()
                writer.write_event(event)
                writer.flush()
        except OSError as error:
            raise refusal(directory, error) from error

    try:
        yield write
    finally:
        with suppress(OSError):  # closing writes again what could not be written
            writer.close()
